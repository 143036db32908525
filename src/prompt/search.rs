//! Searches roles by words. Pure.

/// Lines prepared once for many searches.
pub struct Search(Vec<String>);

impl Search {
    /// Prepares `lines`.
    pub fn new<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        Self(lines.into_iter().map(str::to_lowercase).collect())
    }

    /// Returns the lines, in order, that contain every word of `words`, in any case.
    pub fn find(&self, words: &str) -> Vec<usize> {
        let words = words.to_lowercase();
        let words: Vec<_> = words.split_whitespace().collect();
        let fits = |line: &String| words.iter().all(|word| line.contains(word));
        self.0.iter().enumerate().filter(|(_, line)| fits(line)).map(|(index, _)| index).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(lines: &[String], words: &str) -> Vec<usize> {
        Search::new(lines.iter().map(String::as_str)).find(words)
    }

    #[test]
    fn each_word_may_be_in_another_part_of_the_line() {
        let lines = ["ST CLEMENT'S (D82105): Nurse", "ST JAMES (RX1): Nurse", "ST CLEMENT'S (D82105): Porter"];
        let lines = lines.map(str::to_owned);
        assert_eq!(find(&lines, "nurse d821"), [0]);
        assert_eq!(find(&lines, "  St  nur "), [0, 1]);
        assert!(find(&lines, "doctor").is_empty());
    }

    proptest! {
        #[test]
        fn what_is_found_holds_each_word_and_what_is_not_lacks_one(
            lines in prop::collection::vec("[A-Za-zÄäß]{1,3}( [A-Za-zÄäß]{1,3}){0,3}", 0..20),
            words in "[A-Za-zÄäß]{0,2}( [A-Za-zÄäß]{0,2}){0,2}",
        ) {
            let found = find(&lines, &words);
            prop_assert!(found.is_sorted_by(|a, b| a < b));
            for (index, line) in lines.iter().enumerate() {
                let holds = words.split_whitespace().all(|word| line.to_lowercase().contains(&word.to_lowercase()));
                prop_assert_eq!(found.contains(&index), holds, "{:?}", line);
            }
        }

        #[test]
        fn no_words_find_everything(lines in prop::collection::vec(".{0,8}", 0..20), blank in " {0,3}") {
            prop_assert_eq!(find(&lines, &blank), (0..lines.len()).collect::<Vec<_>>());
        }

        #[test]
        fn a_line_is_found_by_its_own_words(lines in prop::collection::vec("[a-zA-ZÄ ]{1,12}", 1..20)) {
            for (index, line) in lines.iter().enumerate() {
                prop_assert!(find(&lines, &line.to_uppercase()).contains(&index));
            }
        }
    }
}
