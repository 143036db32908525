//! Programs and modules of this workspace that tests start or load.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Returns the path of the helper program `ticketapi-card`, which it builds for this test run. Blocks while it
/// builds.
///
/// # Panics
///
/// If the program cannot be built.
pub fn helper_program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    // Selected so that the helper's dependencies have the same features as in tests; otherwise they would be built
    // twice. The example adds the features that tests add.
    let selection = ["--workspace", "--bin", "ticketapi-card", "--example", "demo"];
    BUILT.get_or_init(|| build(&selection, "ticketapi-card")).clone()
}

/// Returns the path of the scripted PKCS#11 module, which it builds for this test run. Blocks while it builds. The
/// script is a file beside the module, so each test makes its own copy.
///
/// # Panics
///
/// If the module cannot be built.
pub fn scripted_module() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let name = format!("{}ticketapi_scripted_pkcs11{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    BUILT.get_or_init(|| build(&["--package", "ticketapi-scripted-pkcs11"], &name)).clone()
}

/// Returns the path of OpenSC's PKCS#11 module.
///
/// # Panics
///
/// If OpenSC is not installed.
#[expect(clippy::panic, reason = "a test cannot continue without it")]
pub fn opensc_module() -> &'static str {
    let places = [
        "/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so",
        "/usr/lib/aarch64-linux-gnu/opensc-pkcs11.so",
        "/usr/lib64/opensc-pkcs11.so",
    ];
    match places.into_iter().find(|place| Path::new(place).exists()) {
        Some(place) => place,
        None => panic!("OpenSC is not installed"),
    }
}

/// Builds `selection` with the profile of the running test, and returns the path of `file` in the target folder.
#[expect(clippy::panic, reason = "a test cannot continue without it")]
fn build(selection: &[&str], file: &str) -> PathBuf {
    let profile = profile_directory();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet"]).args(selection);
    // With cargo's variables about the test's package, build scripts would run again each time.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    // As rustup's own cargo does for the test. Otherwise a dependency's rust-toolchain file would choose the compiler that
    // builds it.
    if let Some(toolchain) = option_env!("RUSTUP_TOOLCHAIN") {
        cargo.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.status().is_ok_and(|status| status.success());
    let path = profile.join(file);
    if !built || !path.is_file() {
        panic!("{} could not be built", path.display());
    }
    path
}

/// Returns `target`, for what takes long to make.
#[cfg(unix)]
pub(crate) fn target_directory() -> PathBuf {
    profile_directory().parent().map_or_else(PathBuf::new, Path::to_owned)
}

/// Returns `target/debug` or `target/release`: the parent of the folder `deps` that the running test is in.
fn profile_directory() -> PathBuf {
    let running = std::env::current_exe().unwrap_or_default();
    let mut ancestors = running.ancestors();
    ancestors.find(|path| path.join("deps").is_dir()).map_or_else(PathBuf::new, Path::to_owned)
}
