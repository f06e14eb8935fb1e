//! The response: status, headers, and a body that is whole or comes in pieces.

use crate::{Error, Piece};
use serde::Serialize;
use std::fmt;

/// What the function answers.
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

/// The pieces of a body that is being made while it is sent.
pub(crate) type Chunks = Box<dyn Iterator<Item = Result<Vec<u8>, Error>>>;

/// A response's body.
pub(crate) enum Body {
    /// All of it; its length is announced.
    Whole(Vec<u8>),
    /// Written and flushed piece by piece.
    Stream(Chunks),
}

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

impl Response {
    /// A response with this status and an empty body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Whole(Vec::new()) }
    }

    /// 200 with plain text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(200).with_header("content-type", TEXT).with_body(text.into())
    }

    /// 200 with HTML.
    #[must_use]
    pub fn html(html: impl Into<String>) -> Self {
        Self::new(200).with_header("content-type", HTML).with_body(html.into())
    }

    /// 200 with a value as JSON.
    ///
    /// # Errors
    /// If the value cannot be written as JSON, such as a map whose keys are not strings.
    pub fn json(value: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(value)?;
        Ok(Self::new(200).with_header("content-type", JSON).with_body(body))
    }

    /// 200 with a body that is made while it is sent: every piece is written and flushed as it
    /// comes. The first piece is awaited before the head is sent, so an error there still becomes
    /// a proper answer; after that an error cuts the connection, so that nobody takes half an
    /// answer for a whole one. When the caller leaves, the iterator is dropped.
    ///
    /// ```
    /// # use emberbox_sdk::Response;
    /// let response = Response::stream((1..=3).map(|n| format!("{n}\n")));
    /// assert_eq!(response.into_bytes().unwrap(), b"1\n2\n3\n");
    /// ```
    #[must_use]
    pub fn stream<I>(pieces: I) -> Self
    where
        I: IntoIterator<Item: Chunk + 'static, IntoIter: 'static>,
    {
        let chunks = Box::new(pieces.into_iter().map(Chunk::into_bytes));
        Self { body: Body::Stream(chunks), ..Self::new(200) }.with_header("content-type", TEXT)
    }

    /// 200 with server-sent events (`text/event-stream`): every item is the data of one event.
    ///
    /// ```
    /// # use emberbox_sdk::Response;
    /// let response = Response::events(["{\"n\":1}", "[DONE]"]);
    /// assert_eq!(response.into_bytes().unwrap(), b"data: {\"n\":1}\n\ndata: [DONE]\n\n");
    /// ```
    #[must_use]
    pub fn events<I>(data: I) -> Self
    where
        I: IntoIterator<Item: Chunk + 'static, IntoIter: 'static>,
    {
        let chunks = Box::new(data.into_iter().map(|data| Ok(event(&data.into_bytes()?))));
        Self { body: Body::Stream(chunks), ..Self::new(200) }
            .with_header("content-type", EVENTS)
            .with_header("cache-control", "no-cache")
    }

    /// The same response with this status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same response with this header in place of any other of its name. The platform drops
    /// headers that are its own to set, such as `set-cookie` and all `x-emberbox-…`.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        let name = name.to_ascii_lowercase();
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.into()));
        self
    }

    /// The same response with this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Whole(body.into());
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value of this header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All headers, names in lower case.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The whole body; a stream is run to its end. For tests.
    ///
    /// # Errors
    /// The first error of the stream.
    pub fn into_bytes(self) -> Result<Vec<u8>, Error> {
        match self.body {
            Body::Whole(bytes) => Ok(bytes),
            Body::Stream(mut chunks) => {
                chunks.try_fold(Vec::new(), |all, chunk| Ok([all, chunk?].concat()))
            }
        }
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_parts(self) -> (u16, Vec<(String, String)>, Body) {
        (self.status, self.headers, self.body)
    }
}

