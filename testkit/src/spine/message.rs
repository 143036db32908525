//! `gpOBJECT` messages: parses requests strictly, and writes responses as the real broker does.

use roxmltree::{Document, ParsingOptions};

use super::refusal::Refusal;

/// A request's parameters, each with a unique name.
#[derive(Debug)]
pub(crate) struct Request {
    parameters: Vec<(String, String)>,
    response_encoding: Option<String>,
}

impl Request {
    /// Parses a request. Unlike the broker's responses, requests must be well-formed.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let malformed = |problem: &str| Refusal::Malformed(problem.into());
        let text = std::str::from_utf8(body).map_err(|_| malformed("it is not UTF-8"))?;
        let options = ParsingOptions { allow_dtd: true, nodes_limit: 200, ..ParsingOptions::default() };
        let document = Document::parse_with_options(text, options).map_err(|error| malformed(&error.to_string()))?;
        let root = document.root_element();
        if !root.has_tag_name("gpOBJECT") {
            return Err(malformed("its root is not gpOBJECT"));
        }
        let mut request = Self { parameters: Vec::new(), response_encoding: None };
        for node in root.children() {
            if node.is_text() && node.text().is_some_and(|text| text.trim().is_empty()) {
                continue;
            }
            if !node.has_tag_name("gpPARAM") {
                return Err(malformed("gpOBJECT contains something other than gpPARAM"));
            }
            if node.children().any(|child| !child.is_text()) {
                return Err(malformed("a gpPARAM contains something other than text"));
            }
            let name = node.attribute("name").ok_or_else(|| malformed("a gpPARAM has no name"))?;
            if request.get(name).is_some() {
                return Err(Refusal::Repeated(name.into()));
            }
            if name == "response" {
                request.response_encoding = node.attribute("encoding").map(Into::into);
            }
            request.parameters.push((name.into(), node.text().unwrap_or_default().into()));
        }
        Ok(request)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|parameter| parameter.0 == name).map(|parameter| parameter.1.as_str())
    }

    pub(crate) fn need(&self, name: &'static str) -> Result<&str, Refusal> {
        self.get(name).ok_or(Refusal::Missing(name))
    }

    /// Requires the parameter to be exactly `value`.
    pub(crate) fn need_value(&self, name: &'static str, value: &str) -> Result<(), Refusal> {
        if self.need(name)? == value { Ok(()) } else { Err(Refusal::Wrong(name)) }
    }

    pub(crate) fn response_encoding(&self) -> Option<&str> {
        self.response_encoding.as_deref()
    }

    pub(crate) fn parameters(&self) -> &[(String, String)] {
        &self.parameters
    }
}

/// A response that can still be changed.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    parameters: Vec<Parameter>,
}

#[derive(Clone, Debug)]
struct Parameter {
    name: String,
    attributes: String,
    value: String,
}

impl Answer {
    pub(crate) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push(Parameter { name: name.into(), attributes: String::new(), value: value.into() });
        self
    }

    pub(crate) fn with_role(mut self, number: usize, role: &super::Role) -> Self {
        let code = role.organisation_code.as_ref().map(|code| format!(" orgcode=\"{}\"", escaped(code)));
        self.parameters.push(Parameter {
            name: format!("nhsjobrole{number}"),
            attributes: format!(" id=\"{}\"{}", escaped(&role.id), code.unwrap_or_default()),
            value: role.line(),
        });
        self
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.parameters.retain(|parameter| parameter.name != name);
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.parameters.iter_mut().find(|parameter| parameter.name == name) {
            Some(parameter) => value.clone_into(&mut parameter.value),
            None => {
                self.parameters.push(Parameter { name: name.into(), attributes: String::new(), value: value.into() })
            }
        }
    }

    pub(crate) fn repeat(&mut self, name: &str) {
        let again = self.parameters.iter().find(|parameter| parameter.name == name).cloned();
        self.parameters.extend(again);
    }

    /// Encodes the response. As on the real broker, ampersands in values are not escaped.
    pub(crate) fn write(&self, base_url: &str) -> String {
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE USER SYSTEM \"{base_url}/login/dtd\">\n<gpOBJECT>\n"
        );
        for Parameter { name, attributes, value } in &self.parameters {
            let value = value.replace('<', "&lt;");
            text.push_str(&format!("<gpPARAM name=\"{name}\"{attributes}>{value}</gpPARAM>\n"));
        }
        text.push_str("</gpOBJECT>\n");
        text
    }
}

/// Escapes a value so that it parses the same in an attribute and in text: parsers replace line ends and tabs in
/// attributes by blanks.
pub(super) fn escaped(value: &str) -> String {
    let escape = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' | '>' | '"' | '\t' | '\n' | '\r' => format!("&#{};", u32::from(c)),
        c => c.to_string(),
    };
    value.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Request, Refusal> {
        Request::read(body.as_bytes())
    }

    #[test]
    fn values_are_unescaped() {
        let request = read(r#"<gpOBJECT><gpPARAM name="uid">a &amp; &lt;b&gt;</gpPARAM></gpOBJECT>"#).unwrap();
        assert_eq!(request.get("uid"), Some("a & <b>"));
    }

    #[test]
    fn an_empty_parameter_is_present() {
        assert_eq!(read(r#"<gpOBJECT><gpPARAM name="uid"/></gpOBJECT>"#).unwrap().get("uid"), Some(""));
    }

    #[test]
    fn a_request_that_is_not_well_formed_is_refused() {
        for body in [
            "",
            "<html/>",
            r#"<gpOBJECT><gpPARAM name="a">x & y</gpPARAM></gpOBJECT>"#,
            "<gpOBJECT><gpPARAM>x</gpPARAM></gpOBJECT>",
            r#"<gpOBJECT><gpPARAM name="a"><b/></gpPARAM></gpOBJECT>"#,
            "<gpOBJECT>text</gpOBJECT>",
        ] {
            assert!(matches!(read(body), Err(Refusal::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn a_repeated_parameter_is_refused() {
        let body = r#"<gpOBJECT><gpPARAM name="a">1</gpPARAM><gpPARAM name="a">2</gpPARAM></gpOBJECT>"#;
        assert_eq!(read(body).unwrap_err(), Refusal::Repeated("a".into()));
    }
}
