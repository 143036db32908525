//! Settings from Windows' registry. Reading it and applying what was read are separate, so that the rules are tested
//! on every system.

use std::path::Path;

use super::Config;
use super::layers::{Origin, Setting, Sources, invalid};
use crate::error::Result;

/// What a value of the registry contains.
#[cfg_attr(not(windows), allow(dead_code, reason = "only Windows has a registry"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `REG_SZ`.
    Text(String),
    /// `REG_DWORD`.
    Number(u32),
    /// `REG_MULTI_SZ`.
    List(Vec<String>),
    /// A type that no setting has, by its number.
    Other(u32),
}

/// Whose values a key of the registry has.
#[cfg_attr(not(windows), allow(dead_code, reason = "only Windows has a registry"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// The Identity Agent's own, below everything else.
    IdentityAgent,
    /// Above the file, below the environment.
    Settings,
    /// Group Policy: above everything else.
    Policy,
}

/// A key of the registry and its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hive {
    pub layer: Layer,
    pub place: String,
    pub values: Vec<(String, Value)>,
}

/// Reads every key that may have settings, those that win last.
#[cfg(windows)]
pub(super) fn read() -> Result<Vec<Hive>> {
    use ticketapi_platform::registry::{Data, Root, values};

    const AGENT: &str = r"SOFTWARE\HSCIC\Identity Agent";
    const SETTINGS: &str = r"SOFTWARE\ticketapi";
    const POLICIES: &str = r"SOFTWARE\Policies\ticketapi";
    let keys = [
        (Layer::IdentityAgent, Root::User, AGENT),
        (Layer::IdentityAgent, Root::Machine, AGENT),
        (Layer::IdentityAgent, Root::Machine, r"SOFTWARE\Policies\HSCIC\Identity Agent"),
        (Layer::Settings, Root::Machine, SETTINGS),
        (Layer::Settings, Root::User, SETTINGS),
        (Layer::Policy, Root::User, POLICIES),
        (Layer::Policy, Root::Machine, POLICIES),
    ];
    let mut hives = Vec::new();
    for (layer, root, key) in keys {
        let place = format!("{}\\{key}", if root == Root::Machine { "HKLM" } else { "HKCU" });
        let values = values(root, key)
            .map_err(|error| invalid(format!("the registry's {place} cannot be read: {error}")).because(error))?;
        let values = values.into_iter().map(|(name, data)| {
            let value = match data {
                Data::Text(text) => Value::Text(text),
                Data::Number(number) => Value::Number(number),
                Data::List(items) => Value::List(items),
                Data::Other(kind) => Value::Other(kind),
            };
            (name, value)
        });
        let values: Vec<_> = values.collect();
        if !values.is_empty() {
            hives.push(Hive { layer, place, values });
        }
    }
    Ok(hives)
}

/// What a setting's values are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    YesNo,
    List,
}

impl Kind {
    /// The kind of `key`, by what its check accepts: the table of settings has one truth, its checks.
    pub fn of(key: &str) -> Self {
        let accepts = |value| Config::default().apply(key, value, Path::new("")).is_ok();
        match () {
            () if accepts("") => Self::List,
            () if accepts("true") && !accepts("some") => Self::YesNo,
            () if accepts("60") && !accepts("some") => Self::Number,
            () => Self::Text,
        }
    }

    fn types(self) -> &'static str {
        match self {
            Self::Text => "REG_SZ",
            Self::Number => "REG_DWORD or REG_SZ",
            Self::YesNo => "REG_DWORD (0 or 1) or REG_SZ (false or true)",
            Self::List => "REG_MULTI_SZ or REG_SZ",
        }
    }
}

impl Value {
    fn type_name(&self) -> String {
        const NAMES: [&str; 12] = [
            "REG_NONE",
            "REG_SZ",
            "REG_EXPAND_SZ",
            "REG_BINARY",
            "REG_DWORD of another size",
            "REG_DWORD_BIG_ENDIAN",
            "REG_LINK",
            "REG_MULTI_SZ",
            "REG_RESOURCE_LIST",
            "REG_FULL_RESOURCE_DESCRIPTOR",
            "REG_RESOURCE_REQUIREMENTS_LIST",
            "REG_QWORD",
        ];
        match self {
            Self::Text(_) => "REG_SZ".into(),
            Self::Number(_) => "REG_DWORD".into(),
            Self::List(_) => "REG_MULTI_SZ".into(),
            Self::Other(number) => {
                NAMES.get(*number as usize).map_or_else(|| format!("type {number}"), |&name| name.to_owned())
            }
        }
    }

