//! The request as a handler sees it: whole, bounded and decoded.

use crate::{Error, url};
use serde::de::DeserializeOwned;

/// A request, read to its end.
///
/// The platform has already taken away what is not the function's business: the caller's
/// credentials and cookies, and the `/f/{owner}/{function}` prefix of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request with no headers and an empty body. `target` is a path with an optional query.
    ///
    /// Inside Emberbox requests come from callers; this is how tests make them.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = if path.is_empty() { "/" } else { path };
        Self {
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            query: url::pairs(query),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// A GET request, for tests.
    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST request, for tests.
    #[must_use]
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).with_body(body)
    }

    /// The same request with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// The same request with this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The method in capitals, such as `"GET"`.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The function's own path as the caller wrote it, percent-escapes included; at least `/`.
    ///
    /// ```
    /// # use emberbox_sdk::Request;
    /// let request = Request::get("/v1/rerank?top=3");
    /// match (request.method(), request.path()) {
    ///     ("GET", "/v1/rerank") => {}
    ///     other => panic!("{other:?}"),
    /// }
    /// ```
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path's parts between slashes, each decoded: `/users/M%C3%ADa` is `["users", "Mía"]`.
    /// A slash that was escaped stays inside its part.
    #[must_use]
    pub fn segments(&self) -> Vec<String> {
        self.path.split('/').filter(|s| !s.is_empty()).map(|s| url::decode(s, false)).collect()
    }

    /// The first query value of this name, decoded.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All query pairs in the order they were written, decoded.
    #[must_use]
    pub fn query_pairs(&self) -> &[(String, String)] {
        &self.query
    }

    /// A query value as a number or anything else that parses; `None` if it is absent.
    ///
    /// # Errors
    /// A 400 that names the parameter, if it is there and does not parse.
    pub fn query_as<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(text) = self.query(name) else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(Error::bad_request(format!("{text:?} is not a valid value")).at(name)),
        }
    }

    /// The first header of this name, in any case; `None` too if its value is not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All headers whose values are text, names in lower case.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The body's bytes, at most as many as `main!` allows.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text.
    ///
    /// # Errors
    /// A 400 if it is not UTF-8.
    pub fn text(&self) -> Result<&str, Error> {
        std::str::from_utf8(&self.body)
            .map_err(|e| Error::bad_request(format!("the body is not UTF-8 text: {e}")))
    }

    /// The body as JSON, whatever the content type says.
    ///
    /// # Errors
    /// A 400 that says what is wrong and at which line and column.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|e| Error::bad_request(format!("the body is not the JSON expected: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_the_target() {
        let check = |target: &str, path: &str, name: Option<&str>, segments: &[&str]| {
            let request = Request::get(target);
            assert_eq!(request.path(), path, "{target}");
            assert_eq!(request.query("name"), name, "{target}");
            assert_eq!(request.segments(), segments, "{target}");
        };
        check("/", "/", None, &[]);
        check("", "/", None, &[]);
        check("?name=Mia", "/", Some("Mia"), &[]);
        check(
            "/a/b%2Fc//d?x=1&name=M%C3%ADa+B&name=no",
            "/a/b%2Fc//d",
            Some("Mía B"),
            &["a", "b/c", "d"],
        );
        check("/a+b?name", "/a+b", Some(""), &["a+b"]);
    }

    #[test]
    fn a_number_that_is_none_names_its_parameter() {
        let request = Request::get("/?n=12&bad=twelve");
        assert_eq!(request.query_as::<u32>("n"), Ok(Some(12)));
        assert_eq!(request.query_as::<u32>("absent"), Ok(None));
        let error = request.query_as::<u32>("bad").unwrap_err();
        assert_eq!((error.status(), error.param()), (400, Some("bad")));
    }

    #[test]
    fn bodies_are_checked_as_they_are_read() {
        #[derive(serde::Deserialize, Debug, PartialEq)]
        struct Body {
            name: String,
        }
        let body = |text: &str| Request::post("/", text).json::<Body>();
        assert_eq!(body(r#"{"name":"Mia"}"#), Ok(Body { name: "Mia".into() }));
        for (text, expect) in [("", "EOF"), ("{", "line 1"), (r#"{"n":1}"#, "missing field `name`")]
        {
            let error = body(text).unwrap_err();
            assert_eq!(error.status(), 400, "{text}");
            assert!(error.to_string().contains(expect), "{text}: {error}");
        }
        assert!(Request::post("/", [0xff]).text().is_err());
        assert_eq!(Request::post("/", "ä").text(), Ok("ä"));
    }

    #[test]
    fn header_names_have_no_case() {
        let request = Request::get("/").with_header("Content-Type", "text/plain");
        assert_eq!(request.header("content-TYPE"), Some("text/plain"));
        assert_eq!(request.header("accept"), None);
    }
}
