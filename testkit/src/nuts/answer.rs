//! Answers of the node, in its forms.

use serde_json::{Value, json};

/// An HTTP answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: Option<&'static str>,
    pub(super) location: Option<String>,
    pub(super) body: Vec<u8>,
    /// Sent in chunks, without a length.
    pub(super) chunked: bool,
}

impl Answer {
    pub(super) fn empty(status: u16) -> Self {
        Self { status, content_type: None, location: None, body: Vec::new(), chunked: false }
    }

    fn with(status: u16, content_type: &'static str, body: String) -> Self {
        Self { content_type: Some(content_type), body: body.into_bytes(), ..Self::empty(status) }
    }

    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::with(status, "application/json", format!("{value}\n"))
    }

    /// An error of the API.
    pub(super) fn problem(status: u16, title: &str, detail: impl Into<String>) -> Self {
        let problem = json!({"detail": detail.into(), "status": status, "title": title});
        Self::with(status, "application/problem+json", format!("{problem}\n"))
    }

    /// An error that no operation has a title for.
    pub(super) fn failed(status: u16, detail: impl Into<String>) -> Self {
        Self::problem(status, "Operation failed", detail)
    }

    /// An error between nodes.
    pub(super) fn oauth(error: &str, description: &str) -> Self {
        Self::json(400, &json!({"error": error, "error_description": description}))
    }

    pub(super) fn text(status: u16, text: &str) -> Self {
        Self::with(status, "text/plain; charset=UTF-8", text.into())
    }

    pub(super) fn html(text: String) -> Self {
        Self { chunked: true, ..Self::with(200, "text/html; charset=UTF-8", text) }
    }

    pub(super) fn redirect(location: String) -> Self {
        Self { location: Some(location), ..Self::empty(302) }
    }
}
