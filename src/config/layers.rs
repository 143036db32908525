//! Where settings come from, in order: the file, the registry (on Windows), the environment, the program, policies.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::de::{DeString, DeTable, DeValue};

use super::registry::{Hive, Layer};
use super::values::SINGLE_QUOTES;
use super::{Config, KEYS};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::os::fs::read_trusted;
use crate::os::privilege::{is_raised, own_user};

/// Where the settings came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// The values that were read; a later one of the same key wins.
    pub settings: Vec<Setting>,
    /// Values of the Identity Agent that have no counterpart here.
    pub ignored: Vec<String>,
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key.
    pub key: String,
    /// Where it is.
    pub origin: Origin,
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the Identity Agent's key of the registry.
    IdentityAgent {
        /// The key of the registry.
        place: String,
        /// The value's name there.
        name: String,
    },
    /// In the file.
    File {
        /// Its line.
        line: usize,
    },
    /// In the registry.
    Registry {
        /// The key of the registry.
        place: String,
        /// Whether it is set by Group Policy, which wins over programs too.
        policy: bool,
    },
    /// In the variable of this name.
    Variable(String),
}

const PREFIX: &str = "TICKETAPI_";

/// More than any configuration needs; a larger file is something else.
const FILE_LIMIT: u64 = 1 << 20;

impl Config {
    /// Reads the settings as every program of the desk does: from the file that `TICKETAPI_CONFIG`
    /// names, else `$XDG_CONFIG_HOME/ticketapi/config.toml`, else `/etc/ticketapi/config.toml`,
    /// where there is one; then from the environment. A program with more rights than its user has,
    /// because it is setuid or setgid, has file capabilities or runs as root with another user's home,
    /// reads `/etc/ticketapi/config.toml` alone. On Windows the files are `%APPDATA%\ticketapi\config.toml` and
    /// `%ProgramData%\ticketapi\config.toml`, the registry's `SOFTWARE\ticketapi` comes before the environment, and
    /// Group Policy wins over everything.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration), naming file, line and key.
    pub fn load() -> Result<Self> {
        Ok(Self::load_telling(None)?.0)
    }

    /// As [`Config::load`], from `file` instead of the one that is found where it is given; tells
    /// where the settings came from.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    #[doc(hidden)]
    pub fn load_telling(file: Option<&Path>) -> Result<(Self, Sources)> {
        own_user()?;
        // Asked once: there is a variable for each key.
        let raised = is_raised();
        let variable = |name: &str| if raised { None } else { env::var_os(name) };
        let file = file.map(Path::to_owned).or_else(|| find_file(&variable, &system_folder()));
        if raised {
            tracing::warn!("this program has more rights than its user: the environment's settings are not used");
        }
        #[cfg(windows)]
        let hives = super::registry::read()?;
        #[cfg(not(windows))]
        let hives = [];
        Self::load_from(&variable, file, &hives)
    }

    /// Reads the settings from `file` alone.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn from_file(file: &Path) -> Result<Self> {
        let mut config = Self::default();
        config.read_file(file)?;
        Ok(config)
    }

    /// Sets `key` to `value`, both as they are in the file (a list with `;` between its parts). A key that Group Policy
    /// sets keeps its value.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration), naming the key.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let bad = |problem| invalid(format!("{key}: {problem}"));
        if self.policies.contains(&key) {
            tracing::warn!("{key} is set by Group Policy: the program's value is not used");
            return self.clone().apply(key, value, Path::new("")).map_err(bad);
        }
        self.apply(key, value, Path::new("")).map_err(bad)
    }

    /// Every key there is, in the order of docs/settings.md.
    pub fn keys() -> impl Iterator<Item = &'static str> {
        KEYS.iter().map(|&(key, _)| key)
    }

    pub(super) fn load_from(
        variable: &dyn Fn(&str) -> Option<OsString>,
        file: Option<PathBuf>,
        hives: &[Hive],
    ) -> Result<(Self, Sources)> {
        let (mut config, mut sources) = (Self::default(), Sources::default());
        let folder = system_folder().join("ticketapi");
        config.apply_hives(hives, Layer::IdentityAgent, &folder, &mut sources)?;
        if let Some(file) = file {
            sources.settings.extend(config.read_file(&file)?);
            sources.file = Some(file);
        }
        config.apply_hives(hives, Layer::Settings, &folder, &mut sources)?;
        for key in Self::keys() {
            let name = format!("{PREFIX}{}", key.to_uppercase());
            let Some(value) = variable(&name).filter(|value| !value.is_empty()) else { continue };
            let value = value.to_str().ok_or_else(|| invalid(format!("{name}: the value is not UTF-8")))?;
            config.apply(key, value, Path::new("")).map_err(|problem| invalid(format!("{name}: {problem}")))?;
            sources.settings.push(Setting { key: key.to_owned(), origin: Origin::Variable(name) });
        }
        config.apply_hives(hives, Layer::Policy, &folder, &mut sources)?;
        Ok((config, sources))
    }

    /// Returns what the file sets.
    fn read_file(&mut self, file: &Path) -> Result<Vec<Setting>> {
        let shown = file.display();
        let unreadable = |error: std::io::Error| invalid(format!("{shown} cannot be read: {error}")).because(error);
        let bytes = read_trusted(file, FILE_LIMIT).map_err(unreadable)?;
        let source = String::from_utf8(bytes).map_err(|_| invalid(format!("{shown} is not UTF-8")))?;
        let at = |offset: usize| format!("{shown}, line {}", line_of(&source, offset));
        let table = DeTable::parse(&source).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let escape = error.message().contains("escape");
            let hint = if escape { format!("; {SINGLE_QUOTES}") } else { String::new() };
            invalid(format!("{}: {}{hint}", at(start), error.message()))
        })?;
        let folder = file.parent().unwrap_or(Path::new(""));
        for (key, value) in table.get_ref() {
            scalar(value.get_ref())
                .and_then(|value| self.apply(key.get_ref(), &value, folder))
                .map_err(|problem| invalid(format!("{}: {}: {problem}", at(key.span().start), key.get_ref())))?;
        }
        let setting = |key: &toml::Spanned<DeString<'_>>| Setting {
            key: key.get_ref().to_string(),
            origin: Origin::File { line: line_of(&source, key.span().start) },
        };
        Ok(table.get_ref().keys().map(setting).collect())
    }
}

