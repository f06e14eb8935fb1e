use crate::api::TokenLogprobs;

/// Text on its way to a client.
///
/// Bytes wait until they are whole characters, and text waits while it could still become a stop
/// string. The tokens that it came from wait with it.
#[derive(Debug, Default)]
pub(crate) struct Output {
    stops: Vec<String>,
    bytes: Vec<u8>,
    text: String,
    tokens: Vec<u32>,
    logprobs: Vec<TokenLogprobs>,
}

/// What a token brought.
#[derive(Debug, PartialEq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) tokens: Vec<u32>,
    pub(crate) logprobs: Vec<TokenLogprobs>,
}

impl Output {
    /// Empty stop strings would stop everything and are dropped; the caller refuses them first.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        Self { stops, ..Self::default() }
    }

    /// Takes a token; gives what can be shown now, and whether a stop string ended the text.
    pub(crate) fn push(
        &mut self,
        token: u32,
        bytes: &[u8],
        logprobs: Option<TokenLogprobs>,
    ) -> (Option<Piece>, bool) {
        self.tokens.push(token);
        self.logprobs.extend(logprobs);
        self.bytes.extend_from_slice(bytes);
        self.decode(false);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.text.find(stop)).min() {
            self.text.truncate(at);
            self.bytes.clear();
            return (Some(self.take(at)), true);
        }
        let held = self.held();
        let ready = self.text.len() - held;
        let nothing = ready == 0 && (held > 0 || !self.bytes.is_empty());
        ((!nothing).then(|| self.take(ready)), false)
    }

    /// What still waits, at the end.
    pub(crate) fn finish(&mut self) -> Option<Piece> {
        self.decode(true);
        let len = self.text.len();
        (len > 0 || !self.tokens.is_empty()).then(|| self.take(len))
    }

    fn take(&mut self, len: usize) -> Piece {
        let rest = self.text.split_off(len);
        Piece {
            text: std::mem::replace(&mut self.text, rest),
            tokens: std::mem::take(&mut self.tokens),
            logprobs: std::mem::take(&mut self.logprobs),
        }
    }

    /// Moves whole characters from `bytes` to `text`; bytes that can never be one become U+FFFD.
    fn decode(&mut self, last: bool) {
        let mut rest = self.bytes.as_slice();
        let mut keep = 0;
        for chunk in self.bytes.utf8_chunks() {
            self.text.push_str(chunk.valid());
            rest = &rest[chunk.valid().len() + chunk.invalid().len()..];
            let cut = rest.is_empty() && incomplete(chunk.invalid()) && !last;
            if cut {
                keep = chunk.invalid().len();
            } else if !chunk.invalid().is_empty() {
                self.text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.bytes.drain(..self.bytes.len() - keep);
    }

    /// Bytes at the end of the text that a stop string may start with.
    fn held(&self) -> usize {
        let text = self.text.as_bytes();
        let overlap = |stop: &String| {
            let longest = text.len().min(stop.len() - 1);
            (1..=longest).rev().find(|len| text.ends_with(&stop.as_bytes()[..*len]))
        };
        self.stops.iter().filter_map(overlap).max().unwrap_or(0)
    }
}

/// Whether bytes that are not a character could become one with more.
fn incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests;
