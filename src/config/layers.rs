//! Where settings come from, in order: the file, the environment, the program.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{Config, KEYS};
use crate::error::{Error, ErrorKind, Result, Stage};

const PREFIX: &str = "TICKETAPI_";

/// More than any configuration needs; a larger file is something else.
const FILE_LIMIT: u64 = 1 << 20;

impl Config {
    /// Reads the settings as every program of the desk does: from the file that `TICKETAPI_CONFIG`
    /// names, else `$XDG_CONFIG_HOME/ticketapi/config.toml`, else `/etc/ticketapi/config.toml`,
    /// where there is one; then from the environment.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration), naming file, line and key.
    pub fn load() -> Result<Self> {
        Self::load_from(&|name| std::env::var_os(name), Path::new("/etc"))
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

    /// Sets `key` to `value`, both as they are in the file (a list with `;` between its parts).
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration), naming the key.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.apply(key, value, Path::new("")).map_err(|problem| invalid(format!("{key}: {problem}")))
    }

    /// Every key there is, in the order of the README.
    pub fn keys() -> impl Iterator<Item = &'static str> {
        KEYS.iter().copied()
    }

    fn load_from(variable: &dyn Fn(&str) -> Option<OsString>, system: &Path) -> Result<Self> {
        let mut config = Self::default();
        if let Some(file) = find_file(variable, system) {
            config.read_file(&file)?;
        }
        for key in KEYS {
            let name = format!("{PREFIX}{}", key.to_uppercase());
            let Some(value) = variable(&name).filter(|value| !value.is_empty()) else { continue };
            let value = value.to_str().ok_or_else(|| invalid(format!("{name}: the value is not UTF-8")))?;
            config.apply(key, value, Path::new("")).map_err(|problem| invalid(format!("{name}: {problem}")))?;
        }
        Ok(config)
    }

    fn read_file(&mut self, file: &Path) -> Result<()> {
        let shown = file.display();
        let unreadable = |error: std::io::Error| invalid(format!("{shown} cannot be read: {error}")).because(error);
        let size = fs::metadata(file).map_err(unreadable)?.len();
        if size > FILE_LIMIT {
            return Err(invalid(format!("{shown} is too large for a configuration ({size} bytes)")));
        }
        let source = fs::read_to_string(file).map_err(unreadable)?;
        let at = |offset: usize| format!("{shown}, line {}", line_of(&source, offset));
        let table = DeTable::parse(&source).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            invalid(format!("{}: {}", at(start), error.message()))
        })?;
        let folder = file.parent().unwrap_or(Path::new(""));
        for (key, value) in table.get_ref() {
            scalar(value.get_ref())
                .and_then(|value| self.apply(key.get_ref(), &value, folder))
                .map_err(|problem| invalid(format!("{}: {}: {problem}", at(key.span().start), key.get_ref())))?;
        }
        Ok(())
    }
}

fn find_file(variable: &dyn Fn(&str) -> Option<OsString>, system: &Path) -> Option<PathBuf> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(named) = path("TICKETAPI_CONFIG") {
        return Some(named);
    }
    // The XDG base directory specification has relative paths ignored.
    let user = path("XDG_CONFIG_HOME")
        .filter(|home| home.is_absolute())
        .or_else(|| path("HOME").map(|home| home.join(".config")));
    user.into_iter()
        .chain([system.to_owned()])
        .map(|folder| folder.join("ticketapi/config.toml"))
        .find(|file| file.exists())
}

/// A value of the file as the text that the environment would have.
fn scalar(value: &DeValue<'_>) -> std::result::Result<String, String> {
    Ok(match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Array(items) => {
            let items: std::result::Result<Vec<_>, _> = items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) if !text.contains(';') => Ok(text.to_string()),
                    other => Err(format!("a list of texts without ';' is expected, not a {}", other.type_str())),
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

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::Configuration, Stage::Configuration, detail)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
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
            Config::load_from(&|name| self.variables.get(name).cloned(), &self.folder.path().join("etc"))
        }

        fn problem(&self) -> String {
            let error = self.load().unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::Configuration);
            error.detail().replace(self.folder.path().to_str().unwrap(), "")
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
        desk.file("home/.config/ticketapi/config.toml", "role = '2'");
        let home = desk.folder.path().join("home");
        let desk = desk.with("HOME", home);
        assert_eq!(desk.load().unwrap().role.unwrap(), "2");
        desk.file("xdg/ticketapi/config.toml", "role = '3'");
        let xdg = desk.folder.path().join("xdg");
        let desk = desk.with("XDG_CONFIG_HOME", xdg);
        assert_eq!(desk.load().unwrap().role.unwrap(), "3");
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
    fn the_program_overrides_both() {
        let mut config = Desk::new().with("TICKETAPI_DIGEST", "sha256").load().unwrap();
        config.set("digest", "sha1").unwrap();
        assert_eq!(config.digest, crate::challenge::Digest::Sha1);
        let error = config.set("digest", "md5").unwrap_err();
        assert_eq!(error.detail(), "digest: \"md5\" is not one of sha1, sha256");
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
            ("pkcs11_module = 'libx.so'", "pkcs11_module: \"libx.so\" is not an absolute path"),
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
