//! Makes texts from cards, certificates and servers fit for a terminal, a window or a log. Each is cleaned once,
//! where it is parsed.

use serde::{Deserialize, Deserializer};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// The longest name, in characters.
pub(crate) const LONGEST_NAME: usize = 256;

/// The longest sentence, in characters. It may contain several names.
const LONGEST_SENTENCE: usize = 4096;

/// Returns `true` for characters that control a terminal or hide in a text: control and format characters, and
/// separators of lines and paragraphs.
pub fn is_unfit(character: char) -> bool {
    is_break(character) || is_format(character)
}

fn is_break(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

fn is_format(character: char) -> bool {
    !character.is_ascii() && character.general_category() == GeneralCategory::Format
}

/// Puts `text` on one line of at most `limit` characters and an ellipsis. Format characters are removed, other
/// unfit ones become blanks.
pub(crate) fn clean(text: &str, limit: usize) -> String {
    if text.len() <= limit && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut fit = text.chars().filter(|c| !is_format(*c)).map(|c| if is_break(c) { ' ' } else { c });
    let mut cleaned: String = fit.by_ref().take(limit).collect();
    if fit.next().is_some() {
        cleaned.push('…');
    }
    cleaned
}

/// Cleans the name of a card, a reader, a person or an organisation.
pub(crate) fn name(text: &str) -> String {
    clean(text.trim_matches(|c: char| c.is_whitespace() || is_unfit(c)), LONGEST_NAME)
}

/// Deserializes a name that another process sends.
pub(crate) fn read_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(name(&String::deserialize(deserializer)?))
}

/// Deserializes a sentence that another process sends, which may contain names from a card.
pub(crate) fn read_sentence<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(clean(&String::deserialize(deserializer)?, LONGEST_SENTENCE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn characters_that_control_a_terminal_or_hide_are_removed() {
        for (text, cleaned) in [
            ("NHS\x1b[2J card", "NHS [2J card"),
            ("a\u{9b}2Jb\u{85}c\x7fd", "a 2Jb c d"),
            ("one\r\ntwo\u{2028}three\u{2029}four", "one  two three four"),
            ("\u{202e}drac\u{2066} a\u{ad}b\u{feff}c\u{200b}\u{e0041}", "drac abc"),
            ("Ysbyty Môn 病院 ½ 'é'", "Ysbyty Môn 病院 ½ 'é'"),
        ] {
            assert_eq!(clean(text, 50), cleaned);
        }
        assert_eq!(name("\0 NHS card\0\0\u{200b} "), "NHS card");
    }

    #[test]
    fn a_name_that_is_too_long_ends_with_an_ellipsis() {
        for letter in ["x", "ö", "\u{200b}ö"] {
            assert_eq!(clean(&letter.repeat(8), 8).chars().count(), 8);
            let cut = clean(&letter.repeat(9), 8);
            assert_eq!((cut.chars().count(), cut.ends_with('…')), (9, true), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn a_cleaned_text_holds_nothing_unfit_and_is_not_changed_again(text in any::<String>(), limit in 1_usize..40) {
            let cleaned = clean(&text, limit);
            prop_assert!(!cleaned.contains(is_unfit));
            prop_assert_eq!(clean(&cleaned, limit + 1), cleaned);
        }
    }
}
