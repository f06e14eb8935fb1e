//! What can go wrong between this program and a hub.

use std::path::PathBuf;

/// Why a model was not pulled. Nothing in it shows the token, or an address with a signature.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The hub's address cannot be used.
    #[error("{url:?} is not the address of a hub: {reason}")]
    Endpoint {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The token cannot be sent.
    #[error("the hub's token holds characters that cannot be sent")]
    Token,
    /// The hub shows this repository only to those whom it knows and who have accepted its terms.
    #[error("{what}")]
    Denied {
        /// Which repository, and how the hub put it.
        what: String,
        /// The page where a person gets access.
        page: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// There is no such repository, revision or file.
    #[error("{0}")]
    NotFound(String),
    /// The hub wants fewer requests.
    #[error("{host} wants fewer requests (429)")]
    Busy {
        /// Who said so.
        host: String,
        /// How many seconds it wants to be left alone, if it said so.
        retry_after_s: Option<u64>,
    },
    /// No good answer came, also when asked again.
    #[error("{host}: {reason}")]
    Unavailable {
        /// Who was asked.
        host: String,
        /// What came instead.
        reason: String,
    },
    /// The hub says what no hub should: it is not one, or means harm.
    #[error("the hub's answer is refused, and nothing was downloaded: {0}")]
    Refused(String),
    /// The repository has nothing that can be served.
    #[error("{0}")]
    Unsuitable(String),
    /// The repository has several models, and none was chosen.
    #[error("{what}:\n  {}", options.join("\n  "))]
    Choose {
        /// What there are several of.
        what: String,
        /// What can be chosen from.
        options: Vec<String>,
    },
    /// What came is not what the hub has.
    #[error("{file} is broken: {what}; what had come of it is deleted")]
    Broken {
        /// Its path in the repository.
        file: String,
        /// How it differs.
        what: String,
    },
    /// Somebody else pulls the same repository.
    #[error("another pull is at work in {}", .0.display())]
    InUse(PathBuf),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl HubError {
    /// The number that a script sees, by the same rules as for a server's errors.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Choose { .. } => 2,
            Self::Denied { .. } | Self::NotFound(_) | Self::Busy { .. } => 3,
            Self::Endpoint { .. } | Self::Token => 64,
            Self::Unavailable { .. } | Self::Refused(_) | Self::Unsuitable(_) => 1,
            Self::Broken { .. } | Self::InUse(_) | Self::File { .. } => 1,
        }
    }

    /// What to do next, if there is something to say.
    pub(crate) fn next(&self) -> Option<String> {
        let again = "pull again: it goes on where it stopped";
        Some(match self {
            Self::Endpoint { .. } => {
                "set HF_ENDPOINT to an https:// address, or unset it".to_owned()
            }
            Self::Token => "set HF_TOKEN again, as the hub shows it".to_owned(),
            Self::Denied { page, with_token: false, .. } => format!(
                "check the name; if the model is private or gated, ask for access at {page} and \
                 set HF_TOKEN to a token of yours that may read"
            ),
            Self::Denied { page, .. } => format!(
                "check the name, ask for access at {page}, and see that the token in HF_TOKEN is \
                 valid and may read gated models"
            ),
            Self::NotFound(_) => "check the name and the revision: hf:ORG/NAME@REVISION".to_owned(),
            Self::Busy { retry_after_s: Some(wait_s), .. } => {
                format!("pull again in {wait_s} s: it goes on where it stopped")
            }
            Self::Busy { .. } | Self::Unavailable { .. } => again.to_owned(),
            Self::Choose { .. } => {
                "name one after a colon, in whole or by a part: hf:ORG/NAME:Q4_K_M".to_owned()
            }
            Self::Broken { .. } => "pull again: the file is downloaded anew".to_owned(),
            Self::InUse(_) => "wait for it, or end it".to_owned(),
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "make room, or name another disk with --folder, and pull again".to_owned()
            }
            Self::Refused(_) | Self::Unsuitable(_) | Self::File { .. } => return None,
        })
    }
}
