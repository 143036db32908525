use super::*;

#[test]
fn the_settings_page_names_every_key_and_its_variable_in_this_order() {
    let page = include_str!("../../docs/settings.md");
    let mut before = 0;
    for key in Config::keys() {
        let row = format!("| `{key}` | `TICKETAPI_{}` |", key.to_uppercase());
        let place = page.find(&row).unwrap_or_else(|| panic!("docs/settings.md has no row {row}"));
        assert!(place > before, "{key}");
        before = place;
    }
}

/// A value for each key that is not its default, and how it shows in the settings.
const VALUES: [(&str, &str, &str); 68] = [
    ("service", "cis2", "service: Cis2"),
    ("environment", "dep", "environment: Dep"),
    ("base_url", "https://gas.example", "gas.example"),
    ("allow_http", "true", "allow_http: true"),
    ("ca_file", "/ca", "ca_file: Some(\"/ca\")"),
    ("proxy", "none", "proxy: None"),
    ("connect_timeout", "61", "connect_timeout: 61s"),
    ("request_timeout", "61", "request_timeout: 61s"),
    #[cfg(unix)]
    ("pkcs11_module", "/m", "pkcs11_module: Some(\"/m\")"),
    #[cfg(windows)]
    ("pkcs11_module", "C:/m", "pkcs11_module: Some(\"C:/m\")"),
    ("helper", "/h", "helper: Some(\"/h\")"),
    ("card_after_login", "leave", "card_after_login: Leave"),
    ("card_timeout", "61", "card_timeout: 61s"),
    ("card_wait", "61", "card_wait: 61s"),
    ("token_label", "x", "token_label: Some(\"x\")"),
    ("token_serial", "x", "token_serial: Some(\"x\")"),
    ("certificate_issuers", " A ;;B c;", "certificate_issuers: [\"A\", \"B c\"]"),
    ("signing_issuers", "A;B c", "signing_issuers: [\"A\", \"B c\"]"),
    ("software_card", "/s", "software_card: Some(\"/s\")"),
    ("prompter", "none", "prompter: None"),
    ("pinentry", "x", "pinentry: Some(\"x\")"),
    ("prompt_timeout", "61", "prompt_timeout: 61s"),
    ("role", "x", "role: Some(\"x\")"),
    ("role_command", "fzf -m \"a b\"", "role_command: [\"fzf\", \"-m\", \"a b\"]"),
    ("require_role", "false", "require_role: false"),
    ("check_session", "61", "check_session: 3660s"),
    ("digest", "sha256", "digest: Sha256"),
    ("agent", "never", "agent: Never"),
    #[cfg(unix)]
    ("agent_socket", "/a", "agent_socket: Some(\"/a\")"),
    #[cfg(windows)]
    ("agent_socket", "C:/a", "agent_socket: Some(\"C:/a\")"),
    ("offer_login", "true", "offer_login: true"),
    ("mode", "mobility", "mode: Mobility"),
    ("lock_timeout", "61", "lock_timeout: 3660s"),
    ("reauthentication", "61", "reauthentication: 3660s"),
    ("issuer", "https://id.example:443/realms/a", "issuer: Some(\"https://id.example:443/realms/a\")"),
    ("client_id", "x", "client_id: Some(\"x\")"),
    ("client_auth", "back_end", "client_auth: BackEnd"),
    ("client_secret_file", "/s", "client_secret_file: Some(\"/s\")"),
    ("client_key_file", "/k", "client_key_file: Some(\"/k\")"),
    ("client_key_id", "x", "client_key_id: Some(\"x\")"),
    ("client_key_algorithm", "PS256", "client_key_algorithm: Ps256"),
    ("exchange_url", "https://back.example/x?y", "exchange_url: Some(\"https://back.example/x?y\")"),
    ("redirect_uri", "http://localhost:8123/a", "port: Some(8123), path: \"/a\""),
    ("scope", "openid x", "scope: Some(\"openid x\")"),
    ("acr_values", "AAL3_ANY", "acr_values: Some(\"AAL3_ANY\")"),
    ("role_selection", "service", "role_selection: Service"),
    ("ticket", "access_token", "ticket: Some(AccessToken)"),
    ("browser", "none", "browser: None"),
    ("login_timeout", "61", "login_timeout: 61s"),
    ("idle_timeout", "61", "idle_timeout: 3660s"),
    ("max_session", "61", "max_session: 3660s"),
    ("bind_card", "false", "bind_card: false"),
    ("organization_id", "x", "organization_id: Some(\"x\")"),
    ("care_team_id", "x", "care_team_id: Some(\"x\")"),
    ("patient_id", "x", "patient_id: Some(\"x\")"),
    ("episode_of_care_id", "x", "episode_of_care_id: Some(\"x\")"),
    ("nuts_node", "http://127.0.0.1:8081", "nuts_node: Some(\"http://127.0.0.1:8081\")"),
    ("nuts_token_key", "/k", "nuts_token_key: Some(\"/k\")"),
    ("nuts_token_user", "x", "nuts_token_user: Some(\"x\")"),
    ("nuts_token_audience", "x", "nuts_token_audience: Some(\"x\")"),
    ("nuts_api", "v2", "nuts_api: V2"),
    ("nuts_subject", "clinic-1", "nuts_subject: Some(\"clinic-1\")"),
    ("employer", "did:web:clinic.example%3A8443:a", "employer: Some(\"did:web:clinic.example%3A8443:a\")"),
    ("employee_identifier", "x", "employee_identifier: Some(\"x\")"),
    ("employee_initials", "x", "employee_initials: Some(\"x\")"),
    ("employee_family_name", "x", "employee_family_name: Some(\"x\")"),
    ("employee_role", "x", "employee_role: Some(\"x\")"),
    ("contract", "BehandelaarLogin", "contract: \"BehandelaarLogin\""),
    ("contract_language", "NL", "contract_language: \"NL\""),
    ("contract_version", "v1", "contract_version: \"v1\""),
];

