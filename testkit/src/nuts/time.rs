//! Times as a node writes them: RFC 3339 in messages, and words in the time of Amsterdam in contracts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The words of one language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    English,
    Dutch,
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

impl Language {
    fn days(self) -> [&'static str; 7] {
        match self {
            Self::English => ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"],
            Self::Dutch => ["zondag", "maandag", "dinsdag", "woensdag", "donderdag", "vrijdag", "zaterdag"],
        }
    }

    fn months(self) -> [&'static str; 12] {
        match self {
            Self::English => [
                "January",
                "February",
                "March",
                "April",
                "May",
                "June",
                "July",
                "August",
                "September",
                "October",
                "November",
                "December",
            ],
            Self::Dutch => [
                "januari",
                "februari",
                "maart",
                "april",
                "mei",
                "juni",
                "juli",
                "augustus",
                "september",
                "oktober",
                "november",
                "december",
            ],
        }
    }

    /// `seconds` since 1970 as a contract has it, such as `Sunday, 29 November 2026 04:51:26`.
    pub(super) fn write(self, seconds: i64) -> String {
        let local = seconds + offset(seconds);
        let text = humantime::format_rfc3339_seconds(system_time(local)).to_string();
        let number = |from: usize, to: usize| text[from..to].parse::<usize>().unwrap_or_default();
        let day = self.days()[weekday(local)];
        let month = self.months()[number(5, 7) - 1];
        format!("{day}, {} {month} {} {}", number(8, 10), &text[..4], &text[11..19])
    }

    /// The time that [`Language::write`] has written. In the hour that comes twice it is the first.
    pub(super) fn read(self, text: &str) -> Option<i64> {
        let (day, rest) = text.split_once(", ")?;
        let mut words = rest.split(' ');
        let (date, month, year, clock) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let month = self.months().iter().position(|name| *name == month)? + 1;
        let local = parse_utc(&format!("{year}-{month:02}-{date:0>2}T{clock}Z"))?;
        if words.next().is_some() || !self.days().contains(&day) {
            return None;
        }
        [2 * HOUR, HOUR]
            .into_iter()
            .map(|ahead| (local - ahead, ahead))
            .find(|&(at, ahead)| offset(at) == ahead)
            .map(|found| found.0)
    }
}

/// How far Amsterdam's clocks are ahead of UTC: an hour more from the last Sunday of March to that of October.
fn offset(seconds: i64) -> i64 {
    let year = humantime::format_rfc3339_seconds(system_time(seconds)).to_string()[..4].to_owned();
    let last_sunday = |month: &str| {
        let last = parse_utc(&format!("{year}-{month}-31T01:00:00Z")).unwrap_or_default();
        last - i64::try_from(weekday(last)).unwrap_or_default() * DAY
    };
    if (last_sunday("03")..last_sunday("10")).contains(&seconds) { 2 * HOUR } else { HOUR }
}

fn weekday(seconds: i64) -> usize {
    usize::try_from((seconds.div_euclid(DAY) + 4).rem_euclid(7)).unwrap_or_default()
}

fn system_time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn parse_utc(text: &str) -> Option<i64> {
    let time = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(time.as_secs()).ok()
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or_default())
}

/// A time of RFC 3339 with nanoseconds, without zeros at their end.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_nanos(time).to_string();
    let trimmed = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{trimmed}Z")
}

/// A time of RFC 3339 with any offset; an error has the node's text.
pub(super) fn parse_rfc3339(text: &str) -> Result<i64, String> {
    let layout = "2006-01-02T15:04:05Z07:00";
    let bad = || {
        let rest =
            if text.as_bytes().first().is_some_and(u8::is_ascii_digit) { "2006-01-02T15:04:05Z07:00" } else { "2006" };
        format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as {rest:?}")
    };
    if !text.is_ascii() {
        return Err(bad());
    }
    if text.ends_with('Z') {
        return parse_utc(text).ok_or_else(bad);
    }
    let (time, zone) = text.split_at_checked(text.len().saturating_sub(6)).ok_or_else(bad)?;
    let sign = match zone.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Err(bad()),
    };
    let (hours, minutes) = zone[1..].split_once(':').ok_or_else(bad)?;
    let number = |digits: &str| digits.parse::<i64>().map_err(|_| bad());
    let ahead = sign * (number(hours)? * HOUR + number(minutes)? * 60);
    Ok(parse_utc(&format!("{time}Z")).ok_or_else(bad)? - ahead)
}

/// A duration as Go writes it, such as `1h30m`; an error has Go's words.
pub(super) fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (mut rest, mut total) = (text, 0.0);
    if text.is_empty() {
        return Err(invalid());
    }
    if text == "0" {
        return Ok(0);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            unknown => return Err(format!("time: unknown unit {unknown:?} in duration {text:?}")),
        };
        total += number * unit;
        rest = &rest[letters..];
    }
    #[expect(clippy::cast_possible_truncation, reason = "seconds of a contract")]
    Ok(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contracts_are_in_the_time_of_amsterdam() {
        for (utc, english, dutch) in [
            ("2026-11-29T03:51:26Z", "Sunday, 29 November 2026 04:51:26", "zondag, 29 november 2026 04:51:26"),
            ("2027-03-28T00:59:59Z", "Sunday, 28 March 2027 01:59:59", "zondag, 28 maart 2027 01:59:59"),
            ("2027-03-28T01:00:00Z", "Sunday, 28 March 2027 03:00:00", "zondag, 28 maart 2027 03:00:00"),
            ("2027-08-05T22:00:00Z", "Friday, 6 August 2027 00:00:00", "vrijdag, 6 augustus 2027 00:00:00"),
            ("2027-10-31T01:00:00Z", "Sunday, 31 October 2027 02:00:00", "zondag, 31 oktober 2027 02:00:00"),
        ] {
            let time = parse_rfc3339(utc).unwrap();
            assert_eq!((Language::English.write(time), Language::Dutch.write(time)), (english.into(), dutch.into()));
            let first = if utc == "2027-10-31T01:00:00Z" { time - HOUR } else { time };
            assert_eq!((Language::English.read(english), Language::Dutch.read(dutch)), (Some(first), Some(first)));
        }
        assert_eq!(Language::English.read("29 November 2026"), None);
    }

    #[test]
    fn offsets_of_rfc_3339_are_read() {
        assert_eq!(parse_rfc3339("2026-11-29T04:51:26+01:00"), parse_rfc3339("2026-11-29T03:51:26.5Z"));
        assert!(parse_rfc3339("2026-11-29").is_err());
    }

    #[test]
    fn durations_are_read_as_go_does() {
        assert_eq!((parse_duration("1h30m"), parse_duration("90s")), (Ok(5400), Ok(90)));
        assert_eq!(parse_duration("2"), Err("time: missing unit in duration \"2\"".into()));
        assert_eq!(parse_duration("x"), Err("time: invalid duration \"x\"".into()));
    }
}
