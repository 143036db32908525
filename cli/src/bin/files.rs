//! `ticketapi-files FOLDER` writes what `make install` installs beside `ticketapi`: completions and man
//! pages, made from the description of its command line. Not installed itself.
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

/// Each file under the name by which its shell or `man` knows it.
fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (shell, name) in [(Shell::Bash, "ticketapi"), (Shell::Zsh, "_ticketapi"), (Shell::Fish, "ticketapi.fish")] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Options::command(), "ticketapi", &mut text);
        fs::write(folder.join(name), text)?;
    }
    clap_mangen::generate_to(Options::command(), folder)
}