    /// The value as the text that the environment would have.
    fn text(&self, kind: Kind) -> std::result::Result<String, String> {
        match (self, kind) {
            (Self::Text(text), _) => Ok(text.clone()),
            (Self::Number(number), Kind::Number) => Ok(number.to_string()),
            (Self::Number(number @ 0..=1), Kind::YesNo) => Ok((*number == 1).to_string()),
            (Self::Number(number), Kind::YesNo) => Err(format!("the REG_DWORD {number} is not one of 0, 1")),
            (Self::List(items), Kind::List) if items.iter().all(|item| !item.contains(';')) => Ok(items.join(";")),
            (Self::List(_), Kind::List) => Err("a list of texts without ';' is expected here".into()),
            _ => Err(format!("a {} is not expected here: write it as {}", self.type_name(), kind.types())),
        }
    }
}

impl Config {
    /// Applies the keys of one layer, in their order. Relative paths start from `folder`.
    pub(super) fn apply_hives(
        &mut self,
        hives: &[Hive],
        layer: Layer,
        folder: &Path,
        sources: &mut Sources,
    ) -> Result<()> {
        for hive in hives.iter().filter(|hive| hive.layer == layer) {
            for (name, value) in &hive.values {
                let applied = if layer == Layer::IdentityAgent {
                    self.apply_identity_agent(name, value, hive, sources)
                } else {
                    self.apply_value(name, value, hive, folder, sources)
                };
                applied.map_err(|problem| invalid(format!("{}: {name}: {problem}", hive.place)))?;
            }
        }
        Ok(())
    }

    fn apply_value(
        &mut self,
        name: &str,
        value: &Value,
        hive: &Hive,
        folder: &Path,
        sources: &mut Sources,
    ) -> std::result::Result<(), String> {
        let key = Self::keys().find(|key| key.eq_ignore_ascii_case(name)).ok_or("there is no such setting")?;
        let text = value.text(Kind::of(key))?;
        // As an empty variable.
        if text.is_empty() {
            return Ok(());
        }
        self.apply(key, &text, folder)?;
        let policy = hive.layer == Layer::Policy;
        if policy {
            self.policies.push(key);
        }
        let origin = Origin::Registry { place: hive.place.clone(), policy };
        sources.settings.push(Setting { key: key.to_owned(), origin });
        Ok(())
    }

    /// Applies those of the Identity Agent's values that mean something here.
    fn apply_identity_agent(
        &mut self,
        name: &str,
        value: &Value,
        hive: &Hive,
        sources: &mut Sources,
    ) -> std::result::Result<(), String> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let (key, text) = if is("ActivatePOSTURL") {
            ("base_url", origin(&value.text(Kind::Text)?))
        } else if is("TrustedCertificateIssuers") {
            ("certificate_issuers", common_names(&value.text(Kind::Text)?))
        } else {
            if is("UseCardReaderPolling") || is("EnablePinPad") {
                sources.ignored.push(format!("{}\\{name}", hive.place));
            }
            return Ok(());
        };
        if text.is_empty() {
            return Ok(());
        }
        self.apply(key, &text, Path::new(""))?;
        self.broker_of_identity_agent |= key == "base_url";
        let origin = Origin::IdentityAgent { place: hive.place.clone(), name: name.to_owned() };
        sources.settings.push(Setting { key: key.to_owned(), origin });
        Ok(())
    }
}

/// The part of an address before its path: the Identity Agent's are those of a page of the broker.
fn origin(address: &str) -> String {
    let host = address.find("://").map_or(0, |at| at + 3);
    let end = address[host..].find(['/', '?', '#']).map_or(address.len(), |at| host + at);
    address[..end].trim().to_owned()
}

