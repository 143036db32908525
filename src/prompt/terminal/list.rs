//! The role list with its search: input, matches, and the screen. Pure.

use super::key::{Key, Size};
use crate::prompt::search::Search;
use crate::prompt::table::Table;
use crate::prompt::text::{self, role_line};
use crate::session::Role;

/// Lines that are not roles: heading, input, column headings, count.
const OTHER_LINES: usize = 4;

pub(super) struct RoleList {
    table: Table,
    count: usize,
    search: Search,
    typed: String,
    /// Indices of `lines`.
    found: Vec<usize>,
    /// The marked role, as a position in `found`.
    marked: usize,
    /// The first visible role, likewise.
    first: usize,
}

impl RoleList {
    pub(super) fn new(roles: &[Role]) -> Self {
        let lines: Vec<_> = roles.iter().map(role_line).collect();
        let search = Search::new(lines.iter().map(String::as_str));
        let (table, count) = (Table::new(roles), roles.len());
        Self { table, count, search, typed: String::new(), found: (0..count).collect(), marked: 0, first: 0 }
    }

    /// Returns the marked role; `None` without matches.
    pub(super) fn chosen(&self) -> Option<usize> {
        self.found.get(self.marked).copied()
    }

    /// Applies a key on a terminal of `rows` lines.
    pub(super) fn press(&mut self, key: Key, rows: usize) {
        let page = room(rows);
        let last = self.found.len().saturating_sub(1);
        match key {
            Key::Up => self.marked = self.marked.saturating_sub(1),
            Key::Down => self.marked = last.min(self.marked + 1),
            Key::PageUp => self.marked = self.marked.saturating_sub(page),
            Key::PageDown => self.marked = last.min(self.marked + page),
            Key::Home => self.marked = 0,
            Key::End => self.marked = last,
            Key::Character(character) => {
                self.typed.push(character);
                self.find();
            }
            Key::Backspace => {
                self.typed.pop();
                self.find();
            }
            Key::Clear => {
                self.typed.clear();
                self.find();
            }
            Key::Enter | Key::Cancel | Key::Other => {}
        }
    }

    /// Returns the lines for a terminal of this size.
    pub(super) fn frame(&mut self, size: Size) -> Vec<String> {
        let room = room(size.rows);
        let (headings, lines) = self.table.lines(size.columns.saturating_sub("> ".len()));
        self.first = self.first.min(self.marked).max((self.marked + 1).saturating_sub(room));
        let shown = self.found.iter().enumerate().skip(self.first).take(room);
        let mut frame = vec![
            format!("{} (arrows and Enter; Esc cancels)", text::CHOOSE_ROLE),
            format!("{}: {}", text::SEARCH_ROLES, self.typed),
            format!("  {headings}"),
        ];
        frame.extend(shown.map(|(position, &index)| {
            let mark = if position == self.marked { '>' } else { ' ' };
            format!("{mark} {}", lines[index])
        }));
        frame.push(format!("{} of {} roles", self.found.len(), self.count));
        frame
    }

    fn find(&mut self) {
        self.found = self.search.find(&self.typed);
        (self.marked, self.first) = (0, 0);
    }
}

/// Returns how many roles are visible.
fn room(rows: usize) -> usize {
    rows.saturating_sub(OTHER_LINES).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn roles(count: usize) -> Vec<Role> {
        let role = |number: usize| {
            Role::new(&number.to_string(), &format!("A{}", number % 7), &format!("ORG {number}, \"\":\"\":\"Nurse\""))
        };
        (0..count).map(role).collect()
    }

    fn any_key() -> impl Strategy<Value = Key> {
        use Key::*;
        let moves = prop::sample::select(vec![Up, Down, PageUp, PageDown, Home, End, Backspace, Clear, Other]);
        prop_oneof![moves, prop::sample::select("nurse 123aorg".chars().collect::<Vec<_>>()).prop_map(Character)]
    }

    proptest! {
        #[test]
        fn the_marked_role_is_always_shown_and_is_the_one_chosen(
            count in 1_usize..60,
            rows in 5_usize..30,
            keys in prop::collection::vec(any_key(), 0..40),
        ) {
            let roles = roles(count);
            let lines = Table::new(&roles).lines(78).1;
            let mut list = RoleList::new(&roles);
            for key in keys {
                list.press(key, rows);
                let frame = list.frame(Size { rows, columns: 80 });
                prop_assert!(frame.len() <= rows);
                let marked: Vec<_> = frame.iter().filter_map(|line| line.strip_prefix("> ")).collect();
                let chosen: Vec<_> = list.chosen().into_iter().map(|index| lines[index].as_str()).collect();
                prop_assert_eq!(marked, chosen);
                for line in &frame[3..frame.len() - 1] {
                    let shown = &line[2..];
                    prop_assert!(lines.iter().any(|line| line == shown));
                    for word in list.typed.split_whitespace() {
                        prop_assert!(shown.to_lowercase().contains(word), "{:?} lacks {:?}", shown, word);
                    }
                }
            }
        }

        #[test]
        fn moving_down_goes_through_all_that_is_found(count in 1_usize..40, rows in 5_usize..12) {
            let mut list = RoleList::new(&roles(count));
            for expected in 0..count {
                prop_assert_eq!(list.chosen(), Some(expected));
                list.press(Key::Down, rows);
            }
            prop_assert_eq!(list.chosen(), Some(count - 1));
        }
    }
}
