//! An API key or operator token that does not show itself in debug output.

use std::fmt;

use http::HeaderValue;

use super::ClientError;

/// A bearer secret. It is printed only where a person asked for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text, without the white space that a file or a paste brings along.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The secret itself, to be stored or printed on purpose.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The value of an `Authorization` header.
    ///
    /// # Errors
    /// [`ClientError::BadSecret`] when it holds characters that no header may carry.
    pub(crate) fn bearer(&self) -> Result<HeaderValue, ClientError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0))
            .map_err(|source| ClientError::BadSecret { source })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