/// The common names in `CN=A, OU=CA, O=nhs;CN=B, O=nhs`. A name without parts is one itself.
fn common_names(issuers: &str) -> String {
    let name = |issuer: &str| {
        let part = issuer.split(',').map(str::trim).find_map(|part| {
            let (kind, value) = part.split_once('=')?;
            kind.trim().eq_ignore_ascii_case("CN").then(|| value.trim().to_owned())
        });
        part.unwrap_or_else(|| issuer.trim().to_owned())
    };
    issuers.split(';').map(name).filter(|name| !name.is_empty()).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn hive(layer: Layer, place: &str, values: &[(&str, Value)]) -> Hive {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Hive { layer, place: place.into(), values }
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn load(hives: &[Hive], variables: &[(&str, &str)]) -> Result<(Config, Sources)> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
        Config::load_from(&variable, None, hives)
    }

    fn problem(name: &str, value: Value) -> String {
        let error = load(&[hive(Layer::Settings, "HKLM\\x", &[(name, value)])], &[]).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Configuration);
        error.detail().to_owned()
    }

    #[test]
    fn each_type_of_value_is_read_for_the_settings_that_have_it() {
        let values = [
            ("ROLE", text("555")),
            ("card_wait", Value::Number(7)),
            ("card_timeout", text("8")),
            ("require_role", Value::Number(0)),
            ("offer_login", text("true")),
            ("certificate_issuers", Value::List(vec!["A".into(), "B c".into()])),
            ("signing_issuers", text("D;E")),
            ("proxy", text("")),
        ];
        let (config, _) = load(&[hive(Layer::Settings, "HKLM", &values)], &[]).unwrap();
        let mut expected = Config::default();
        for (key, value) in [
            ("role", "555"),
            ("card_wait", "7"),
            ("card_timeout", "8"),
            ("require_role", "false"),
            ("offer_login", "true"),
            ("certificate_issuers", "A;B c"),
            ("signing_issuers", "D;E"),
        ] {
            expected.set(key, value).unwrap();
        }
        assert_eq!(config, expected);
    }

    #[test]
    fn a_value_of_the_wrong_type_is_reported_with_place_key_and_types() {
        for (name, value, expected) in [
            ("role", Value::Number(5), "role: a REG_DWORD is not expected here: write it as REG_SZ"),
            ("role", Value::Other(3), "role: a REG_BINARY is not expected here: write it as REG_SZ"),
            (
                "card_wait",
                Value::Other(11),
                "card_wait: a REG_QWORD is not expected here: write it as REG_DWORD or REG_SZ",
            ),
            ("card_wait", Value::Number(99_999), "card_wait: \"99999\" is not a number of seconds from 0 to 86400"),
            (
                "environment",
                Value::List(vec!["int".into()]),
                "environment: a REG_MULTI_SZ is not expected here: write it as REG_SZ",
            ),
            ("require_role", Value::Number(2), "require_role: the REG_DWORD 2 is not one of 0, 1"),
            ("require_role", text("yes"), "require_role: \"yes\" is not one of true, false"),
            (
                "require_role",
                Value::Other(77),
                "require_role: a type 77 is not expected here: write it as REG_DWORD (0 or 1) or REG_SZ (false or true)",
            ),
            (
                "certificate_issuers",
                Value::List(vec!["a;b".into()]),
                "certificate_issuers: a list of texts without ';' is expected here",
            ),
            ("rolle", text("1"), "rolle: there is no such setting"),
        ] {
            assert_eq!(problem(name, value), format!("HKLM\\x: {expected}"));
        }
    }

    #[test]
    fn the_user_is_above_the_computer_the_environment_above_both_and_a_policy_above_all() {
        let machine = hive(Layer::Settings, "HKLM", &[("role", text("1"))]);
        let user = hive(Layer::Settings, "HKCU", &[("role", text("2"))]);
        let user_policy = hive(Layer::Policy, "HKCU\\P", &[("role", text("3"))]);
        let policy = hive(Layer::Policy, "HKLM\\P", &[("role", text("4"))]);
        let hives = [machine, user, user_policy, policy];
        let role = |count: usize, variables: &[(&str, &str)]| load(&hives[..count], variables).unwrap().0.role.unwrap();
        let variable = [("TICKETAPI_ROLE", "9")];
        assert_eq!(role(1, &[]), "1");
        assert_eq!(role(2, &[]), "2");
        assert_eq!(role(2, &variable), "9");
        assert_eq!(role(3, &variable), "3");
        assert_eq!(role(4, &variable), "4");
    }

    #[test]
    fn a_program_cannot_change_what_a_policy_sets_and_still_hears_of_bad_values() {
        let (mut config, _) = load(&[hive(Layer::Policy, "HKLM", &[("digest", text("sha256"))])], &[]).unwrap();
        config.set("digest", "sha1").unwrap();
        assert_eq!(config.digest, crate::card::Digest::Sha256);
        config.set("digest", "md5").unwrap_err();
        config.set("role", "7").unwrap();
        assert_eq!(config.role.unwrap(), "7");
    }

    const AGENT: &str = "HKLM\\SOFTWARE\\HSCIC\\Identity Agent";

    fn agents() -> Hive {
        let issuers = "CN=NHS Level 1D, OU=CA, O=nhs;CN=NHS Authentication G2, OU=CA, O=nhs, C=GB";
        let values = [
            ("ActivatePostURL", text("https://gas.example:8443/login/authactivate")),
            ("TrustedCertificateIssuers", text(issuers)),
            ("UseCardReaderPolling", text("true")),
            ("EnablePinPad", Value::Number(1)),
            ("LogoutUrl", Value::Other(3)),
        ];
        hive(Layer::IdentityAgent, AGENT, &values)
    }

    #[test]
    fn the_identity_agents_values_are_used_where_ours_are_not_set() {
        let (config, sources) = load(&[agents()], &[]).unwrap();
        assert_eq!(config.broker().unwrap().to_string(), "gas.example:8443");
        assert_eq!(config.certificate_issuers, ["NHS Level 1D", "NHS Authentication G2"]);
        assert_eq!(sources.ignored, ["UseCardReaderPolling", "EnablePinPad"].map(|name| format!("{AGENT}\\{name}")));
        let variables = [("TICKETAPI_BASE_URL", "https://ours.example"), ("TICKETAPI_CERTIFICATE_ISSUERS", "X")];
        let (config, _) = load(&[agents()], &variables).unwrap();
        assert_eq!(config.broker().unwrap().to_string(), "ours.example:443");
        assert_eq!(config.certificate_issuers, ["X"]);
    }

    #[test]
    fn an_environment_of_ours_replaces_the_identity_agents_address_and_not_our_own() {
        let (config, _) = load(&[agents()], &[("TICKETAPI_ENVIRONMENT", "int")]).unwrap();
        assert_eq!(config.broker().unwrap().to_string(), "gas.nis1.national.ncrs.nhs.uk:443");
        let (mut config, _) = load(&[agents()], &[]).unwrap();
        config.set("environment", "dep").unwrap();
        assert_eq!(config.broker().unwrap().to_string(), "gas.vn1.national.ncrs.nhs.uk:443");
        let (mut config, _) = load(&[agents()], &[("TICKETAPI_BASE_URL", "https://ours.example")]).unwrap();
        config.set("environment", "dep").unwrap();
        assert_eq!(config.broker().unwrap().to_string(), "ours.example:443");
    }

    #[test]
    fn a_bad_value_of_the_identity_agent_is_reported_by_its_name() {
        let bad = hive(Layer::IdentityAgent, AGENT, &[("ActivatePOSTURL", Value::Number(1))]);
        let expected = format!("{AGENT}: ActivatePOSTURL: a REG_DWORD is not expected here: write it as REG_SZ");
        assert_eq!(load(&[bad], &[]).unwrap_err().detail(), expected);
        let bad = hive(Layer::IdentityAgent, AGENT, &[("ActivatePOSTURL", text("gas example/login"))]);
        assert!(load(&[bad], &[]).unwrap_err().detail().starts_with(&format!("{AGENT}: ActivatePOSTURL: ")));
    }

    #[test]
    fn the_sources_name_the_place_of_each_value() {
        let own = hive(Layer::Settings, "HKLM\\own", &[("Role", text("1"))]);
        let policy = hive(Layer::Policy, "HKLM\\policy", &[("mode", text("mobility"))]);
        let (_, sources) = load(&[agents(), own, policy], &[("TICKETAPI_ROLE", "2")]).unwrap();
        let from_agent = |name: &str| Origin::IdentityAgent { place: AGENT.into(), name: name.into() };
        let from = |place: &str, policy| Origin::Registry { place: place.into(), policy };
        let expected = [
            ("base_url", from_agent("ActivatePostURL")),
            ("certificate_issuers", from_agent("TrustedCertificateIssuers")),
            ("role", from("HKLM\\own", false)),
            ("role", Origin::Variable("TICKETAPI_ROLE".into())),
            ("mode", from("HKLM\\policy", true)),
        ];
        assert_eq!(sources.settings, expected.map(|(key, origin)| Setting { key: key.into(), origin }));
    }

    #[test]
    fn settings_have_the_kinds_of_their_checks() {
        for (key, kind) in [
            ("service", Kind::Text),
            ("proxy", Kind::Text),
            ("card_wait", Kind::Number),
            ("max_session", Kind::Number),
            ("bind_card", Kind::YesNo),
            ("certificate_issuers", Kind::List),
            ("role_command", Kind::Text),
            ("browser", Kind::Text),
            ("nuts_subject", Kind::Text),
        ] {
            assert_eq!(Kind::of(key), kind, "{key}");
        }
    }
}
