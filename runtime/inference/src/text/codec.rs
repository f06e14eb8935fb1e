use std::sync::OnceLock;

use emberbox_sampling::{Constraint, Grammar, GrammarError, Vocabulary};

use super::library::Library;
use super::sentencepiece::{SPACE, SentencePiece};

/// A token that is matched as a whole in what a template writes, and never in a user's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) id: u32,
    pub(crate) text: String,
    /// Takes the white space before it along.
    pub(crate) strips_left: bool,
    /// Takes the white space after it along.
    pub(crate) strips_right: bool,
}

/// Encodes text, and knows the bytes of every token.
pub(crate) struct Codec {
    encoder: Encoder,
    /// Longest first, so that the first match is the longest.
    controls: Vec<Control>,
    /// Bytes that a control token starts with.
    first_bytes: [bool; 256],
    /// Tokens that no text shows.
    silent: Vec<bool>,
    words: Words,
    prefix: Vec<u32>,
    ends: Vec<u32>,
    /// The tokens as grammars see them, made when first needed.
    grammars: OnceLock<Result<Vocabulary, GrammarError>>,
}

/// What makes tokens of plain text.
pub(crate) enum Encoder {
    /// A `tokenizer.json`, set up to leave control tokens alone.
    Library(Box<Library>),
    /// GGUF's vocabularies with scores.
    SentencePiece(Box<SentencePiece>),
}

/// What every token of a vocabulary stands for.
#[derive(Debug, Default)]
pub(crate) struct Words {
    bytes: Vec<u8>,
    /// Where each ends in `bytes`.
    ends: Vec<u32>,
}

/// How a vocabulary spells bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// GPT-2's printable stand-ins for all 256 bytes.
    ByteLevel,
    /// SentencePiece: `▁` for a space, `<0x0A>` for a byte.
    SentencePiece,
}

/// What a codec is made from.
pub(crate) struct Parts {
    pub(crate) encoder: Encoder,
    /// As many as the network's embedding has rows.
    pub(crate) words: Words,
    pub(crate) controls: Vec<Control>,
    /// Tokens before a plain text, such as the beginning of a sequence.
    pub(crate) prefix: Vec<u32>,
    /// Tokens that end a sequence.
    pub(crate) ends: Vec<u32>,
}

impl Codec {
    /// Checks that all tokens are in the vocabulary.
    ///
    /// # Errors
    /// The reason why the tokenizer does not fit the network.
    pub(crate) fn new(parts: Parts) -> Result<Self, String> {
        let Parts { encoder, words, mut controls, prefix, mut ends } = parts;
        let vocabulary = words.ends.len();
        let outside = |id: &u32| *id as usize >= vocabulary;
        let named = controls.iter().map(|c| c.id).chain(prefix.iter().chain(&ends).copied());
        if let Some(id) = named.into_iter().find(|id| outside(id)) {
            return Err(format!("token {id} is outside the vocabulary of {vocabulary}"));
        }
        controls.retain(|control| !control.text.is_empty());
        controls.sort_by(|a, b| b.text.len().cmp(&a.text.len()).then(a.id.cmp(&b.id)));
        ends.sort_unstable();
        ends.dedup();
        let mut first_bytes = [false; 256];
        let mut silent = vec![false; vocabulary];
        for control in &controls {
            first_bytes[control.text.as_bytes()[0] as usize] = true;
            silent[control.id as usize] = true;
        }
        let grammars = OnceLock::new();
        Ok(Self { encoder, controls, first_bytes, silent, words, prefix, ends, grammars })
    }

    /// Number of tokens.
    pub(crate) fn vocabulary(&self) -> usize {
        self.words.ends.len()
    }

