//! What can go wrong between this program and a server.

use serde_json::Value;

/// Why a request gave no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No server answered at the address.
    #[error("no Emberbox server answers at {url}: {source}")]
    Unreachable {
        /// The address that was tried.
        url: String,
        /// Why the connection failed.
        #[source]
        source: ureq::Error,
    },
    /// The server answered with an error.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// An answer began well and broke off.
    #[error("the answer of {url} broke off: {source}")]
    Broken {
        /// The address of the request.
        url: String,
        /// How the connection ended.
        #[source]
        source: std::io::Error,
    },
    /// An answer is not what this version of the program understands.
    #[error("{url} gave an answer that this version does not understand: {reason}")]
    Unexpected {
        /// The address of the request.
        url: String,
        /// What was expected instead.
        reason: String,
    },
    /// The address cannot be used.
    #[error("{url:?} is not the address of a server: {reason}")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The key or token cannot be sent.
    #[error("the API key holds characters that cannot be sent: {source}")]
    BadSecret {
        /// The header that it does not fit.
        #[source]
        source: http::header::InvalidHeaderValue,
    },
}

/// An error as servers write it: `{"error":{"message","type","param","code"}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status; 200 when the error came inside a stream that had begun.
    pub status: u16,
    /// What happened, for a person.
    pub message: String,
    /// The `type` of the error.
    pub kind: Option<String>,
    /// The field at fault.
    pub param: Option<String>,
    /// The code that programs decide by, such as `insufficient_credits`.
    pub code: Option<String>,
    /// The id to quote when asking the operator.
    pub request_id: Option<String>,
    /// How many seconds to wait before trying again.
    pub retry_after_s: Option<u64>,
}

/// How much of an answer that is not ours is repeated in an error.
const FOREIGN_CHARS_MAX: usize = 200;

impl Refusal {
    /// Reads the body of an answer with this status.
    #[must_use]
    pub fn read(status: u16, body: &str) -> Self {
        let parsed: Value = serde_json::from_str(body).unwrap_or(Value::Null);
        if let Some(refusal) = Self::from_json(status, &parsed) {
            return refusal;
        }
        let first_line = body.lines().map(str::trim).find(|line| !line.is_empty());
        let message = match first_line {
            Some(line) => line.chars().take(FOREIGN_CHARS_MAX).collect(),
            None => "the server gave no reason".to_owned(),
        };
        Self { message, ..Self::empty(status) }
    }

    /// Reads the `error` object of a document, if it has one.
    #[must_use]
    pub fn from_json(status: u16, document: &Value) -> Option<Self> {
        let error = document.get("error")?.as_object()?;
        let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            message: text("message")?,
            kind: text("type"),
            param: text("param"),
            code: text("code"),
            ..Self::empty(status)
        })
    }

    /// The error in the shape in which it came, for `--json`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
            "status": self.status,
            "request_id": self.request_id,
        })
    }

    fn empty(status: u16) -> Self {
        Self {
            status,
            message: String::new(),
            kind: None,
            param: None,
            code: None,
            request_id: None,
            retry_after_s: None,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match &self.code {
            Some(code) => write!(f, " ({} {code})", self.status),
            None => write!(f, " ({})", self.status),
        }
    }
}
