//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Log in to the NHS Spine with a smartcard.
#[derive(Debug, Parser)]
#[command(name = "ticketapi", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Options {
    #[command(subcommand)]
    pub command: Command,
}

/// Tested to be what `exit::code` gives.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the library or the connection (generic)
  2  the command line is wrong
  3  the card, the reader or the PIN counter (card device)
  4  the login: no card, cancelled, refused, broker not available (authentication)
  5  how the computer is set up (config)";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Log in, and show who is logged in
    Login(Common),
    /// Print the ticket, and nothing else, on standard output; log in first where nobody is logged in
    Ticket {
        /// Only the ticket that is there: never ask, never log in
        #[arg(long)]
        no_auth: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Show whether somebody is logged in; never asks anything
    Status(Common),
    /// List the user's roles; log in first where nobody is logged in
    Roles(Common),
    /// Ask the broker whose the session is and what its user may do; log in first where nobody is
    Assertion(Common),
    /// End the session, here and on the broker
    Logout(Common),
    /// Keep one session for all programs of this user, until it is ended by a signal
    Agent {
        /// Tell everything that happens, on standard error
        #[arg(long, short)]
        verbose: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Look for what keeps a login from working, and say what to do
    ///
    /// Goes the whole way from the settings to the broker. Begins no session, asks for nothing and
    /// tries no PIN.
    Doctor(Common),
}

/// What every command takes.
#[derive(Args, Debug)]
pub struct Common {
    /// Read the settings from FILE, then from the environment
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set KEY to VALUE, after the file and the environment; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub settings: Vec<(String, String)>,
    /// Answer in JSON, on standard output
    #[arg(long)]
    pub json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("there is no = in it")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn a_setting_may_have_an_equals_sign_in_its_value() {
        assert_eq!(pair("role_command=sed -n s=a=b="), Ok(("role_command".into(), "sed -n s=a=b=".into())));
        assert!(pair("role").is_err());
    }
}
