//! The Spine's brokers.

use crate::http::Origin as BrokerAddress;

/// An environment of the Spine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Environment {
    /// The live service.
    Live,
    /// Integration.
    Int,
    /// Deployment.
    Dep,
}

impl Environment {
    pub(crate) const NAMES: [(&'static str, Self); 3] = [("live", Self::Live), ("int", Self::Int), ("dep", Self::Dep)];

    /// Returns the environment of this name: `live`, `int` or `dep`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, environment)| environment)
    }

    /// Returns its broker's address.
    pub fn broker(self) -> BrokerAddress {
        let host = match self {
            Self::Live => "gas.national.ncrs.nhs.uk",
            Self::Int => "gas.nis1.national.ncrs.nhs.uk",
            Self::Dep => "gas.vn1.national.ncrs.nhs.uk",
        };
        BrokerAddress::https(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_environment_has_its_broker() {
        for (name, broker) in [
            ("live", "gas.national.ncrs.nhs.uk:443"),
            ("int", "gas.nis1.national.ncrs.nhs.uk:443"),
            ("dep", "gas.vn1.national.ncrs.nhs.uk:443"),
        ] {
            assert_eq!(Environment::from_name(name).unwrap().broker().to_string(), broker);
        }
        assert_eq!(Environment::from_name("training"), None);
    }
}
