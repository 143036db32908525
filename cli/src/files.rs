//! What `make install` installs beside the program: completions and man pages, made from the same
//! description as the command line.

use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::options::Options;

/// Writes them into `folder`, each under the name by which shells and `man` know it.
pub fn write(folder: &Path) -> ExitCode {
    match try_write(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("{} cannot be written to: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn try_write(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (shell, name) in [(Shell::Bash, "ticketapi"), (Shell::Zsh, "_ticketapi"), (Shell::Fish, "ticketapi.fish")] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Options::command(), "ticketapi", &mut text);
        std::fs::write(folder.join(name), text)?;
    }
    clap_mangen::generate_to(Options::command(), folder)
}
