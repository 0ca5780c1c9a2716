//! Where the workspace is, which packages it has, and how a child command is run in it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The repository as cargo sees it.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// Where the ordinary build goes; jobs with other flags build in directories below it.
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One member of the workspace, with its dependencies on other members.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// `package.metadata.floor`, where it is declared.
    pub(crate) floor: Option<u64>,
    /// The manifest, relative to the root.
    pub(crate) manifest: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency of one member on another.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) dev: bool,
}

impl Workspace {
    /// Finds the workspace that this program belongs to, whatever the current directory is.
    pub(crate) fn find() -> Result<Self, String> {
        let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&here).parent().ok_or("the manifest directory of xtask has no parent")?;
        let mut command = Command::new(cargo_path());
        command.current_dir(root).args(["metadata", "--no-deps", "--format-version", "1"]);
        let text = capture(command)?;
        let metadata = serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
        Self::from_metadata(root, &metadata)
    }

    /// Reads the packages out of what `cargo metadata --no-deps` prints.
    pub(crate) fn from_metadata(root: &Path, metadata: &Value) -> Result<Self, String> {
        let target =
            metadata["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
        let listed = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
        let members: Vec<&str> = listed.iter().filter_map(|package| package["name"].as_str()).collect();
        let packages = listed.iter().map(|package| Package::read(root, package, &members)).collect();
        Ok(Self { root: root.to_path_buf(), target: PathBuf::from(target), packages })
    }

    /// A cargo command that runs in the root.
    pub(crate) fn cargo<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = Command::new(cargo_path());
        command.current_dir(&self.root).args(args);
        command
    }

    /// A release run of a program of the workspace: `package` and either `--bin` or `--example`, and its
    /// name.
    pub(crate) fn program(&self, package: &str, kind: &str, name: &str) -> Command {
        self.cargo(["run", "--quiet", "--release", "--package", package, kind, name, "--"])
    }
}

impl Package {
    fn read(root: &Path, package: &Value, members: &[&str]) -> Self {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let manifest = manifest.strip_prefix(root).unwrap_or(manifest);
        let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            name: package["name"].as_str().unwrap_or_default().to_owned(),
            floor: package["metadata"]["floor"].as_u64(),
            manifest: manifest.display().to_string(),
            dependencies: dependencies
                .iter()
                .filter_map(|dependency| {
                    let name = dependency["name"].as_str().filter(|name| members.contains(name))?;
                    Some(Dependency { name: name.to_owned(), dev: dependency["kind"] == "dev" })
                })
                .collect(),
        }
    }
}

/// The cargo that runs us, so that children use the same toolchain.
fn cargo_path() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs a command that prints for the reader; an exit code other than zero is an error.
pub(crate) fn run(mut command: Command) -> Result<(), String> {
    let line = describe(&command);
    let status = command.status().map_err(|e| format!("`{line}` did not start: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` ended with {status}")) }
}

/// Runs a command and gives back its standard output; an exit code other than zero is an error that carries
/// it too.
pub(crate) fn capture(mut command: Command) -> Result<String, String> {
    let line = describe(&command);
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|e| format!("`{line}` did not start: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("`{line}` ended with {}\n{text}", output.status))
    }
}

/// Whether a command exists and succeeds, without showing what it prints. For optional tools.
pub(crate) fn works(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// The command as a person would type it.
fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut line = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_their_edges_are_read() {
        let metadata = serde_json::json!({
            "target_directory": "/t",
            "packages": [
                { "name": "a", "manifest_path": "/r/a/Cargo.toml", "metadata": { "floor": 1 } },
                { "name": "b", "manifest_path": "/r/b/Cargo.toml", "metadata": null, "dependencies": [
                    { "name": "a", "kind": "dev" },
                    { "name": "a", "kind": null },
                    { "name": "serde", "kind": null }
                ] },
            ],
        });
        let workspace = Workspace::from_metadata(Path::new("/r"), &metadata).unwrap();
        let [a, b] = &workspace.packages[..] else { panic!("two packages") };
        assert_eq!((a.floor, a.manifest.as_str(), b.floor), (Some(1), "a/Cargo.toml", None));
        assert_eq!(b.dependencies.iter().map(|d| d.dev).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn a_failing_command_is_named_as_one_would_type_it() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exit 3"]);
        assert!(run(command).unwrap_err().starts_with("`sh -c exit 3` ended with"));
        assert!(!works(&mut Command::new("no-such-program-anywhere")));
    }

    #[test]
    fn we_find_ourselves() {
        let workspace = Workspace::find().unwrap();
        assert!(workspace.packages.iter().any(|package| package.name == "xtask"));
    }
}
