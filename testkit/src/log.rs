//! What the logs of the simulators have in common.

/// The value of the first pair whose name `is` accepts.
pub(crate) fn find(pairs: &[(String, String)], is: impl Fn(&str) -> bool) -> Option<&str> {
    pairs.iter().find(|pair| is(&pair.0)).map(|pair| pair.1.as_str())
}

/// Escapes control characters, which could forge lines of the log.
pub(crate) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// The length and a short hash.
pub(crate) fn shortened(secret: &str) -> String {
    let hash = openssl::sha::sha256(secret.as_bytes());
    format!("({} characters, {:02x}{:02x}{:02x}{:02x})", secret.len(), hash[0], hash[1], hash[2], hash[3])
}
