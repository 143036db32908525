//! JSON from a provider, read with suspicion: a member that comes twice or has another type is an error where it
//! matters, and no error quotes the text, which may hold a token.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{
    BoolDeserializer, BorrowedStrDeserializer, F64Deserializer, I64Deserializer, MapAccessDeserializer,
    SeqAccessDeserializer, StrDeserializer, U64Deserializer,
};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Why a text is not the JSON that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadJson {
    #[error("it is not JSON")]
    Syntax,
    #[error("one of its members has another type than it should, or comes twice")]
    Form,
}

/// Reads a whole JSON text.
pub(super) fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, BadJson> {
    serde_json::from_slice(text).map_err(|error| if error.is_data() { BadJson::Form } else { BadJson::Syntax })
}

/// A list, or its only element without the list around it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one or a list")
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(OneOrMany::default())
            }

            // What stands alone is for the element's type to take or refuse.
            fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
                T::deserialize(BoolDeserializer::new(value)).map(|one| OneOrMany(vec![one]))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                T::deserialize(I64Deserializer::new(number)).map(|one| OneOrMany(vec![one]))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                T::deserialize(U64Deserializer::new(number)).map(|one| OneOrMany(vec![one]))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                T::deserialize(F64Deserializer::new(number)).map(|one| OneOrMany(vec![one]))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                T::deserialize(StrDeserializer::new(text)).map(|one| OneOrMany(vec![one]))
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                T::deserialize(BorrowedStrDeserializer::new(text)).map(|one| OneOrMany(vec![one]))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMany(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany)
            }
        }

        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// A text that is only shown or passed on: a number is its digits, and anything else counts as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Loose<'a>(Option<Cow<'a, str>>);

impl Loose<'_> {
    /// Returns the text, unless it is empty.
    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }

    /// Returns the text; an absent one is empty.
    pub(super) fn or_empty(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Loose<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Loose(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Loose(Some(Cow::Owned(text.to_owned()))))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Loose(Some(Cow::Owned(number.to_string()))))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Loose(Some(Cow::Owned(number.to_string()))))
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Loose::default())
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Loose::default())
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Loose::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Loose::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Loose::default())
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// A point in time or a span of it, in whole seconds: a number, or one as text as some servers write it. What is
/// beyond all time is cut to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seconds(pub(super) i64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Seconds, E> {
                Ok(Seconds(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Seconds, E> {
                Ok(Seconds(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Seconds, E> {
                // Casts saturate.
                Ok(Seconds(number as i64))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Seconds, E> {
                text.trim().parse().map(Seconds).map_err(|_| E::custom("not a number"))
            }
        }

        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sample<'a> {
        #[serde(default)]
        list: OneOrMany<String>,
        #[serde(borrow, default)]
        text: Loose<'a>,
        time: Option<Seconds>,
    }

    fn sample(text: &str) -> Result<Sample<'_>, BadJson> {
        read(text.as_bytes())
    }

    #[test]
    fn one_element_may_stand_without_its_list() {
        for (text, expected) in [
            (r#"{"list": "a"}"#, &["a"][..]),
            (r#"{"list": "\u0061"}"#, &["a"]),
            (r#"{"list": ["a", "b"]}"#, &["a", "b"]),
            (r#"{"list": []}"#, &[]),
            (r#"{"list": null}"#, &[]),
            ("{}", &[]),
        ] {
            assert_eq!(sample(text).unwrap().list.0, expected, "{text}");
        }
        assert_eq!(sample(r#"{"list": [1]}"#).unwrap_err(), BadJson::Form);
        assert_eq!(sample(r#"{"list": 1}"#).unwrap_err(), BadJson::Form);
    }

    #[test]
    fn what_is_only_shown_may_have_any_type() {
        for (value, expected) in [
            (r#""a""#, Some("a")),
            (r#""""#, None),
            ("12", Some("12")),
            ("-1", Some("-1")),
            ("1.5", None),
            ("true", None),
            ("null", None),
            (r#"["a", {"b": [1]}]"#, None),
            (r#"{"a": "b"}"#, None),
        ] {
            let text = format!(r#"{{"text": {value}}}"#);
            assert_eq!(sample(&text).unwrap().text.get(), expected, "{value}");
        }
    }

    #[test]
    fn a_time_is_a_number_in_any_form() {
        for (value, expected) in [
            ("300", 300),
            ("300.9", 300),
            ("\"300\"", 300),
            ("-5", -5),
            ("18446744073709551615", i64::MAX),
            ("1e300", i64::MAX),
        ] {
            assert_eq!(sample(&format!(r#"{{"time": {value}}}"#)).unwrap().time, Some(Seconds(expected)), "{value}");
        }
        for value in ["\"soon\"", "[]", "true", "\"1.5\""] {
            assert_eq!(sample(&format!(r#"{{"time": {value}}}"#)).unwrap_err(), BadJson::Form, "{value}");
        }
    }

    #[test]
    fn a_member_that_comes_twice_is_refused() {
        assert_eq!(sample(r#"{"time": 1, "time": 2}"#).unwrap_err(), BadJson::Form);
    }

    #[test]
    fn what_is_not_json_is_refused_however_deep() {
        let deep = format!(r#"{{"x": {}}}"#, "[".repeat(100_000));
        for text in ["", "<html>", "{", r#"{"time": 1} x"#, "\u{feff}{}", &deep] {
            assert_eq!(sample(text).unwrap_err(), BadJson::Syntax, "{text:.20}");
        }
    }
}
