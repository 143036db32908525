//! Settings of features that this build does not have.

#![cfg(not(all(feature = "nuts", feature = "oidc", feature = "software-card", feature = "terminal")))]

use crate::{Config, Engine, ErrorKind};

/// Builds an engine with `settings`. Returns the error's text.
#[cfg(not(all(feature = "nuts", feature = "oidc", feature = "software-card")))]
fn refused(settings: &[(&str, &str)]) -> String {
    let mut config = Config::default();
    settings.iter().for_each(|(key, value)| config.set(key, value).unwrap());
    let error = Engine::builder(config).build().err().expect("the feature is missing");
    assert_eq!(*error.kind(), ErrorKind::Configuration);
    error.to_string()
}

#[cfg(not(feature = "oidc"))]
#[test]
fn openid_providers_are_refused_without_the_feature() {
    for service in ["cis2", "ehealth_dk", "oidc"] {
        let error = refused(&[("service", service)]);
        assert!(
            error.contains(&format!("service is {service}, but this program was built without logins there")),
            "{error}"
        );
    }
}

#[cfg(not(feature = "nuts"))]
#[test]
fn nuts_nodes_are_refused_without_the_feature() {
    let error = refused(&[("service", "nuts")]);
    assert!(error.contains("service is nuts, but this program was built without logins there"), "{error}");
}

#[cfg(not(feature = "software-card"))]
#[test]
fn software_cards_are_refused_without_the_feature() {
    let error = refused(&[("environment", "int"), ("software_card", "/etc/card.p12")]);
    assert!(error.contains("software_card is set, but this program was built without software cards"), "{error}");
}

#[cfg(not(feature = "terminal"))]
#[test]
fn the_terminal_is_refused_without_the_feature() {
    use crate::cancel::CancelToken;
    use crate::prompt::{Prompter, SystemPrompter};

    let mut config = Config::default();
    config.set("prompter", "terminal").unwrap();
    let error = SystemPrompter::new(&config).role(&[], &CancelToken::new()).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoPrompter);
    assert!(error.to_string().contains("this program was built without prompts on the terminal"), "{error}");
}
