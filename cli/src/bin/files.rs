//! `ticketapi-files FOLDER` writes the completions and man pages that `make install` installs, generated
//! from the command line's description. Not installed itself.
#![forbid(unsafe_code)]

#[path = "../options.rs"]
mod options;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use clap::CommandFactory;
use clap_complete::Shell;
use options::Options;

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: ticketapi-files FOLDER");
        return ExitCode::from(2);
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} cannot be written to: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

/// Writes each file under the name that its shell or `man` expects.
fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (shell, name) in [(Shell::Bash, "ticketapi"), (Shell::Zsh, "_ticketapi"), (Shell::Fish, "ticketapi.fish")] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Options::command(), "ticketapi", &mut text);
        fs::write(folder.join(name), text)?;
    }
    clap_mangen::generate_to(Options::command(), folder)
}