    /// What a token stands for; nothing for a control token.
    pub(crate) fn bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        match self.silent.get(id) {
            Some(false) => self.words.get(id),
            _ => &[],
        }
    }

    /// The spelling of a control token.
    pub(crate) fn control(&self, id: u32) -> Option<&str> {
        let control = self.controls.iter().find(|control| control.id == id);
        control.map(|control| control.text.as_str())
    }

    /// The control token that is spelled so.
    pub(crate) fn control_id(&self, text: &str) -> Option<u32> {
        self.controls.iter().find(|control| control.text == text).map(|control| control.id)
    }

    /// Compiles what an output must follow; slow the first time, and for a large grammar.
    pub(crate) fn constrain(&self, grammar: &Grammar) -> Result<Constraint, GrammarError> {
        let vocabulary = self.grammars.get_or_init(|| {
            let tokens = (0..self.vocabulary() as u32).map(|id| self.bytes(id));
            Vocabulary::new(tokens, &self.ends)
        });
        vocabulary.as_ref().map_err(Clone::clone)?.constrain(grammar)
    }

    /// Whether a token ends a sequence.
    pub(crate) fn ends(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// A whole prompt of plain text: control tokens spelled out in it stay text.
    pub(crate) fn encode_text(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut tokens = self.prefix.clone();
        self.encoder.encode((text, true), &mut tokens)?;
        Ok(tokens)
    }

    /// What a template wrote: its control tokens count. `guard` is a character that was put into
    /// whatever a user spelled like one; it is taken out again.
    pub(crate) fn encode_rendered(&self, text: &str, guard: char) -> Result<Vec<u32>, String> {
        let mut tokens = Vec::new();
        let mut rest = text;
        let mut strip = false;
        loop {
            let found = self.find_control(rest);
            let (at, control) = found.map_or((rest.len(), None), |(at, c)| (at, Some(c)));
            let mut plain = &rest[..at];
            if strip {
                plain = plain.trim_start();
            }
            if control.is_some_and(|c| c.strips_left) {
                plain = plain.trim_end();
            }
            let first = tokens.is_empty();
            self.encoder.encode((&plain.replace(guard, ""), first), &mut tokens)?;
            let Some(control) = control else { return Ok(tokens) };
            tokens.push(control.id);
            strip = control.strips_right;
            rest = &rest[at + control.text.len()..];
        }
    }

    /// Puts `guard` inside everything in a user's text that is spelled like a control token.
    pub(crate) fn guard(&self, text: &str, guard: char) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, control)) = self.find_control(rest) {
            let first = control.text.chars().next().map_or(1, char::len_utf8);
            let (before, after) = rest.split_at(at + first);
            out.push_str(before);
            out.push(guard);
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// The first control token in a text, the longest of those that start there.
    fn find_control(&self, text: &str) -> Option<(usize, &Control)> {
        let bytes = text.as_bytes();
        (0..bytes.len()).filter(|at| self.first_bytes[bytes[*at] as usize]).find_map(|at| {
            let here = |c: &&Control| bytes[at..].starts_with(c.text.as_bytes());
            self.controls.iter().find(here).map(|control| (at, control))
        })
    }
}

impl Encoder {
    /// Adds a text's tokens; it may be the first of a whole.
    fn encode(&self, (text, first): (&str, bool), tokens: &mut Vec<u32>) -> Result<(), String> {
        match self {
            _ if text.is_empty() => {}
            Self::SentencePiece(pieces) => pieces.encode(text, tokens),
            Self::Library(library) => tokens.extend(library.encode(text, first)?),
        }
        Ok(())
    }
}

impl Words {
    /// Adds what the next token stands for.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len() as u32);
    }

    fn get(&self, id: usize) -> &[u8] {
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[id] as usize]
    }
}

/// The bytes that a vocabulary's entry stands for.
pub(crate) fn spell(token: &str, spelling: Spelling, out: &mut Vec<u8>) {
    match spelling {
        Spelling::ByteLevel => {
            let start = out.len();
            for c in token.chars() {
                let Some(byte) = byte_of(c) else {
                    // An added token may hold any character; then all of it stands for itself.
                    out.truncate(start);
                    out.extend_from_slice(token.as_bytes());
                    return;
                };
                out.push(byte);
            }
        }
        Spelling::SentencePiece => match byte_token(token) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(token.replace(SPACE, " ").as_bytes()),
        },
    }
}

/// The byte that SentencePiece writes as `<0x0A>`.
pub(crate) fn byte_token(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let digits = hex.len() == 2 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    u8::from_str_radix(hex, 16).ok().filter(|_| digits)
}

/// The byte that GPT-2's alphabet writes as `c`: printable Latin-1 is itself, and the other 68
/// bytes follow from U+0100 in order.
fn byte_of(c: char) -> Option<u8> {
    let printable = |b: u32| matches!(b, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = u32::from(c);
    if code < 0x100 {
        return printable(code).then_some(code as u8);
    }
    (0..0x100).filter(|b| !printable(*b)).nth((code - 0x100) as usize).map(|b| b as u8)
}

#[cfg(test)]
mod tests;