impl From<&Error> for Response {
    fn from(error: &Error) -> Self {
        Self::new(error.status())
            .with_header("content-type", JSON)
            .with_body(error.to_json().to_string())
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = match &self.body {
            Body::Whole(bytes) => String::from_utf8_lossy(bytes),
            Body::Stream(_) => "(a stream)".into(),
        };
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &body)
            .finish()
    }
}

/// Something that can be a piece of a streamed body: text, bytes, a model's [`Piece`], or a
/// `Result` with one of them.
pub trait Chunk {
    /// The bytes to send.
    ///
    /// # Errors
    /// The error that the stream is to end with.
    fn into_bytes(self) -> Result<Vec<u8>, Error>;
}

impl Chunk for String {
    fn into_bytes(self) -> Result<Vec<u8>, Error> {
        Ok(self.into())
    }
}

impl Chunk for &str {
    fn into_bytes(self) -> Result<Vec<u8>, Error> {
        Ok(self.into())
    }
}

impl Chunk for Vec<u8> {
    fn into_bytes(self) -> Result<Vec<u8>, Error> {
        Ok(self)
    }
}

impl Chunk for Piece {
    fn into_bytes(self) -> Result<Vec<u8>, Error> {
        Ok(self.text.into())
    }
}

impl<T: Chunk> Chunk for Result<T, Error> {
    fn into_bytes(self) -> Result<Vec<u8>, Error> {
        self?.into_bytes()
    }
}

/// One server-sent event (WHATWG HTML, "Server-sent events"): each line of the data has its own
/// `data:`.
fn event(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 16);
    for line in data.split(|&byte| byte == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        out.push(b'\n');
    }
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_set_once() {
        let response = Response::text("x").with_header("Content-Type", "text/csv");
        assert_eq!(response.header("CONTENT-type"), Some("text/csv"));
        assert_eq!(response.headers().len(), 1);
    }

    #[test]
    fn streams_take_what_models_give() {
        let piece = |text: &str| Ok(Piece { text: text.into(), tokens: vec![1] });
        let whole = Response::stream(vec![piece("Once "), piece("upon")]).into_bytes();
        assert_eq!(whole, Ok(b"Once upon".to_vec()));
        let cut = Response::stream(vec![piece("Once "), Err(Error::Model("gone".into()))]);
        assert_eq!(cut.into_bytes(), Err(Error::Model("gone".into())));
    }

    #[test]
    fn an_event_of_several_lines_has_several_data_fields() {
        assert_eq!(event(b"a\nb\r\n"), b"data: a\ndata: b\ndata: \n\n");
    }

    #[test]
    fn errors_answer_in_the_one_shape() {
        let check = |error: Error, status: u16, code: &str, kind: &str, says: &str| {
            let response = Response::from(&error);
            assert_eq!((response.status(), response.header("content-type")), (status, Some(JSON)));
            let body: serde_json::Value =
                serde_json::from_slice(&response.into_bytes().unwrap()).unwrap();
            let error = &body["error"];
            assert_eq!((error["code"].as_str(), error["type"].as_str()), (Some(code), Some(kind)));
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(says), "{message}");
        };
        let (caller, function) = ("invalid_request_error", "function_error");
        let model = || "m".to_owned();
        check(
            Error::ModelNotGranted { model: model() },
            403,
            "model_not_allowed",
            caller,
            "add it to `models`",
        );
        check(
            Error::ModelNotFound { model: model() },
            404,
            "model_not_found",
            caller,
            "emberbox models",
        );
        check(
            Error::BudgetExhausted("2".into()),
            402,
            "budget_exhausted",
            caller,
            "max_cost_per_call",
        );
        check(Error::Deadline("3 s".into()), 504, "deadline_exceeded", function, "wall_ms");
        check(Error::Overloaded("q".into()), 503, "server_overloaded", function, "try again");
        check(Error::TooLarge("9".into()), 413, "request_too_large", caller, "9");
        check(Error::OutsideEmberbox, 500, "outside_emberbox", function, "wasm32-wasip2");
        check(Error::bad_request("no").at("n"), 400, "invalid_request", caller, "no");
        check(Error::new(418, "teapot", "short"), 418, "teapot", caller, "short");
    }
}
