//! The command through a proxy, which the settings or the system's variables name.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/support/proxy.rs"]
mod proxy;
mod support;

use std::net::{Ipv4Addr, TcpListener};

use serde_json::Value;
use ticketapi_testkit::spine::ServerCertificate;

use crate::proxy::TestProxy;
use crate::support::{Desk, Run};

/// A name that only the proxy leads to.
const HOST: &str = "gas.ticketapi.invalid";

fn desk() -> (Desk, TestProxy) {
    let desk = Desk::with(|spine| spine.roles(3).server_certificate(ServerCertificate::ForName(HOST.into())));
    let proxy = TestProxy::to((Ipv4Addr::LOCALHOST, desk.spine.port()).into());
    (desk.set("base_url", &format!("https://{HOST}")), proxy)
}

/// Runs `login --json` with these variables.
fn log_in(desk: &Desk, variables: &[(&str, &str)]) -> Run {
    Run::of(desk.command(&["login", "--json"]).envs(variables.iter().copied()).output().unwrap())
}

#[test]
fn the_systems_proxy_is_used_unless_its_exceptions_name_the_server() {
    let (desk, proxy) = desk();
    for variable in ["HTTPS_PROXY", "https_proxy"] {
        assert_eq!(log_in(&desk, &[(variable, &proxy.url())]).code, 0);
    }
    let ways = proxy.asked().len();
    assert!(ways >= 2);
    for exceptions in ["*", HOST, ".ticketapi.invalid", "localhost,ticketapi.invalid:443"] {
        let run = log_in(&desk, &[("HTTPS_PROXY", &proxy.url()), ("NO_PROXY", exceptions)]);
        assert_eq!(run.code, 4);
        assert!(run.stdout.contains(&format!("the name {HOST} cannot be resolved")), "{}", run.stdout);
    }
    assert_eq!(proxy.asked().len(), ways, "an exception was asked for through the proxy");
    assert_eq!(log_in(&desk, &[("HTTPS_PROXY", &proxy.url()), ("NO_PROXY", "other.example")]).code, 0);
}

#[test]
fn a_setting_goes_before_the_systems_proxy() {
    let (desk, proxy) = desk();
    let other = TestProxy::answering("HTTP/1.1 403 No\r\n\r\n");
    let variables = [("HTTPS_PROXY", &*other.url()), ("NO_PROXY", "*"), ("TICKETAPI_PROXY", &*proxy.url())];
    assert_eq!(log_in(&desk, &variables).code, 0);
    assert_eq!(other.asked(), [""; 0]);
    let none = desk.set("proxy", "none");
    assert_eq!(log_in(&none, &[("HTTPS_PROXY", &proxy.url())]).code, 4);
}

#[test]
fn a_variable_that_names_no_proxy_is_named_and_not_quoted() {
    let (desk, _proxy) = desk();
    let run = log_in(&desk, &[("https_proxy", "socks5://u:s3cret@proxy.example:1080")]);
    assert_eq!(run.code, 5);
    assert!(run.stdout.contains("https_proxy: it must begin with http://"), "{}", run.stdout);
    let bad = desk.set("proxy", "http://u:s3cret@:x");
    let all = format!("{}{}", run.stdout, log_in(&bad, &[]).stdout);
    assert!(all.contains("proxy: it is not of the form http://host:port"), "{all}");
    assert!(!all.contains("s3cret"), "{all}");
}

fn doctor(desk: &Desk, variables: &[(&str, &str)]) -> (i32, impl Fn(&str) -> (String, String) + use<>) {
    let run = Run::of(desk.command(&["doctor", "--json"]).envs(variables.iter().copied()).output().unwrap());
    assert!(!format!("{}{}", run.stdout, run.stderr).contains("s3cret"), "{}", run.stdout);
    let answer: Value = run.json();
    let told = move |name: &str| {
        let check = answer["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap().clone();
        let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        (text("state"), text("sentence"))
    };
    (run.code, told)
}

#[test]
fn the_doctor_goes_through_the_proxy_and_says_so() {
    let (desk, proxy) = desk();
    let (with_password, shown) = (format!("http://u:s3cret@{}", proxy.address), proxy.url());
    let (code, told) = doctor(&desk, &[("HTTPS_PROXY", &with_password)]);
    let looked_up = format!("not needed: the proxy {shown} (HTTPS_PROXY) looks it up");
    assert_eq!(told("name"), ("skipped".into(), looked_up));
    let through = format!("{HOST}:443 accepts connections through the proxy {shown} (HTTPS_PROXY)");
    assert_eq!(told("connection"), ("ok".into(), through));
    assert_eq!((told("tls").0, told("clock").0, code), ("ok".into(), "ok".into(), 0));

    let refusing = TestProxy::answering("HTTP/1.1 403 No\r\n\r\n");
    let (code, told) = doctor(&desk.set("proxy", &refusing.url()), &[]);
    let sentence = format!(
        "the proxy {} (setting proxy) does not allow connections to {HOST}:443 (HTTP status 403)",
        refusing.url()
    );
    assert_eq!((told("connection"), told("tls").0, code), (("failed".into(), sentence), "skipped".into(), 4));
}

#[test]
fn the_doctor_finds_a_proxy_that_is_down() {
    let (desk, _proxy) = desk();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, told) = doctor(&desk.set("proxy", &format!("http://{closed}")), &[]);
    let sentence = format!("the proxy http://{closed} refused the connection");
    assert_eq!((told("connection"), code), (("failed".into(), sentence), 4));
}
