//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args, Parser, Subcommand};
use ticketapi::Error;
use ticketapi::sign::{Algorithm, Format};

/// Log in to a healthcare identity service, and hand its ticket to programs.
#[derive(Debug, Parser)]
#[command(name = "ticketapi", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Options {
    #[command(subcommand)]
    pub command: Command,
}

/// A test compares these with `exit::code`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the library or the connection (generic)
  2  wrong command line
  3  the card, the reader or a locked PIN (card device)
  4  the login: no card, cancelled, refused, broker not available (authentication)
  5  the computer's configuration (config)";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Log in, and show who is logged in
    Login(Common),
    /// Print the ticket and nothing else on standard output; log in first if nobody is logged in
    Ticket {
        /// Print only an existing ticket: never prompt, never log in
        #[arg(long)]
        no_auth: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Show whether somebody is logged in; never prompts
    Status(Common),
    /// List the user's roles; log in first if nobody is logged in
    Roles(Common),
    /// Ask the broker whose session it is and what its user may do; log in first if nobody is logged in
    Assertion(Common),
    /// Show what the OpenID provider says about the user; log in first if nobody is logged in
    Claims(Common),
    /// Work in another role, in the same session, where the service can change it
    ChangeRole(Common),
    /// Work in another context, in the same session (Danish eHealth)
    ///
    /// The ticket of every program that shares the session changes. A context that the service refuses leaves the old
    /// one working.
    #[command(group = ArgGroup::new("what").required(true).multiple(true))]
    Context {
        /// List the organisations and care teams to choose from, and switch to none
        #[arg(long, group = "what", conflicts_with_all = ["organization", "care_team", "patient", "episode"])]
        list: bool,
        /// Work for the organisation ID
        #[arg(long, group = "what", value_name = "ID")]
        organization: Option<String>,
        /// Work in the care team ID
        #[arg(long, group = "what", value_name = "ID")]
        care_team: Option<String>,
        /// Work with the patient ID; needs a care team
        #[arg(long, group = "what", value_name = "ID", requires = "care_team")]
        patient: Option<String>,
        /// Work in the episode of care ID; needs a care team
        #[arg(long, group = "what", value_name = "ID", requires = "care_team")]
        episode: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Print an access token for what another organisation keeps (Nuts); log in first if nobody is logged in
    ///
    /// The employer's node asks the other organisation's for it. The token is good for about a minute.
    NutsToken {
        /// The DID of the organisation that keeps the data
        #[arg(long, value_name = "DID")]
        authorizer: String,
        /// The service whose data is wanted
        #[arg(long, value_name = "NAME")]
        service: String,
        #[command(flatten)]
        common: Common,
    },
    /// Sign documents with the card, and ask for the PIN each time
    ///
    /// Writes a file beside each FILE, or into DIR: its name and .sig, .p7s, .jws or .signature.xml. With --json the
    /// answer has the form of NHS Credential Management's, and without FILE so has the request, on standard input.
    Sign {
        #[command(flatten)]
        options: SignOptions,
        #[command(flatten)]
        common: Common,
    },
    /// End the session, here and at the service
    Logout(Common),
    /// Keep one session for all programs of this user, until a signal ends it
    Agent {
        /// Report every event on standard error
        #[arg(long, short)]
        verbose: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Find out why a login does not work, and what to do
    ///
    /// Checks every step from the settings to the identity service. Starts no session, asks nothing and tries
    /// no PIN.
    Doctor(Common),
    /// For the installer: replace the original library in the system's folders
    #[cfg(windows)]
    #[command(hide = true)]
    ReplaceOriginal,
    /// For the installer: put the original library back
    #[cfg(windows)]
    #[command(hide = true)]
    PutOriginalBack,
}

/// What to sign, and how.
#[derive(Args, Debug)]
pub struct SignOptions {
    /// What the documents are, for the PIN prompt
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// raw, cms (detached, in DER), jws (compact) or xmldsig (each FILE is a canonical SignedInfo, or its base64)
    #[arg(long, value_name = "FORMAT", default_value = "raw", value_parser = parse::<Format>)]
    pub format: Format,
    /// RS256, RS384, RS512, PS256, ES256, ES384, or RS1, which uses SHA-1
    #[arg(long, value_name = "NAME", default_value = "RS256", value_parser = parse::<Algorithm>)]
    pub algorithm: Algorithm,
    /// Sign with the key for logging in instead of the one for signatures
    #[arg(long)]
    pub login_key: bool,
    /// Write the signatures into the folder DIR
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Replace signature files that exist
    #[arg(long)]
    pub overwrite: bool,
    /// The documents; - is standard input, whose signature goes to standard output
    #[arg(value_name = "FILE", required_unless_present = "json")]
    pub files: Vec<PathBuf>,
}

fn parse<T: FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: Error| error.detail().to_owned())
}

/// Options of every command.
#[derive(Args, Debug)]
pub struct Common {
    /// Read the settings from FILE, then from the environment
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set KEY to VALUE, after the file and the environment; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub settings: Vec<(String, String)>,
    /// Print JSON on standard output
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub employee: EmployeeOptions,
}

/// Who logs in at an employer's Nuts node.
#[derive(Args, Debug)]
#[command(next_help_heading = "Employee (Nuts)")]
pub struct EmployeeOptions {
    /// The employee's number or name in the employer's records
    #[arg(long, value_name = "ID")]
    pub employee_identifier: Option<String>,
    /// The initials
    #[arg(long, value_name = "TEXT")]
    pub employee_initials: Option<String>,
    /// The family name
    #[arg(long, value_name = "TEXT")]
    pub employee_family_name: Option<String>,
    /// The role, as the employer names it
    #[arg(long, value_name = "TEXT")]
    pub employee_role: Option<String>,
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
    fn a_context_needs_a_part_and_a_patient_needs_a_care_team() {
        let parses =
            |arguments: &[&str]| Options::try_parse_from([&["ticketapi", "context"], arguments].concat()).is_ok();
        assert!(
            parses(&["--list"]) && parses(&["--organization", "a"]) && parses(&["--care-team", "a", "--patient", "b"])
        );
        for wrong in [&[][..], &["--patient", "a"], &["--episode", "a"], &["--list", "--care-team", "a"]] {
            assert!(!parses(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn signing_needs_a_file_unless_a_request_is_read() {
        let parses = |arguments: &[&str]| Options::try_parse_from([&["ticketapi", "sign"], arguments].concat()).is_ok();
        assert!(
            parses(&["a"]) && parses(&["--json"]) && parses(&["--format", "cms", "--algorithm", "ES384", "a", "b"])
        );
        assert!(!parses(&[]) && !parses(&["--format", "pdf", "a"]) && !parses(&["--algorithm", "none", "a"]));
    }

    #[test]
    fn a_setting_may_have_an_equals_sign_in_its_value() {
        assert_eq!(pair("role_command=sed -n s=a=b="), Ok(("role_command".into(), "sed -n s=a=b=".into())));
        assert!(pair("role").is_err());
    }
}
