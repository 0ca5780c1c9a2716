//! `cargo xtask test --job python` and `cargo xtask conformance`: the Python package, as a wheel, in private virtual
//! environments.
//!
//! One wheel serves all Pythons (its ABI is that of 3.11). For every Python that is found there is an environment
//! below `target/python`, made once; the wheel is built and installed anew each time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::workspace::{self, Workspace, works};

/// Where a Python is looked for.
const NAMES: [&str; 5] = ["python3", "python3.11", "python3.12", "python3.13", "python3.14"];

/// What an environment needs from PyPI.
const TOOLS: [&str; 3] = ["maturin>=1.9,<2", "pytest>=8,<10", "numpy>=2,<3"];

/// Whether that Python is new enough and can make environments; prints its version.
const ASK: &str = "import sys, venv, ensurepip; assert sys.version_info >= (3, 11); \
                   print('%d.%d' % sys.version_info[:2])";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Arguments for the program that runs the interpreter's own tests (crates/python/conformance)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// A virtual environment with the wheel in it.
struct Environment {
    version: String,
    root: PathBuf,
}

impl Environment {
    fn python(&self) -> Command {
        let mut command = Command::new(self.root.join("bin/python"));
        // It must find the wheel and not the sources, and leave nothing among those.
        command.current_dir(&self.root).env_remove("PYTHONPATH").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    fn pip(&self) -> Command {
        let mut command = self.python();
        command.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install"]);
        command
    }
}

/// Runs the package's own tests on every Python found. `Ok(Some(reason))`: there was none to run them on.
pub(crate) fn quick(workspace: &Workspace) -> Result<Option<&'static str>, String> {
    let environments = match environments(workspace)? {
        Ok(environments) => environments,
        Err(reason) => return Ok(Some(reason)),
    };
    let tests = workspace.root.join("crates/python/tests");
    for environment in environments {
        println!("Python {}", environment.version);
        let mut command = environment.python();
        command.args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider"]).arg(&tests);
        workspace::run(command)?;
    }
    Ok(None)
}

/// Runs the interpreter's own tests of multiprocessing on the first Python found.
pub(crate) fn conformance(workspace: &Workspace, args: &Args) -> Result<(), String> {
    let environments = environments(workspace)?.map_err(str::to_owned)?;
    let environment = environments.first().ok_or("there is no environment")?;
    let mut command = environment.python();
    command.arg(workspace.root.join("crates/python/conformance")).args(&args.arguments);
    workspace::run(command)
}

/// An environment with the wheel for each version found, or the reason why there is none.
fn environments(workspace: &Workspace) -> Result<Result<Vec<Environment>, &'static str>, String> {
    let mut found: Vec<Environment> = Vec::new();
    for name in NAMES {
        let Some(version) = version(name) else { continue };
        if found.iter().any(|environment| environment.version == version) {
            continue;
        }
        let root = workspace.target.join("python").join(&version);
        let environment = Environment { version, root };
        if !make(name, &environment)? {
            return Ok(Err("pip cannot get maturin, pytest and numpy"));
        }
        found.push(environment);
    }
    let Some(first) = found.first() else {
        return Ok(Err("no python3 of 3.11 or later with venv (apt install python3-venv)"));
    };
    let wheel = build(workspace, first)?;
    for environment in &found {
        let mut install = environment.pip();
        install.args(["--force-reinstall", "--no-deps"]).arg(&wheel);
        workspace::run(install)?;
    }
    Ok(Ok(found))
}

/// What `3.11` or later that command is, if it is one that can make environments.
fn version(name: &str) -> Option<String> {
    let output = Command::new(name).args(["-c", ASK]).stderr(Stdio::null()).output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !version.is_empty()).then_some(version)
}

/// Makes the environment unless it is there; whether the tools came.
fn make(python: &str, environment: &Environment) -> Result<bool, String> {
    let mut probe = environment.python();
    probe.args(["-c", "import maturin, numpy, pytest"]);
    if environment.root.exists() && works(&mut probe) {
        return Ok(true);
    }
    let mut command = Command::new(python);
    command.args(["-m", "venv", "--clear"]).arg(&environment.root);
    workspace::run(command)?;
    Ok(workspace::run(with(environment.pip(), &TOOLS)).is_ok())
}

fn with(mut command: Command, args: &[&str]) -> Command {
    command.args(args);
    command
}

/// Builds the wheel and says where it is.
fn build(workspace: &Workspace, environment: &Environment) -> Result<PathBuf, String> {
    let wheels = workspace.target.join("python/wheels");
    let _ = std::fs::remove_dir_all(&wheels);
    let mut command = environment.python();
    command.current_dir(&workspace.root).env("CARGO_TARGET_DIR", &workspace.target);
    command.args([
        "-m",
        "maturin",
        "build",
        "--quiet",
        "--release",
        "--manifest-path",
        "crates/python/Cargo.toml",
    ]);
    command.arg("--interpreter").arg(environment.root.join("bin/python")).arg("--out").arg(&wheels);
    workspace::run(command)?;
    wheel_in(&wheels)
}

fn wheel_in(directory: &Path) -> Result<PathBuf, String> {
    let entries = std::fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let mut wheels = entries.flatten().map(|entry| entry.path());
    wheels
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| format!("maturin left no wheel in {}", directory.display()))
}
