use std::fmt;
use std::str::FromStr;

use crate::CatalogError;

/// The longest name: it must fit a DNS label, because functions may become host names.
const NAME_CHARS_MAX: usize = 63;

/// The name of an organisation or a function: `[a-z][a-z0-9-]{0,62}`.
///
/// Such a name needs no escaping in a path, a host name, a file name or a log line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = CatalogError;

    fn from_str(text: &str) -> Result<Self, CatalogError> {
        match broken_rule(text) {
            None => Ok(Name(text.to_owned())),
            Some(reason) => {
                Err(CatalogError::InvalidName { name: text.chars().take(80).collect(), reason })
            }
        }
    }
}

fn broken_rule(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > NAME_CHARS_MAX {
        return Some("it is longer than 63 characters");
    }
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Some("it must start with a letter from a to z");
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.chars().all(allowed) {
        return Some("only a to z, 0 to 9 and '-' are allowed");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_one_rule() {
        let rows = [
            ("a", true),
            ("hello-2", true),
            (&"a".repeat(63), true),
            (&"a".repeat(64), false),
            ("", false),
            ("2fast", false),
            ("-x", false),
            ("Hello", false),
            ("a_b", false),
            ("a/b", false),
            ("..", false),
            ("é", false),
        ];
        for (text, valid) in rows {
            assert_eq!(text.parse::<Name>().is_ok(), valid, "{text:?}");
        }
    }
}
