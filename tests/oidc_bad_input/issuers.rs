//! CIS2's issuers have `:443`, which most software leaves out of addresses.

use std::net::SocketAddr;

use ticketapi::ErrorKind;
use ticketapi_testkit::Browser;
use ticketapi_testkit::oidc::Endpoint;
use ticketapi_testkit::spine::ServerCertificate;

use crate::person::Person;
use crate::proxy::TestProxy;
use crate::trial::{Trial, engine};

const HOST: &str = "am.cis2.test";
const WITH_PORT: &str = "https://am.cis2.test:443/openam/oauth2/realms/root";
const WITHOUT_PORT: &str = "https://am.cis2.test/openam/oauth2/realms/root";

/// A provider that spells its issuer so, found at its host through a proxy, and a program that is set to the other.
fn spelled(issuer: &'static str, setting: &str) -> (Trial, TestProxy) {
    let mut trial = Trial::with("cis2", &[], |provider| {
        provider.issuer(issuer).server_certificate(ServerCertificate::ForName(HOST.into()))
    });
    let proxy = TestProxy::to(SocketAddr::from(([127, 0, 0, 1], trial.provider().port())));
    for (key, value) in [("issuer", setting), ("proxy", &proxy.url())] {
        trial.house.config.set(key, value).unwrap();
    }
    let browser = Browser::new(trial.house.config.ca_file.as_ref().unwrap()).find_at(HOST, trial.provider().port());
    trial.person = Person::new(browser);
    trial.engine = engine(trial.house.config.clone(), &trial.person).unwrap();
    (trial, proxy)
}

#[test]
fn an_issuer_is_compared_to_the_character_with_its_port() {
    for (issuer, other) in [(WITH_PORT, WITHOUT_PORT), (WITHOUT_PORT, WITH_PORT)] {
        let (trial, _proxy) = spelled(issuer, issuer);
        let session = trial.engine.log_in().unwrap_or_else(|error| panic!("{issuer}: {error}"));
        assert_eq!(session.user().uid, "555021935107");
        trial.engine.destroy_ticket().unwrap();
        for (endpoint, name) in [
            (Endpoint::Token, format!("claim:iss={other}")),
            (Endpoint::Discovery, format!("with:issuer={other}")),
            (Endpoint::Authorize, format!("with:iss={other}")),
        ] {
            let error = trial.refuses(endpoint, &name);
            assert_eq!(*error.kind(), ErrorKind::BadAnswer, "{name}: {error}");
        }
    }
}

#[test]
fn a_setting_that_spells_the_issuer_differently_is_told() {
    let (trial, _proxy) = spelled(WITH_PORT, WITHOUT_PORT);
    let error = trial.fails("without port", || trial.engine.get_ticket().map(drop));
    assert_eq!(*error.kind(), ErrorKind::BadAnswer);
    assert!(error.to_string().contains("issuer"), "{error}");
    assert_eq!(trial.person.addresses().len(), 0);
}
