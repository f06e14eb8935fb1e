//! Server-sent events, as `stream: true` answers with them.

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

use super::{ClientError, Refusal};

/// The longest line of a stream: an event holds a few tokens and never comes near it.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// The JSON documents of a stream, up to its `[DONE]`.
///
/// An error inside the stream, and an end without `[DONE]`, are errors: what was printed before
/// them must not pass for a whole answer.
#[derive(Debug)]
pub struct Events<R> {
    url: String,
    lines: BufReader<R>,
    ended: bool,
}

impl<R: Read> Events<R> {
    pub(super) fn new(url: String, body: R) -> Self {
        Self { url, lines: BufReader::new(body), ended: false }
    }

    /// The next line, without its end; `None` at the end of the body.
    fn line(&mut self) -> Result<Option<String>, ClientError> {
        let mut bytes = Vec::new();
        let read = self.lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
        match read {
            Ok(0) => Ok(None),
            Ok(_) if bytes.ends_with(b"\n") => {
                Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()))
            }
            Ok(_) => Err(self.unexpected("a line of the stream is cut or too long")),
            Err(source) => Err(ClientError::Broken { url: self.url.clone(), source }),
        }
    }

    fn unexpected(&self, reason: &str) -> ClientError {
        ClientError::Unexpected { url: self.url.clone(), reason: reason.to_owned() }
    }

    /// The next document; `None` after `[DONE]`.
    fn document(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            let Some(line) = self.line()? else {
                return Err(self.unexpected("the stream ended without [DONE]"));
            };
            // Empty lines end an event, lines with a leading colon keep the connection alive.
            let Some(data) = line.strip_prefix("data:") else { continue };
            let data = data.trim();
            if data == "[DONE]" {
                return Ok(None);
            }
            let document: Value = serde_json::from_str(data)
                .map_err(|error| self.unexpected(&format!("an event is not JSON: {error}")))?;
            return match Refusal::from_json(200, &document) {
                Some(refusal) => Err(ClientError::Refused(Box::new(refusal))),
                None => Ok(Some(document)),
            };
        }
    }
}

impl<R: Read> Iterator for Events<R> {
    type Item = Result<Value, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let document = self.document();
        self.ended = !matches!(document, Ok(Some(_)));
        document.transpose()
    }
}
