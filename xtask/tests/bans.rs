//! The bans of `clippy.toml` bite: a crate that names everything that is banned is refused, item by item.
//!
//! Clippy runs over a small crate in a temporary folder with our configuration. A ban with a typing error in
//! its path bans nothing and says nothing; here it fails.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Every atomic type of a stable toolchain.
const ATOMICS: [&str; 12] = [
    "AtomicBool",
    "AtomicI8",
    "AtomicI16",
    "AtomicI32",
    "AtomicI64",
    "AtomicIsize",
    "AtomicU8",
    "AtomicU16",
    "AtomicU32",
    "AtomicU64",
    "AtomicUsize",
    "AtomicPtr",
];

/// One use of each banned function.
const CALLS: [(&str, &str); 4] = [
    ("fence", "core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);"),
    ("compiler_fence", "core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);"),
    ("spin_loop", "core::hint::spin_loop();"),
    ("yield_now", "std::thread::yield_now();"),
];

/// The path is written by way of `std` and an alias where the configuration says `core`: one item, several
/// names.
fn offender() -> String {
    let mut text = String::from("use std::sync::atomic as other;\n");
    for name in ATOMICS {
        let argument = if name == "AtomicPtr" { "<u8>" } else { "" };
        text.push_str(&format!("pub type {name} = other::{name}{argument};\n"));
    }
    text.push_str("pub type Cell = std::cell::UnsafeCell<u8>;\npub fn calls() {\n");
    for (_, call) in CALLS {
        text.push_str(&format!("    {call}\n"));
    }
    text.push_str("}\n");
    text
}

fn clippy(folder: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["clippy", "--offline", "--quiet"])
        .current_dir(folder)
        .env("CLIPPY_CONF_DIR", root)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env_remove("RUSTFLAGS")
        .output()
        .expect("clippy is a component of the pinned toolchain");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn complaints(source: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write =
        |path: &str, text: &str| fs::write(folder.path().join(path), text).expect("the folder is ours");
    fs::create_dir(folder.path().join("src")).expect("the folder is ours");
    write("Cargo.toml", "[package]\nname = \"offender\"\nedition = \"2024\"\n\n[workspace]\n");
    write("src/lib.rs", source);
    clippy(folder.path())
}

#[test]
fn every_ban_bites() {
    let text = complaints(&offender());
    for name in ATOMICS {
        assert!(text.contains(&format!("::sync::atomic::{name}`")), "{name} passes:\n{text}");
    }
    assert!(text.contains("UnsafeCell`"), "UnsafeCell passes:\n{text}");
    for (name, _) in CALLS {
        assert!(text.contains(&format!("::{name}`")), "{name} passes:\n{text}");
    }
    assert!(!text.contains("does not refer"), "a ban names nothing:\n{text}");
}

#[test]
fn innocent_code_passes() {
    let text = complaints("/// Adds.\npub fn add(a: u32, b: u32) -> u32 {\n    a.wrapping_add(b)\n}\n");
    assert!(text.trim().is_empty(), "{text}");
}
