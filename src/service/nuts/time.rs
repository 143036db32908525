//! Times as a node writes them: RFC 3339, and in contracts words in the time of Amsterdam. All are seconds since 1970.

use der::DateTime;

const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;

const MONTHS: [[&str; 12]; 2] = [
    [
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
    [
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
];

/// Reads a time of RFC 3339, without its fraction of a second.
pub(super) fn rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't'])?;
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (number(date.next()?)?, number(date.next()?)?, number(date.next()?)?);
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let ahead = match zone {
        "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let ahead = i64::from(number(hours)?) * HOUR + i64::from(number(minutes)?) * 60;
            if zone.starts_with('-') { -ahead } else { ahead }
        }
    };
    Some(at(year, month, day, clock)? - ahead)
}

/// Reads a time of a contract, such as `Sunday, 29 November 2026 04:51:26`. In the hour that comes twice it is the
/// first, as it is the earlier end of a session.
pub(super) fn in_contract(text: &str) -> Option<i64> {
    let (_, date) = text.split_once(", ")?;
    let mut words = date.split(' ');
    let (day, month, year, clock) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().find_map(|names| names.iter().position(|name| *name == month))? + 1;
    if words.next().is_some() {
        return None;
    }
    let local = at(number(year)?, u16::try_from(month).ok()?, number(day)?, clock)?;
    let ahead =
        [2 * HOUR, HOUR].into_iter().find(|ahead| ahead_of_utc(local - ahead, number(year).unwrap_or(0)) == *ahead);
    Some(local - ahead.unwrap_or(HOUR))
}

/// How far Amsterdam's clocks are ahead: an hour more from the last Sunday of March to that of October, 01:00 UTC
/// both. A library would bring the whole world's time zones for this one rule.
fn ahead_of_utc(time: i64, year: u16) -> i64 {
    let last_sunday = |month| {
        let last = at(year, month, 31, "01:00:00").unwrap_or_default();
        // The first day of 1970 was a Thursday.
        last - (last.div_euclid(DAY) + 4).rem_euclid(7) * DAY
    };
    if (last_sunday(3)..last_sunday(10)).contains(&time) { 2 * HOUR } else { HOUR }
}

fn at(year: u16, month: u16, day: u16, clock: &str) -> Option<i64> {
    let mut parts = clock.split(':');
    let mut next = || parts.next().and_then(number).and_then(small);
    let (hour, minute, second) = (next()?, next()?, next()?);
    if parts.next().is_some() {
        return None;
    }
    let time = DateTime::new(year, small(month)?, small(day)?, hour, minute, second).ok()?;
    i64::try_from(time.unix_duration().as_secs()).ok()
}

fn number(digits: &str) -> Option<u16> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn small(number: u16) -> Option<u8> {
    u8::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn contracts_are_in_the_time_of_amsterdam() {
        for (english, dutch, utc) in [
            ("Sunday, 29 November 2026 04:51:26", "zondag, 29 november 2026 04:51:26", "2026-11-29T03:51:26Z"),
            ("Sunday, 28 March 2027 01:59:59", "zondag, 28 maart 2027 01:59:59", "2027-03-28T00:59:59Z"),
            ("Sunday, 28 March 2027 03:00:00", "zondag, 28 maart 2027 03:00:00", "2027-03-28T01:00:00Z"),
            ("Friday, 6 August 2027 00:00:00", "vrijdag, 6 augustus 2027 00:00:00", "2027-08-05T22:00:00Z"),
            ("Sunday, 31 October 2027 02:30:00", "zondag, 31 oktober 2027 02:30:00", "2027-10-31T00:30:00Z"),
            ("Sunday, 31 October 2027 03:00:00", "zondag, 31 oktober 2027 03:00:00", "2027-10-31T02:00:00Z"),
        ] {
            let expected = rfc3339(utc);
            assert!(expected.is_some());
            assert_eq!((in_contract(english), in_contract(dutch)), (expected, expected));
        }
        for text in
            ["", "29 November 2026 04:51:26", "x, 31 November 2026 04:51:26", "x, 1 Mai 2026 04:51:26", "x, 1 May 2026"]
        {
            assert_eq!(in_contract(text), None, "{text}");
        }
    }

    #[test]
    fn times_of_rfc_3339_have_fractions_and_zones() {
        assert_eq!(rfc3339("1970-01-02T00:00:01Z"), Some(86_401));
        for text in ["2026-11-29T03:51:26.302465354Z", "2026-11-29t04:51:26+01:00", "2026-11-28T23:21:26.5-04:30"] {
            assert_eq!(rfc3339(text), rfc3339("2026-11-29T03:51:26Z"), "{text}");
        }
        for text in [
            "",
            "2026-11-29",
            "2026-11-29T03:51:26",
            "2026-13-29T03:51:26Z",
            "2026-11-29T03:51:26.Z",
            "2026-11-29T03:51:26+1",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_of_times_panic(text in "\\PC{0,40}", year in 0_u32..100_000, clock in "[0-9:]{0,9}") {
            let _ = (rfc3339(&text), in_contract(&text));
            let _ = (rfc3339(&format!("{year}-10-31T{clock}Z")), in_contract(&format!("x, 31 October {year} {clock}")));
        }
    }
}
