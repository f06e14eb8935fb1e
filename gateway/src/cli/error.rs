//! Why a command failed: what to tell the person, and the exit code for a script.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::client::{ClientError, Refusal};
use crate::hub::HubError;
use crate::manifest::ManifestError;

/// The exit codes of every command, as `--help` explains them.
pub(super) const EXIT_CODES: &str = "Exit codes:
  0   done
  1   failed, here or inside the server
  2   the command line is wrong
  3   refused by the server: a key, credits, a name, a limit (any 4xx)
  64  the configuration is wrong: emberbox.toml, the server's file, a setting";

/// A command that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments contradict each other or the situation.
    #[error("{0}")]
    Usage(String),
    /// A setting or a configuration file is wrong.
    #[error("{what}")]
    Configuration {
        /// What is wrong, and where.
        what: String,
        /// What to do about it.
        next: String,
    },
    /// The function's manifest is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The server said no, or could not be talked to.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A model could not be pulled from its hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The answer could not be printed.
    #[error("the output cannot be written: {0}")]
    Output(#[source] std::io::Error),
    /// The demo has shown and reported what did not hold.
    #[error("{0}")]
    Demo(String),
    /// Anything else that failed.
    #[error("{what}")]
    Failed {
        /// What happened.
        what: String,
        /// What to do about it, or nothing when there is nothing to say.
        next: String,
    },
}

impl CliError {
    /// The number that a script sees.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Configuration { .. } | Self::Manifest(_) => 64,
            Self::Client(ClientError::Refused(refusal)) if refused(refusal) => 3,
            Self::Client(ClientError::BadUrl { .. } | ClientError::BadSecret { .. }) => 64,
            Self::Hub(error) => error.exit_code(),
            Self::Client(_) | Self::File { .. } | Self::Output(_) => 1,
            Self::Demo(_) | Self::Failed { .. } => 1,
        }
    }

    /// Whether the reader of our output went away: `emberbox logs f | head` is no failure.
    #[must_use]
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// What to do next, if there is something to say.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        match self {
            Self::Configuration { next, .. } | Self::Failed { next, .. } => {
                (!next.is_empty()).then(|| next.clone())
            }
            Self::Usage(_) => Some("see `emberbox COMMAND --help`".to_owned()),
            Self::Manifest(_) => Some("correct emberbox.toml and try again".to_owned()),
            Self::Client(error) => after_client_error(error),
            Self::Hub(error) => error.next(),
            Self::File { .. } | Self::Output(_) | Self::Demo(_) => None,
        }
    }

    /// Whether programs have been told already, so that nothing follows the last line.
    #[must_use]
    pub fn is_reported(&self) -> bool {
        matches!(self, Self::Demo(_))
    }

    /// The error for `--json`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut error = match self {
            Self::Client(ClientError::Refused(refusal)) => refusal.to_json(),
            other => json!({ "message": other.to_string() }),
        };
        error["exit_code"] = json!(self.exit_code());
        error["next"] = json!(self.next());
        json!({ "error": error })
    }
}

/// A 4xx is the server's no; a 5xx, or an error inside a stream, is a call that failed.
fn refused(refusal: &Refusal) -> bool {
    (400..500).contains(&refusal.status)
}

fn after_client_error(error: &ClientError) -> Option<String> {
    match error {
        ClientError::Refused(refusal) => after_refusal(refusal),
        ClientError::Unreachable { .. } => Some(
            "start one with `emberbox serve`, or name another with --url or EMBERBOX_URL"
                .to_owned(),
        ),
        ClientError::BadUrl { .. } => {
            Some("an address looks like http://127.0.0.1:8080".to_owned())
        }
        ClientError::BadSecret { .. } => {
            Some("copy it again: a key is eb_ and 43 letters and digits".to_owned())
        }
        ClientError::Broken { .. } | ClientError::Unexpected { .. } => None,
    }
}

fn after_refusal(refusal: &Refusal) -> Option<String> {
    let next = match (refusal.status, refusal.code.as_deref()) {
        (401, _) => "give a valid key with EMBERBOX_API_KEY, --key or `emberbox login`",
        (402, _) => "see `emberbox credits`; an operator adds some with `emberbox credits add`",
        (403, _) => "`emberbox keys` shows the role of each key; use one that may do this",
        (404, Some("function_not_found")) => "`emberbox functions` lists what is deployed",
        (404, Some("model_not_found")) => "`emberbox models` lists what can be used",
        (429 | 503, _) => {
            let wait_s = refusal.retry_after_s?;
            return Some(format!("try again in {wait_s} s"));
        }
        (500, Some("guest_trap")) | (504, Some("deadline_exceeded")) => {
            "`emberbox logs FUNCTION` shows what the function's author is told of it"
        }
        (500..=599, _) => {
            let request_id = refusal.request_id.as_deref()?;
            return Some(format!("the server's log has it under request {request_id}"));
        }
        _ => return None,
    };
    Some(next.to_owned())
}
