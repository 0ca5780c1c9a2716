//! Where children can be started from: programs built in several ways, run in several surroundings.
//!
//! The programs are those of the directory `places` beside this file, built by the same cargo into the same target
//! directory. Tests, examples and ordinary programs are proven elsewhere, by being that.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const STATIC_TARGET: &str =
    if cfg!(target_arch = "x86_64") { "x86_64-unknown-linux-gnu" } else { "aarch64-unknown-linux-gnu" };

/// Every line that the work writes, where `LD_PRELOAD` is `preloads`.
fn expected(preloads: &str) -> Vec<String> {
    let of = |method: &str| {
        [
            format!("{method} 42 6"),
            format!("{method}-panic on purpose"),
            format!("{method}-abort Some(-6)"),
            format!("{method}-preloads {preloads:?}"),
        ]
    };
    ["exec", "zygote", "auto"].iter().flat_map(|method| of(method)).collect()
}

fn target_directory() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let target = test.ancestors().nth(3).expect("target/profile/deps/test");
    target.join("places")
}

/// Builds the programs; where they are.
fn build(profile: &str, extra: &[&str], flags: &str) -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/places/Cargo.toml");
    let directory = target_directory().join(if flags.is_empty() { "dynamic" } else { "static" });
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--profile", profile, "--manifest-path"]).arg(manifest);
    cargo.arg("--target-dir").arg(&directory).args(extra);
    cargo.env("RUSTFLAGS", flags).env_remove("CARGO_ENCODED_RUSTFLAGS");
    succeed(&mut cargo, "cargo build");
    directory
}

fn succeed(command: &mut Command, what: &str) -> Output {
    let output = command.output().unwrap_or_else(|why| panic!("{what}: {why}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{out}\n{err}", output.status);
    output
}

/// Runs the program in a shell with these redirections; what it wrote.
fn run(program: &Path, redirections: &str, preloads: Option<&str>) -> Vec<String> {
    let name = redirections.replace(|c: char| !c.is_ascii_digit(), "");
    let file = std::env::temp_dir().join(format!(
        "ginnel-places-{}-{name}-{}",
        std::process::id(),
        preloads.is_some()
    ));
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$0\" \"$1\" {redirections}")]).arg(program).arg(&file);
    if let Some(preloads) = preloads {
        shell.env("LD_PRELOAD", preloads);
    }
    succeed(&mut shell, "the program");
    let text = std::fs::read_to_string(&file).expect("what the program wrote");
    std::fs::remove_file(&file).expect("our file");
    text.lines().map(String::from).collect()
}

/// One test, because cargo would build for two of them in turn anyway: optimised at link time, stripped, and
/// without unwinding.
#[test]
fn the_smallest_program_and_a_plugin() {
    let built = build("smallest", &[], "").join("smallest");
    let program = built.join("program");
    assert_eq!(run(&program, "", None), expected(""), "as it is");
    assert_eq!(run(&program, "0<&-", None), expected(""), "standard input closed");
    assert_eq!(run(&program, "0<&- 1>&- 2>&-", None), expected(""), "all three closed");
    assert_eq!(run(&program, "", Some("libm.so.6")), expected("libm.so.6"), "something preloaded");

    let script = "import ctypes, sys; sys.exit(0 if ctypes.CDLL(sys.argv[1]).work() == 12 else 1)";
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(built.join("libplugin.so"));
    let output = succeed(&mut python, "python3 with the plug-in");
    let lines: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect();
    assert_eq!(lines, expected(""), "in python");
}

#[test]
fn a_static_program() {
    let built =
        build("dev", &["--bin", "program", "--target", STATIC_TARGET], "-C target-feature=+crt-static");
    assert_eq!(run(&built.join(STATIC_TARGET).join("debug/program"), "", None), expected(""));
}
