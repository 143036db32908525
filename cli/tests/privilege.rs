//! Programs with more rights than the user who starts them do not trust this user's environment.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const NOBODY: u32 = 65534;

/// A copy of the program in a folder that every user can enter.
fn copy() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("ticketapi");
    // Not written by this process: see `write_script` of the test kit.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_ticketapi")).arg(&program).status().unwrap();
    assert!(copied.success());
    (folder, program)
}

fn set_mode(file: &Path, mode: u32) {
    fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
}

/// Runs `status` as another user with these variables.
fn status(program: &Path, variables: &[(&str, &str)]) -> Output {
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut command = Command::new("setpriv");
    command.args(user).arg(program).arg("status").env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).envs(variables.iter().copied()).output().unwrap()
}

fn trusts(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).contains("is not a number of seconds")
}

/// Whether the doctor, as another user, reads where the system's proxy is.
fn reads_proxy(program: &Path) -> bool {
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut command = Command::new("setpriv");
    command.args(user).arg(program).args(["doctor", "--set", "base_url=https://gas.ticketapi.invalid"]).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("HTTPS_PROXY", "socks5://proxy.example");
    String::from_utf8_lossy(&command.output().unwrap().stdout).contains("HTTPS_PROXY: it must begin with http://")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

#[test]
fn a_setuid_program_does_not_ask_the_system_for_a_proxy() {
    if !is_root() {
        return;
    }
    let (_folder, program) = copy();
    assert!(reads_proxy(&program));
    set_mode(&program, 0o4755);
    assert!(!reads_proxy(&program));
}

#[test]
fn programs_with_setuid_setgid_or_capabilities_read_no_variables() {
    if !is_root() {
        return;
    }
    let (folder, program) = copy();
    let home = folder.path().join("home");
    fs::create_dir_all(home.join(".config/ticketapi")).unwrap();
    let file = home.join(".config/ticketapi/config.toml");
    fs::write(&file, "card_wait = 'never'").unwrap();
    let home = home.to_str().unwrap();
    for variables in [
        [("TICKETAPI_CARD_WAIT", "never")],
        [("TICKETAPI_CONFIG", file.to_str().unwrap())],
        [("HOME", home)],
        [("XDG_CONFIG_HOME", &format!("{home}/.config"))],
    ] {
        set_mode(&program, 0o755);
        assert!(trusts(&status(&program, &variables)), "{variables:?}");
        for mode in [0o4755, 0o2755] {
            set_mode(&program, mode);
            assert!(!trusts(&status(&program, &variables)), "{mode:o} {variables:?}");
        }
        set_mode(&program, 0o755);
        let with = Command::new("setcap").arg("cap_net_raw+ep").arg(&program).status();
        if with.is_ok_and(|status| status.success()) {
            assert!(!trusts(&status(&program, &variables)), "capabilities, {variables:?}");
            Command::new("setcap").arg("-r").arg(&program).status().unwrap();
        }
    }
}

#[test]
fn root_with_the_home_of_another_user_reads_no_variables() {
    if !is_root() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let trusts = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ticketapi"));
        command.arg("status").env_clear().env("HOME", home.path()).env("TICKETAPI_CARD_WAIT", "never");
        trusts(&command.output().unwrap())
    };
    assert!(trusts());
    chown(home.path(), Some(NOBODY), None).unwrap();
    assert!(!trusts());
}
