//! The list of servers that are reached without the system's proxy, as `NO_PROXY` has it.

use std::net::IpAddr;

use super::Origin;

/// Returns `true` if the list includes the server. Its parts are separated by commas or spaces: `*`, a name
/// (of a host, or of a domain with all that is in it; a leading `.` or `*.` makes no difference), an
/// address, a network such as `10.0.0.0/8`, each but `*` and networks with a port where that is to count.
pub(super) fn include(list: &str, origin: &Origin) -> bool {
    let parts = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
    let host = origin.host().trim_end_matches('.');
    let address: Option<IpAddr> = host.parse().ok();
    parts.map(str::to_ascii_lowercase).any(|part| {
        let (name, port) = name_and_port(&part);
        if port.is_some_and(|port| port != origin.port().to_string()) {
            return false;
        }
        match address {
            _ if part == "*" => true,
            Some(address) => includes_address(name, address),
            None => includes_name(name, host),
        }
    })
}

/// Separates the port. An IPv6 address has one only behind brackets.
pub(super) fn name_and_port(part: &str) -> (&str, Option<&str>) {
    if let Some((address, port)) = part.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, port.strip_prefix(':'));
    }
    match part.split_once(':') {
        Some((name, port)) if !port.contains(':') => (name, Some(port)),
        _ => (part, None),
    }
}

fn includes_name(name: &str, host: &str) -> bool {
    let name = name.strip_prefix('*').unwrap_or(name);
    let name = name.strip_prefix('.').unwrap_or(name).trim_end_matches('.');
    let before = host.strip_suffix(name).filter(|_| !name.is_empty());
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn includes_address(name: &str, address: IpAddr) -> bool {
    let Some((network, bits)) = name.split_once('/') else { return name.parse() == Ok(address) };
    let (Ok(network), Ok(bits)) = (network.parse(), bits.parse::<u32>()) else { return false };
    // The bits on the right that a network leaves open.
    let open = |size: u32| size.checked_sub(bits);
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => open(32).is_some_and(|open| {
            let differing = network.to_bits() ^ address.to_bits();
            differing.checked_shr(open).unwrap_or(0) == 0
        }),
        (IpAddr::V6(network), IpAddr::V6(address)) => open(128).is_some_and(|open| {
            let differing = network.to_bits() ^ address.to_bits();
            differing.checked_shr(open).unwrap_or(0) == 0
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn includes(list: &str, url: &str) -> bool {
        include(list, &Origin::parse(url, true).unwrap())
    }

    #[test]
    fn the_usual_forms_include_what_they_name() {
        let broker = "https://gas.nhs.example:8443";
        for list in [
            "*",
            "gas.nhs.example",
            "GAS.nhs.EXAMPLE.",
            "nhs.example",
            ".nhs.example",
            "*.nhs.example",
            "example",
            "other.example, gas.nhs.example",
            "other.example gas.nhs.example",
            "other.example,,gas.nhs.example",
            "nhs.example:8443",
            ".nhs.example:8443",
        ] {
            assert!(includes(list, broker), "{list}");
        }
        for list in [
            "",
            ",",
            ".",
            "*.",
            "other.example",
            "as.nhs.example",
            "gas.nhs",
            "https://gas.nhs.example",
            "gas.nhs.example:443",
            "gas.nhs.example:x",
            "10.0.0.0/8",
            "0.0.0.0/0",
        ] {
            assert!(!includes(list, broker), "{list}");
        }
        assert!(includes("gas.nhs.example:443", "https://gas.nhs.example"));
        assert!(includes("gas.nhs.example", "https://gas.nhs.example."));
    }

    #[test]
    fn addresses_are_in_their_networks() {
        for (list, url) in [
            ("10.1.2.3", "https://10.1.2.3"),
            ("10.1.2.3:8443", "https://10.1.2.3:8443"),
            ("10.0.0.0/8", "https://10.1.2.3"),
            ("10.1.2.3/32", "https://10.1.2.3"),
            ("0.0.0.0/0", "https://10.1.2.3"),
            ("fd00::/8", "https://[fd12::1]"),
            ("::/0", "https://[fd12::1]"),
            ("fd12::1", "https://[fd12::1]"),
            ("[fd12::1]", "https://[fd12::1]"),
            ("[FD12::1]:8443", "https://[fd12::1]:8443"),
        ] {
            assert!(includes(list, url), "{list} {url}");
        }
        for (list, url) in [
            ("10.1.2.30", "https://10.1.2.3"),
            ("1.2.3", "https://10.1.2.3"),
            ("10.1.2.3:1", "https://10.1.2.3"),
            ("11.0.0.0/8", "https://10.1.2.3"),
            ("10.1.2.2/32", "https://10.1.2.3"),
            ("10.0.0.0/33", "https://10.1.2.3"),
            ("10.0.0.0/x", "https://10.1.2.3"),
            ("10.0.0.0/", "https://10.1.2.3"),
            ("::/0", "https://10.1.2.3"),
            ("fd00::/8", "https://[fe80::1]"),
            ("fd00::/129", "https://[fd00::1]"),
            ("0.0.0.0/0", "https://[fd00::1]"),
            ("[fd12::1]:1", "https://[fd12::1]:8443"),
        ] {
            assert!(!includes(list, url), "{list} {url}");
        }
    }
}
