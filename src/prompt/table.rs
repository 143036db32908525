//! Roles in columns: role, organisation, and its code. Pure.

use super::text;
use crate::session::Role;

/// The number of columns.
pub const COLUMNS: usize = 3;
/// The column headings.
pub const HEADINGS: [&str; COLUMNS] = ["Role", "Organisation", "Code"];

/// Separates columns in plain text.
const GAP: &str = "  ";

/// The roles of one question.
pub(crate) struct Table {
    cells: Vec<[String; COLUMNS]>,
    /// The longest cell of each column.
    widths: [usize; COLUMNS],
}

impl Table {
    pub(super) fn new(roles: &[Role]) -> Self {
        let cells = text::role_cells(roles);
        let longest = |column: usize| {
            let cells = cells.iter().map(|cells| cells[column].chars().count());
            cells.max().unwrap_or(0).max(HEADINGS[column].len())
        };
        let widths = [0, 1, 2].map(longest);
        Self { cells, widths }
    }

    /// Returns the cells of each role.
    pub(super) fn cells(&self) -> &[[String; COLUMNS]] {
        &self.cells
    }

    /// Returns the headings and a line for each role; cuts long cells to fit `width`.
    pub(super) fn lines(&self, width: usize) -> (String, Vec<String>) {
        let widths = self.fitting(width);
        let lines = self.cells.iter().map(|cells| line(cells.each_ref().map(String::as_str), widths));
        (line(HEADINGS, widths), lines.collect())
    }

    /// Returns column widths that fit side by side. Codes are short; the other columns share the rest.
    fn fitting(&self, width: usize) -> [usize; COLUMNS] {
        let [role, organisation, code] = self.widths;
        let room = width.saturating_sub(code + (COLUMNS - 1) * GAP.len());
        if role + organisation <= room {
            return self.widths;
        }
        // A column that needs less than half leaves the rest to the other.
        let half = room / 2;
        let role = role.min(half.max(room.saturating_sub(organisation))).max(1);
        [role, organisation.min(room.saturating_sub(role)).max(1), code]
    }
}

fn line(cells: [&str; COLUMNS], widths: [usize; COLUMNS]) -> String {
    let fitted = |(cell, width): (&str, usize)| {
        if cell.chars().count() <= width {
            return format!("{cell:width$}");
        }
        cell.chars().take(width - 1).chain(['…']).collect()
    };
    let cells = cells.into_iter().zip(widths).map(fitted).collect::<Vec<_>>();
    cells.join(GAP).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn role(name: &str, organisation: &str, code: &str) -> Role {
        Role::new("1", code, &format!("{organisation}, \"\":\"\":\"{name}\""))
    }

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let table = Table::new(&[role("Nurse", "ST CLEMENT'S", "D82105"), role("Registrar", "RKF", "")]);
        let (headings, lines) = table.lines(80);
        assert_eq!(headings, "Role       Organisation  Code");
        assert_eq!(lines, ["Nurse      ST CLEMENT'S  D82105", "Registrar  RKF"]);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_no_column_is_lost() {
        let table = Table::new(&[role(&"n".repeat(90), &"o".repeat(90), "D82105"), role("Nurse", "RKF", "X1")]);
        let lines = table.lines(40).1;
        assert_eq!(lines[0], format!("{}…  {}…  D82105", "n".repeat(14), "o".repeat(14)));
        assert_eq!(lines[1], format!("Nurse{}RKF{}X1", " ".repeat(12), " ".repeat(14)));
        // A short column leaves its room to the long one.
        let table = Table::new(&[role("Nurse", &"o".repeat(90), "X1")]);
        assert_eq!(table.lines(40).1, [format!("Nurse  {}…  X1", "o".repeat(26))]);
    }

    proptest! {
        #[test]
        fn no_line_is_longer_than_the_screen(
            texts in prop::collection::vec(("[a-zé ]{0,30}", "[A-Zé ]{0,30}", "[A-Z]{0,6}"), 1..6),
            width in 20_usize..90,
        ) {
            let roles: Vec<_> = texts.iter().map(|(name, organisation, code)| role(name, organisation, code)).collect();
            let (headings, lines) = Table::new(&roles).lines(width);
            prop_assert_eq!(lines.len(), roles.len());
            for line in lines.iter().chain([&headings]) {
                prop_assert!(line.chars().count() <= width, "{:?}", line);
            }
        }
    }
}
