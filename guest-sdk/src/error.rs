//! What can go wrong, said so that the function's author or its caller knows what to do.

use std::fmt;

/// An error of a function. Returned from the handler it becomes the response: its status, and the
/// JSON shape of all of Emberbox's errors, `{"error":{"message","type","param","code"}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The function's manifest does not grant this model.
    ModelNotGranted {
        /// The name given to [`Model::load`](crate::Model::load).
        model: String,
    },
    /// The platform has no model of this name.
    ModelNotFound {
        /// The name given to [`Model::load`](crate::Model::load).
        model: String,
    },
    /// The call has spent what its manifest allows it, or what the caller can pay.
    BudgetExhausted(String),
    /// The prompt and the answer asked for do not fit the model's context.
    ContextLength(String),
    /// The model does not accept what it was given: an option, a tensor's shape, a kind of task.
    Invalid(String),
    /// A tensor or a request is over a byte limit.
    TooLarge(String),
    /// The platform is busy; the same call may work later.
    Overloaded(String),
    /// The call's time is up.
    Deadline(String),
    /// The model failed for a reason that is neither the caller's nor the function's.
    Model(String),
    /// Models exist only inside Emberbox; this is a native build.
    OutsideEmberbox,
    /// Any other answer that is an error, made with [`Error::new`].
    Answer {
        /// The HTTP status.
        status: u16,
        /// A short stable name that programs can compare.
        code: &'static str,
        /// What happened and what to do, for people.
        message: String,
        /// The parameter or field at fault.
        param: Option<String>,
    },
}

impl Error {
    /// An error that answers with this HTTP status.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self::Answer { status, code, message: message.into(), param: None }
    }

    /// 400: the caller asked for something that makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request", message)
    }

    /// 404: there is nothing at this path.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "not_found", message)
    }

    /// 500: the function itself failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "function_failed", message)
    }

    /// The same error, naming the parameter or field at fault (only [`Error::Answer`] has one).
    #[must_use]
    pub fn at(mut self, name: impl Into<String>) -> Self {
        if let Self::Answer { param, .. } = &mut self {
            *param = Some(name.into());
        }
        self
    }

    /// The HTTP status that the error answers with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::ModelNotGranted { .. } => 403,
            Self::ModelNotFound { .. } => 404,
            Self::BudgetExhausted(_) => 402,
            Self::ContextLength(_) | Self::Invalid(_) => 400,
            Self::TooLarge(_) => 413,
            Self::Overloaded(_) => 503,
            Self::Deadline(_) => 504,
            Self::Model(_) | Self::OutsideEmberbox => 500,
            Self::Answer { status, .. } => *status,
        }
    }

    /// The short stable name that programs can compare.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ModelNotGranted { .. } => "model_not_allowed",
            Self::ModelNotFound { .. } => "model_not_found",
            Self::BudgetExhausted(_) => "budget_exhausted",
            Self::ContextLength(_) => "context_length_exceeded",
            Self::Invalid(_) => "invalid_request",
            Self::TooLarge(_) => "request_too_large",
            Self::Overloaded(_) => "server_overloaded",
            Self::Deadline(_) => "deadline_exceeded",
            Self::Model(_) => "model_failed",
            Self::OutsideEmberbox => "outside_emberbox",
            Self::Answer { code, .. } => code,
        }
    }

    /// The parameter or field at fault, if the error names one.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Answer { param, .. } => param.as_deref(),
            _ => None,
        }
    }

    /// The body that the error answers with.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let kind = if self.status() < 500 { "invalid_request_error" } else { "function_error" };
        serde_json::json!({ "error": {
            "message": self.to_string(), "type": kind, "param": self.param(), "code": self.code(),
        } })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ModelNotGranted { model } => write!(
                f,
                "the model {model:?} is not granted to this function: add it to `models` in \
                 emberbox.toml and deploy again"
            ),
            Self::ModelNotFound { model } => write!(
                f,
                "there is no model {model:?} here: `emberbox models` lists those there are, and \
                 `emberbox models add {model} PATH` adds one"
            ),
            Self::BudgetExhausted(why) => write!(
                f,
                "the call's budget is spent ({why}): ask for less, or raise `max_cost_per_call` in \
                 emberbox.toml"
            ),
            Self::ContextLength(why) => write!(
                f,
                "the prompt and the answer do not fit the model's context ({why}): shorten the \
                 prompt or lower max_tokens"
            ),
            Self::Invalid(why) => write!(f, "the model does not accept this: {why}"),
            Self::TooLarge(why) => write!(f, "too large: {why}"),
            Self::Overloaded(why) => write!(f, "the platform is busy, try again later: {why}"),
            Self::Deadline(why) => write!(
                f,
                "the call's time is up ({why}): do less, or raise `wall_ms` under [limits] in \
                 emberbox.toml"
            ),
            Self::Model(why) => write!(f, "the model failed: {why}"),
            Self::OutsideEmberbox => f.write_str(
                "models exist only inside Emberbox: build for wasm32-wasip2 and deploy the function",
            ),
            Self::Answer { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

impl From<serde_json::Error> for Error {
    /// JSON that the function wrote or read by itself: its own failure. For the caller's JSON use
    /// [`Request::json`](crate::Request::json), which answers 400.
    fn from(error: serde_json::Error) -> Self {
        Self::internal(format!("JSON: {error}"))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error.to_string())
    }
}
