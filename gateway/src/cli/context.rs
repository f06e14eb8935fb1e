//! What every command gets: its settings, its output, and connections made from them.

use serde_json::Value;

use super::error::CliError;
use super::output::Output;
use super::settings::{DataFlag, Settings};
use crate::client::Client;
use crate::manifest::check_name;

/// The surroundings of one command.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) settings: Settings,
    pub(super) out: Output,
}

impl Context {
    /// A connection to the public listener, with the user's key.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        let Some(key) = self.settings.key.clone() else {
            return Err(CliError::Configuration {
                what: "no API key is set".to_owned(),
                next: "export EMBERBOX_API_KEY=eb_…, as `emberbox serve` printed it at its first \
                       start, or use `emberbox login`"
                    .to_owned(),
            });
        };
        Ok(Client::new(&self.settings.url, Some(key))?)
    }

    /// A connection to the admin listener, with the operator's token.
    pub(super) fn admin(&self, data: &DataFlag) -> Result<Client, CliError> {
        let token = self.settings.operator_token(data)?;
        Ok(Client::new(&self.settings.admin_url, Some(token))?)
    }

    /// The name of the organisation that the user's key belongs to.
    pub(super) fn organisation(&self) -> Result<String, CliError> {
        let me = self.client()?.get("/v1/me")?;
        me.pointer("/org/name").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| {
            CliError::Failed {
                what: format!("{} does not say whose key this is", self.settings.url),
                next: "check that it is an Emberbox server of this version".to_owned(),
            }
        })
    }
}

/// A function as a command names it: `name`, or `owner/name` for one of another organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FunctionName {
    pub(super) owner: Option<String>,
    pub(super) name: String,
}

impl FunctionName {
    /// Reads `name` or `owner/name`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (owner, name) = match text.split_once('/') {
            Some((owner, name)) => (Some(owner), name),
            None => (None, text),
        };
        check_name(name)?;
        match owner {
            Some(owner) if is_plain(owner) => {
                Ok(Self { owner: Some(owner.to_owned()), name: name.to_owned() })
            }
            Some(_) => Err("a function is NAME or OWNER/NAME".to_owned()),
            None => Ok(Self { owner: None, name: name.to_owned() }),
        }
    }
}

/// A name of the user's own function.
pub(super) fn own_function(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

/// An id or name that can stand in an address as it is.
pub(super) fn plain(text: &str) -> Result<String, String> {
    if is_plain(text) {
        return Ok(text.to_owned());
    }
    Err("only letters, digits, '-', '_' and '.' are allowed".to_owned())
}

fn is_plain(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && !text.starts_with('.') && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_named_with_or_without_their_owner() {
        for (text, expected) in [
            ("hello", Some((None, "hello"))),
            ("acme/hello", Some((Some("acme"), "hello"))),
            ("", None),
            ("/hello", None),
            ("acme/", None),
            ("a/b/c", None),
            ("../hello", None),
            ("acme/Hello", None),
        ] {
            let parsed = FunctionName::parse(text).ok();
            let expected = expected.map(|(owner, name)| FunctionName {
                owner: owner.map(str::to_owned),
                name: name.to_owned(),
            });
            assert_eq!(parsed, expected, "{text}");
        }
    }
}
