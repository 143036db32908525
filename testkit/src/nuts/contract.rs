//! The contracts that users sign: templates, and the texts made from them.

use super::time::Language;

/// One of the node's templates.
pub(super) struct Template {
    language: &'static str,
    kind: &'static str,
    version: &'static str,
    words: Language,
    /// The text around the parameters.
    text: &'static [&'static str],
    /// The parameters, in the text's order.
    names: &'static [&'static str],
}

const ENGLISH: Template = Template {
    language: "EN",
    kind: "PractitionerLogin",
    version: "v3",
    words: Language::English,
    text: &[
        "EN:PractitionerLogin:v3 I hereby declare to act on behalf of ",
        " located in ",
        ". This declaration is valid from ",
        " until ",
        ".",
    ],
    names: &["legal_entity", "legal_entity_city", "valid_from", "valid_to"],
};

const DUTCH: Template = Template {
    language: "NL",
    kind: "BehandelaarLogin",
    version: "v3",
    words: Language::Dutch,
    text: &[
        "NL:BehandelaarLogin:v3 Hierbij verklaar ik te handelen in naam van ",
        " te ",
        ". Deze verklaring is geldig van ",
        " tot ",
        ".",
    ],
    names: &["legal_entity", "legal_entity_city", "valid_from", "valid_to"],
};

const OLD_DUTCH: Template = Template {
    language: "NL",
    kind: "BehandelaarLogin",
    version: "v1",
    words: Language::Dutch,
    text: &[
        "NL:BehandelaarLogin:v1 Ondergetekende geeft toestemming aan ",
        " om namens ",
        " en ondergetekende het Nuts netwerk te bevragen. Deze toestemming is geldig van ",
        " tot ",
        ".",
    ],
    names: &["acting_party", "legal_entity", "valid_from", "valid_to"],
};

/// The newest version of each comes first: it is the one without a version in the request.
const TEMPLATES: [&Template; 3] = [&ENGLISH, &DUTCH, &OLD_DUTCH];

impl Template {
    pub(super) fn find(language: &str, kind: &str, version: &str) -> Option<&'static Self> {
        let language = if language.is_empty() { "NL" } else { language };
        TEMPLATES.into_iter().find(|template| {
            template.language == language
                && template.kind == kind
                && (version.is_empty() || template.version == version)
        })
    }

    /// The contract's text, valid from `from` until `to`.
    pub(super) fn render(&self, organization: &str, city: &str, from: i64, to: i64) -> String {
        let mut text = String::from(self.text[0]);
        for (name, after) in self.names.iter().zip(&self.text[1..]) {
            match *name {
                "legal_entity" => text.push_str(organization),
                "legal_entity_city" => text.push_str(city),
                "valid_from" => text.push_str(&self.words.write(from)),
                "valid_to" => text.push_str(&self.words.write(to)),
                _ => {}
            }
            text.push_str(after);
        }
        text
    }

    pub(super) fn language(&self) -> &'static str {
        self.language
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(super) fn version(&self) -> &'static str {
        self.version
    }
}

/// A contract's text, taken apart.
#[derive(Debug)]
pub(super) struct Contract {
    words: Language,
    parameters: Vec<(&'static str, String)>,
}

impl Contract {
    /// Parses `text`; an error has the node's text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let head = text.split(' ').next().unwrap_or_default();
        let parts: Vec<_> = head.split(':').collect();
        let &[language, kind, version] = parts.as_slice() else {
            return Err("invalid contract text: could not extract contract version, language and type".into());
        };
        let found = TEMPLATES.into_iter().find(|t| (t.language, t.kind, t.version) == (language, kind, version));
        let Some(template) = found else {
            return Err(format!(
                "could not find contract template for language '{language}', type '{kind}' and version '{version}'"
            ));
        };
        let no_match = || "invalid contract text: could not match the contract template regex".to_owned();
        let mut rest = text.strip_prefix(template.text[0]).ok_or_else(no_match)?;
        let mut parameters = Vec::new();
        for (name, after) in template.names.iter().zip(&template.text[1..]) {
            let end = if *after == "." { rest.rfind(after) } else { rest.find(after) };
            let end = end.filter(|end| *end > 0).ok_or_else(no_match)?;
            parameters.push((*name, rest[..end].to_owned()));
            rest = &rest[end + after.len()..];
        }
        Ok(Self { words: template.words, parameters })
    }

    pub(super) fn parameters(&self) -> &[(&'static str, String)] {
        &self.parameters
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.parameters.iter().find(|parameter| parameter.0 == name).map_or("", |parameter| &parameter.1)
    }

    /// Checks that the contract is valid at `time`; an error has the node's text.
    pub(super) fn check(&self, time: i64) -> Result<(), String> {
        let read = |name: &str| {
            let text = self.get(name);
            self.words.read(text).ok_or_else(|| format!("invalid contract text: unable to parse [{name}]: {text}"))
        };
        let (from, to) = (read("valid_from")?, read("valid_to")?);
        let period = "invalid contract text: invalid period";
        if from > to {
            Err(format!("{period}: [valid_from] must become before [valid_to]"))
        } else if time < from {
            Err(format!("{period}: contract is not yet valid"))
        } else if time > to {
            Err(format!("{period}: contract is expired"))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendered_contract_is_parsed_back() {
        for (language, kind) in [("EN", "PractitionerLogin"), ("NL", "BehandelaarLogin")] {
            let template = Template::find(language, kind, "").unwrap();
            let contract =
                Contract::parse(&template.render("St. Anna te Ede", "Ede", 1_800_000_000, 1_800_003_600)).unwrap();
            assert_eq!(contract.check(1_800_000_001), Ok(()));
            assert!(contract.check(1_800_003_601).unwrap_err().ends_with("contract is expired"));
            assert!(contract.check(1_799_999_999).unwrap_err().ends_with("contract is not yet valid"));
        }
        assert!(Template::find("EN", "PractitionerLogin", "v1").is_none());
    }
}
