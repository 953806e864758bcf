//! The example gateway as a program.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Where it is; built by the first who asks.
pub(crate) fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let status = Command::new(env!("CARGO"))
        // With the features that this test was built with: `cargo test` has made it already.
        .args(["build", "--quiet", "--all-features", "--example", "gateway"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success());
    // target/debug/deps/THIS, target/debug/examples/gateway
    let deps = std::env::current_exe().unwrap();
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let profile = deps.parent().unwrap().parent().unwrap().to_owned();
    let beside = profile.join("examples/gateway");
    match target {
        Some(target) if !beside.exists() => target.join("debug/examples/gateway"),
        _ => beside,
    }
}