#[test]
fn every_setting_is_kept() {
    assert!(Config::keys().eq(VALUES.map(|(key, ..)| key)));
    for (key, value, shown) in VALUES {
        let mut config = Config::default();
        assert!(!format!("{config:?}").contains(shown), "{key}");
        config.set(key, value).unwrap();
        assert!(format!("{config:?}").contains(shown), "{key}: {config:?}");
    }
}

#[test]
fn a_time_is_a_day_at_most_and_none_only_where_that_means_something() {
    for (key, least, most) in [
        ("connect_timeout", 1, 86_400),
        ("request_timeout", 1, 86_400),
        ("card_timeout", 1, 86_400),
        ("card_wait", 0, 86_400),
        ("prompt_timeout", 0, 86_400),
        ("check_session", 0, 1_440),
        ("lock_timeout", 1, 1_440),
        ("login_timeout", 1, 86_400),
        ("idle_timeout", 1, 1_440),
        ("max_session", 1, 1_440),
        ("reauthentication", 1, 1_440),
    ] {
        let set = |number: i32| Config::default().set(key, &number.to_string());
        assert!(set(least).is_ok() && set(most).is_ok(), "{key}");
        assert!(set(least - 1).is_err() && set(most + 1).is_err(), "{key}");
    }
}

#[test]
fn an_employer_is_a_did() {
    for value in [
        "",
        "acme",
        "did:",
        "did:nuts",
        "did:nuts:",
        "did:n!:x",
        "did:nuts:a b",
        "did:nuts:a/b",
        "DID:nuts:x",
        "did:nuts:\u{202e}",
    ] {
        let error = Config::default().set("employer", value).expect_err(value);
        assert!(error.detail().contains("is not a DID"), "{error}");
    }
}

#[test]
fn an_issuer_is_an_address_and_stays_as_it_is_written() {
    for issuer in ["https://id.example:443/a", "https://ID.example/a/", "http://localhost", "https://[::1]:1/a"] {
        let mut config = Config::default();
        config.set("issuer", issuer).unwrap();
        assert_eq!(config.issuer.as_deref(), Some(issuer));
    }
    for issuer in [
        "",
        "id.example",
        "http://id.example",
        "ftp://id.example",
        "https://",
        "https://:443/",
        "https://id.example:/",
        "https://u@id.example",
        "https://id.example/a?b",
        "https://id.example/#a",
        "https://id example",
        "https://id.example/\u{e4}",
    ] {
        let error = Config::default().set("issuer", issuer).expect_err(issuer);
        assert!(error.detail().starts_with(&format!("issuer: {issuer:?}: it ")), "{error}");
    }
}
