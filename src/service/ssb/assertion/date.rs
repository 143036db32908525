//! A calendar day.

use std::fmt;

/// A day, which the broker writes as `YYYYMMDD`. Shown as `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// Returns the day of this year and month, counted from 1; `None` if the Gregorian calendar does not have it.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 => 28 + u8::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        ((1..=9999).contains(&year) && (1..=days).contains(&day)).then_some(Self { year, month, day })
    }

    /// Parses eight digits.
    pub(super) fn read(text: &str) -> Option<Self> {
        if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Self::new(text[..4].parse().ok()?, text[4..6].parse().ok()?, text[6..].parse().ok()?)
    }

    /// The year, from 1 to 9999.
    pub fn year(self) -> u16 {
        self.year
    }

    /// The month, from 1 to 12.
    pub fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, from 1.
    pub fn day(self) -> u8 {
        self.day
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_of_the_calendar_are_accepted() {
        for (text, shown) in [
            ("19740401", Some("1974-04-01")),
            ("20000229", Some("2000-02-29")),
            ("20240229", Some("2024-02-29")),
            ("99991231", Some("9999-12-31")),
            ("19000229", None),
            ("20230229", None),
            ("20230431", None),
            ("20230100", None),
            ("20231301", None),
            ("20230001", None),
            ("00000101", None),
            ("2023-1-1", None),
            ("+2023011", None),
            ("202301011", None),
            ("2023010", None),
            ("2023010é", None),
            ("", None),
        ] {
            assert_eq!(Date::read(text).map(|date| date.to_string()).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn days_are_ordered() {
        let dates = ["19991231", "20000101", "20000201", "20000202"].map(|text| Date::read(text).unwrap());
        assert!(dates.is_sorted());
        assert_eq!((dates[3].year(), dates[3].month(), dates[3].day()), (2000, 2, 2));
    }
}
