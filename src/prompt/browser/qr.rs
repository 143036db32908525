//! An address as a QR code for a terminal.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// Returns the QR code of `text`; `None` if it has more than `columns` columns, or the locale has no characters
/// for it.
pub(super) fn code(text: &str, columns: usize) -> Option<String> {
    if !has_blocks() {
        return None;
    }
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let image = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    let width = image.lines().next()?.chars().count();
    // The characters are the light parts: black on white, whatever the terminal's colours are.
    let line = |line: &str| format!("\x1b[97;40m{line}\x1b[0m\n");
    (width <= columns).then(|| image.lines().map(line).collect())
}

/// Returns `true` if the locale is UTF-8, or unknown: today's terminals have the characters.
fn has_blocks() -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let locale = names.into_iter().filter_map(std::env::var_os).find(|value| !value.is_empty());
    locale.is_none_or(|name| {
        let name = name.to_string_lossy().to_lowercase();
        name.contains("utf-8") || name.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_shown_where_it_fits() {
        let address = "https://id.example/authorize?".to_owned() + &"a=b&".repeat(60);
        let shown = code(&address, 120).unwrap();
        let width = shown.lines().next().unwrap().chars().filter(|character| " ▀▄█".contains(*character)).count();
        assert!(width > 60 && code(&address, width - 1).is_none() && code(&address, width).is_some());
        assert!(shown.lines().all(|line| line.starts_with("\x1b[97;40m") && line.ends_with("\x1b[0m")));
        assert!(code(&"a".repeat(5000), 1000).is_none());
    }
}
