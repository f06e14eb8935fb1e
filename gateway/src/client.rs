//! A small blocking client of an Emberbox server, for the command line and the demo.
//!
//! It speaks plain HTTP to the documented routes and turns every failure into a [`ClientError`]
//! that says which decision the caller has: fix the request, reach the server, or report a bug.

use std::io::Read;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::Value;

pub use self::error::{ClientError, Refusal};
pub use self::events::Events;
pub use self::secret::Secret;

mod error;
mod events;
mod secret;
#[cfg(test)]
mod tests;

/// The longest JSON answer that is read into memory.
pub const JSON_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long a connection may take: a server that is there answers at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one answer, or one read within it, may take: a little more than the longest call.
const READ_TIMEOUT: Duration = Duration::from_secs(620);

/// A connection to one listener of a server, with the secret it asks for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    secret: Option<Secret>,
}

/// What to send.
#[derive(Debug)]
pub struct Call<'a> {
    method: Method,
    path: &'a str,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl<'a> Call<'a> {
    /// A request without a body. `path` starts with a slash and may carry a query.
    #[must_use]
    pub fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, headers: HeaderMap::new(), body: None }
    }

    /// The same request with a body of this media type.
    #[must_use]
    pub fn body(mut self, media_type: HeaderValue, bytes: Vec<u8>) -> Self {
        self.headers.insert(header::CONTENT_TYPE, media_type);
        self.body = Some(bytes);
        self
    }

    /// The same request with a JSON body.
    #[must_use]
    pub fn json(self, value: &Value) -> Self {
        self.body(HeaderValue::from_static("application/json"), value.to_string().into_bytes())
    }

    /// The same request with one more header.
    #[must_use]
    pub fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// An answer whose head has arrived and whose body has not been read.
#[derive(Debug)]
pub struct Answer {
    /// The status: anything but a 4xx or 5xx, unless it came from [`Client::send_any`].
    pub status: http::StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    url: String,
    body: ureq::Body,
}

impl Client {
    /// A client of the server at `base`, for example `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`] when `base` is not an `http` or `https` address.
    pub fn new(base: &str, secret: Option<Secret>) -> Result<Self, ClientError> {
        let bad =
            |reason: &str| ClientError::BadUrl { url: base.to_owned(), reason: reason.to_owned() };
        let base = base.trim_end_matches('/');
        let uri: http::Uri = base.parse().map_err(|error| bad(&format!("{error}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(bad("it must start with http:// or https://"));
        }
        let Some(host) = uri.host() else { return Err(bad("it names no host")) };
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .user_agent(concat!("emberbox-cli/", env!("CARGO_PKG_VERSION")));
        if is_loopback(host) {
            // A proxy of the environment is for other machines, never for this one.
            config = config.proxy(None);
        }
        Ok(Self { agent: config.build().new_agent(), base: base.to_owned(), secret })
    }

    /// The address without a trailing slash.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request and waits for the head of its answer, whatever its status.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when no answer came, [`ClientError::BadUrl`] when the path
    /// does not make an address.
    pub fn send_any(&self, call: Call<'_>) -> Result<Answer, ClientError> {
        let url = format!("{}{}", self.base, call.path);
        let mut request = http::Request::builder().method(call.method).uri(&url);
        if let Some(headers) = request.headers_mut() {
            *headers = call.headers;
            if let Some(secret) = &self.secret {
                headers.insert(header::AUTHORIZATION, secret.bearer()?);
            }
        }
        let bad_url = |error: http::Error| ClientError::BadUrl {
            url: url.clone(),
            reason: error.to_string(),
        };
        let sent = match call.body {
            Some(bytes) => self.agent.run(request.body(bytes).map_err(bad_url)?),
            None => self.agent.run(request.body(()).map_err(bad_url)?),
        };
        let response =
            sent.map_err(|source| ClientError::Unreachable { url: self.base.clone(), source })?;
        let (head, body) = response.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, url, body })
    }

    /// Sends a request and waits for the head of a good answer.
    ///
    /// # Errors
    /// As [`Client::send_any`], and [`ClientError::Refused`] for a status of 400 and above.
    pub fn send(&self, call: Call<'_>) -> Result<Answer, ClientError> {
        let answer = self.send_any(call)?;
        if answer.status.as_u16() < 400 {
            return Ok(answer);
        }
        Err(ClientError::Refused(Box::new(answer.into_refusal())))
    }

    /// Sends a request and reads a JSON answer; an empty one is `null`.
    ///
    /// # Errors
    /// As [`Client::send`], and [`ClientError::Unexpected`] when the answer is not JSON.
    pub fn json(&self, call: Call<'_>) -> Result<Value, ClientError> {
        self.send(call)?.into_json()
    }

    /// `GET` of a JSON document.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.json(Call::new(Method::GET, path))
    }

    /// `POST` of a JSON document.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.json(Call::new(Method::POST, path).json(body))
    }

    /// `PUT` of a JSON document.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.json(Call::new(Method::PUT, path).json(body))
    }

    /// `PATCH` with a JSON body.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub fn patch(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.json(Call::new(Method::PATCH, path).json(body))
    }

    /// `DELETE` of a resource.
    ///
    /// # Errors
    /// As [`Client::json`].
    pub fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.json(Call::new(Method::DELETE, path))
    }
}

impl Answer {
    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as it arrives.
    #[must_use]
    pub fn into_reader(self) -> impl Read + use<> {
        self.body.into_reader()
    }

    /// The body as server-sent events.
    #[must_use]
    pub fn into_events(self) -> Events<impl Read + use<>> {
        Events::new(self.url.clone(), self.body.into_reader())
    }

    /// The whole body as text.
    ///
    /// # Errors
    /// [`ClientError::Broken`] when it ends early, is too long or is not UTF-8.
    pub fn into_text(self) -> Result<String, ClientError> {
        let url = self.url;
        self.body
            .into_with_config()
            .limit(JSON_BYTES_MAX)
            .read_to_string()
            .map_err(|source| ClientError::Broken { url, source: source.into_io() })
    }

    /// The whole body as JSON; an empty one is `null`.
    ///
    /// # Errors
    /// [`ClientError::Broken`] when it ends early or is too long, [`ClientError::Unexpected`]
    /// when it is not JSON.
    pub fn into_json(self) -> Result<Value, ClientError> {
        let url = self.url.clone();
        let text = self.into_text()?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| ClientError::Unexpected {
            url,
            reason: format!("JSON was expected: {error}"),
        })
    }

    /// What a failed answer says, in whatever shape it came.
    #[must_use]
    pub fn into_refusal(self) -> Refusal {
        let status = self.status.as_u16();
        let request_id = self.header("x-request-id").map(str::to_owned);
        let retry_after_s = self.header("retry-after").and_then(|value| value.parse().ok());
        // The status decides; a body that cannot be read only costs its explanation.
        let text = self.into_text().unwrap_or_default();
        Refusal { request_id, retry_after_s, ..Refusal::read(status, &text) }
    }
}

/// Whether a host, as an address names it, is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