fn find_file(variable: &dyn Fn(&str) -> Option<OsString>, system: &Path) -> Option<PathBuf> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(named) = path("TICKETAPI_CONFIG") {
        return Some(named);
    }
    user_folder(path)
        .into_iter()
        .chain([system.to_owned()])
        .map(|folder| folder.join("ticketapi/config.toml"))
        .find(|file| file.exists())
}

/// The user's folder of configurations.
#[cfg(unix)]
fn user_folder(path: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    // The XDG base directory specification has relative paths ignored.
    path("XDG_CONFIG_HOME").filter(|home| home.is_absolute()).or_else(|| path("HOME").map(|home| home.join(".config")))
}

#[cfg(unix)]
fn system_folder() -> PathBuf {
    "/etc".into()
}

/// The user's folder of configurations.
#[cfg(windows)]
fn user_folder(path: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    path("APPDATA").filter(|folder| folder.is_absolute())
}

/// Users may add folders to it, which belong to them and are refused for others.
#[cfg(windows)]
fn system_folder() -> PathBuf {
    env::var_os("ProgramData").map_or_else(|| r"C:\ProgramData".into(), PathBuf::from)
}

/// A value of the file as the text that the environment would have.
fn scalar(value: &DeValue<'_>) -> std::result::Result<String, String> {
    Ok(match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        DeValue::Integer(_) => return Err("a number in decimal digits is expected here".into()),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Array(items) => {
            let items: std::result::Result<Vec<_>, _> = items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) if !text.contains(';') => Ok(text.to_string()),
                    _ => Err("a list of texts without ';' is expected here".to_owned()),
                })
                .collect();
            items?.join(";")
        }
        other => return Err(format!("a {} is not expected here", other.type_str())),
    })
}

fn line_of(source: &str, offset: usize) -> usize {
    source.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

pub(super) fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::Configuration, Stage::Configuration, detail)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;
    use std::time::Duration;

    use super::*;

    struct Desk {
        folder: tempfile::TempDir,
        variables: HashMap<String, OsString>,
    }

    impl Desk {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap(), variables: HashMap::new() }
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let file = self.folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            file
        }

        fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
            self.variables.insert(name.into(), value.into());
            self
        }

        fn load(&self) -> Result<Config> {
            Ok(self.load_telling()?.0)
        }

        fn load_telling(&self) -> Result<(Config, Sources)> {
            let variable = |name: &str| self.variables.get(name).cloned();
            Config::load_from(&variable, find_file(&variable, &self.folder.path().join("etc")), &[])
        }

        fn problem(&self) -> String {
            let error = self.load().unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::Configuration);
            let folder = format!("{}{}", self.folder.path().display(), std::path::MAIN_SEPARATOR);
            error.detail().replace(&folder, "/")
        }
    }

    #[test]
    fn without_file_and_variables_the_defaults_hold() {
        assert_eq!(Desk::new().load().unwrap(), Config::default());
    }

    #[test]
    fn the_named_file_comes_before_the_users_and_the_users_before_the_systems() {
        let desk = Desk::new();
        desk.file("etc/ticketapi/config.toml", "role = '1'");
        assert_eq!(desk.load().unwrap().role.unwrap(), "1");
        #[cfg(unix)]
        let folders = [("HOME", "home", "home/.config"), ("XDG_CONFIG_HOME", "xdg", "xdg")];
        #[cfg(windows)]
        let folders = [("APPDATA", "roaming", "roaming")];
        let mut desk = desk;
        for (variable, value, folder) in folders {
            desk.file(&format!("{folder}/ticketapi/config.toml"), &format!("role = '{variable}'"));
            let value = desk.folder.path().join(value);
            desk = desk.with(variable, value);
            assert_eq!(desk.load().unwrap().role.unwrap(), variable);
        }
        let named = desk.file("mine.toml", "role = 4");
        let desk = desk.with("TICKETAPI_CONFIG", named);
        assert_eq!(desk.load().unwrap().role.unwrap(), "4");
    }

    #[test]
    fn a_variable_overrides_the_file_and_an_empty_one_does_not() {
        let desk = Desk::new();
        let file = desk.file("c.toml", "card_wait = 5\nrequire_role = false");
        let desk =
            desk.with("TICKETAPI_CONFIG", file).with("TICKETAPI_CARD_WAIT", "7").with("TICKETAPI_REQUIRE_ROLE", "");
        let config = desk.load().unwrap();
        assert_eq!(config.card_wait, Duration::from_secs(7));
        assert!(!config.require_role);
    }

    #[test]
    fn it_is_told_which_settings_come_from_the_file_and_which_from_the_environment() {
        let desk = Desk::new();
        assert_eq!(desk.load_telling().unwrap().1, Sources::default());
        let file = desk.file("c.toml", "card_wait = 5\n\nrole = '1'");
        let desk = desk.with("TICKETAPI_CONFIG", file.clone()).with("TICKETAPI_CARD_WAIT", "7");
        let settings = [
            ("card_wait", Origin::File { line: 1 }),
            ("role", Origin::File { line: 3 }),
            ("card_wait", Origin::Variable("TICKETAPI_CARD_WAIT".into())),
        ]
        .map(|(key, origin)| Setting { key: key.into(), origin });
        let expected = Sources { file: Some(file), settings: settings.into(), ..Sources::default() };
        assert_eq!(desk.load_telling().unwrap().1, expected);
    }

    #[test]
    fn the_program_overrides_both() {
        let mut config = Desk::new().with("TICKETAPI_DIGEST", "sha256").load().unwrap();
        config.set("digest", "sha1").unwrap();
        assert_eq!(config.digest, crate::card::Digest::Sha1);
        let error = config.set("digest", "md5").unwrap_err();
        assert_eq!(error.detail(), "digest: \"md5\" is not one of sha1, sha256");
    }

    #[test]
    fn a_path_begins_where_its_file_is_unless_it_says_so_or_a_program_is_looked_up() {
        let desk = Desk::new();
        let lines = "helper = 'x'\npinentry = './x'\nca_file = '/x'\nsoftware_card = 'a/b'";
        let config = Config::from_file(&desk.file("c.toml", lines)).unwrap();
        let folder = desk.folder.path();
        assert_eq!(config.helper.unwrap(), folder.join("x"));
        assert_eq!(config.pinentry.unwrap(), folder.join("./x"));
        assert_eq!(config.ca_file.unwrap(), folder.ancestors().last().unwrap().join("x"));
        assert_eq!(config.software_card.unwrap(), folder.join("a/b"));
    }

    #[test]
    fn an_unknown_key_is_told_with_file_and_line() {
        let desk = Desk::new();
        let file = desk.file("c.toml", "role = '1'\n\nrolle = '2'\n");
        assert_eq!(desk.with("TICKETAPI_CONFIG", file).problem(), "/c.toml, line 3: rolle: there is no such setting");
    }

    #[test]
    fn a_bad_value_is_told_with_file_line_and_key() {
        for (line, problem) in [
            ("environment = 'prod'", "environment: \"prod\" is not one of live, int, dep"),
            ("card_wait = -1", "card_wait: \"-1\" is not a number of seconds from 0 to 86400"),
            ("card_wait = 1.5", "card_wait: a float is not expected here"),
            ("card_wait = 0x10", "card_wait: a number in decimal digits is expected here"),
            ("certificate_issuers = ['A;B']", "certificate_issuers: a list of texts without ';' is expected here"),
            ("certificate_issuers = [1]", "certificate_issuers: a list of texts without ';' is expected here"),
            ("pkcs11_module = 'libx.so'", "pkcs11_module: \"libx.so\" is not an absolute path"),
            ("agent_socket = 'agent'", "agent_socket: \"agent\" is not an absolute path"),
            ("require_role = 'yes'", "require_role: \"yes\" is not one of true, false"),
            ("role_command = 'rofi \"'", "role_command: \"rofi \\\"\" is not a command line"),
            ("role = ''", "role: the value is empty"),
        ] {
            let desk = Desk::new();
            let file = desk.file("c.toml", &format!("# settings\n{line}\n"));
            assert_eq!(desk.with("TICKETAPI_CONFIG", file).problem(), format!("/c.toml, line 2: {problem}"));
        }
    }

    #[test]
    fn a_file_that_is_not_toml_is_told_with_its_line() {
        let desk = Desk::new();
        let file = desk.file("c.toml", "role = '1'\nrole command\n");
        let problem = desk.with("TICKETAPI_CONFIG", file).problem();
        assert!(problem.starts_with("/c.toml, line 2: "), "{problem}");
    }

    #[test]
    fn a_path_of_windows_in_double_quotes_is_an_error_that_says_how_to_write_it() {
        for (line, problem) in [
            (r#"role_command = "C:\Role.exe""#, "; write a path with backslashes in single quotes: 'C:\\folder\\file'"),
            (r#"helper = "C:\temp\new.exe""#, "helper: \"C:\\temp\\new.exe\" has a control character; write a path"),
            (
                r#"pkcs11_module = "C:\next.dll""#,
                "pkcs11_module: \"C:\\next.dll\" has a control character; write a path",
            ),
            (r#"pinentry = "C:\to\next""#, "pinentry: \"C:\\to\\next\" has"),
        ] {
            let desk = Desk::new();
            let file = desk.file("c.toml", line);
            let told = desk.with("TICKETAPI_CONFIG", file).problem();
            assert!(told.contains(problem), "{told}");
        }
        let desk = Desk::new();
        let file = desk.file("c.toml", "helper = 'C:\\temp\\new.exe'\nca_file = \"C:\\\\temp\\\\ca.pem\"");
        let config = Config::from_file(&file).unwrap();
        let shown = |path: Option<PathBuf>| path.unwrap().display().to_string();
        assert!(
            shown(config.helper).ends_with(r"C:\temp\new.exe") && shown(config.ca_file).ends_with(r"C:\temp\ca.pem")
        );
    }

    #[test]
    fn a_file_too_large_for_a_configuration_is_not_read() {
        let desk = Desk::new();
        let sized = |size: u64| Config::from_file(&desk.file("c.toml", &"#".repeat(size as usize)));
        assert!(sized(FILE_LIMIT).is_ok());
        for more in [1, 2, 1000] {
            let error = sized(FILE_LIMIT + more).unwrap_err();
            assert!(error.detail().contains("c.toml cannot be read: it is too large"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_write_is_not_read() {
        use std::os::unix::fs::PermissionsExt;
        let desk = Desk::new();
        let file = desk.file("c.toml", "helper = '/evil'");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o646)).unwrap();
        let error = Config::from_file(&file).unwrap_err();
        assert!(error.detail().contains("can be changed by other users"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_no_configuration() {
        let desk = Desk::new();
        let pipe = desk.folder.path().join("c.toml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let problem = desk.with("TICKETAPI_CONFIG", pipe).problem();
        assert_eq!(problem, "/c.toml cannot be read: it is not a regular file");
    }

    #[test]
    fn a_named_file_that_is_not_there_is_an_error() {
        let problem = Desk::new().with("TICKETAPI_CONFIG", "/nowhere/c.toml").problem();
        assert!(problem.starts_with("/nowhere/c.toml cannot be read: "), "{problem}");
    }

    #[test]
    fn a_bad_variable_is_told_by_its_name() {
        let problem = Desk::new().with("TICKETAPI_CARD_AFTER_LOGIN", "eject").problem();
        assert_eq!(problem, "TICKETAPI_CARD_AFTER_LOGIN: \"eject\" is not one of reset, leave");
    }

    #[test]
    fn paths_in_the_file_start_from_its_folder() {
        let desk = Desk::new();
        let file = desk.file("conf/c.toml", "ca_file = 'ca.pem'\npinentry = 'pinentry-tty'");
        let config = Config::from_file(&file).unwrap();
        assert_eq!(config.ca_file.unwrap(), desk.folder.path().join("conf/ca.pem"));
        assert_eq!(config.pinentry.unwrap(), Path::new("pinentry-tty"));
    }

    #[test]
    fn a_list_may_be_written_as_one() {
        let desk = Desk::new();
        let file = desk.file("c.toml", "certificate_issuers = ['NHS Level 1D', 'NHS Authentication G2']");
        let expected = ["NHS Level 1D", "NHS Authentication G2"];
        assert_eq!(Config::from_file(&file).unwrap().certificate_issuers, expected);
        let mut config = Config::default();
        config.set("certificate_issuers", "NHS Level 1D; NHS Authentication G2").unwrap();
        assert_eq!(config.certificate_issuers, expected);
    }
}
