use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use emberbox_sampling::{Constraint, Grammar, GrammarError, Vocabulary};
use tokenizers::Tokenizer;

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
    /// Set up to leave control tokens alone.
    tokenizer: Tokenizer,
    /// Longest first, so that the first match is the longest.
    controls: Vec<Control>,
    /// Bytes that a control token starts with.
    first_bytes: [bool; 256],
    /// `bytes[starts[id]..starts[id + 1]]` is what token `id` stands for.
    bytes: Vec<u8>,
    starts: Vec<u32>,
    prefix: Vec<u32>,
    ends: Vec<u32>,
    /// The tokens as grammars see them, made when first needed.
    grammars: OnceLock<Result<Vocabulary, GrammarError>>,
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
    pub(crate) tokenizer: Tokenizer,
    pub(crate) spelling: Spelling,
    pub(crate) controls: Vec<Control>,
    /// Tokens before a plain text, such as the beginning of a sequence.
    pub(crate) prefix: Vec<u32>,
    /// Tokens that end a sequence.
    pub(crate) ends: Vec<u32>,
    /// Rows of the network's embedding.
    pub(crate) vocabulary: usize,
}

impl Codec {
    /// Reads every token's bytes.
    ///
    /// # Errors
    /// The reason why the tokenizer does not fit the network.
    pub(crate) fn new(parts: Parts) -> Result<Self, String> {
        let Parts { mut tokenizer, spelling, mut controls, prefix, mut ends, vocabulary } = parts;
        let outside = |id: &u32| *id as usize >= vocabulary;
        let named = controls.iter().map(|c| c.id).chain(prefix.iter().chain(&ends).copied());
        if let Some(id) = named.into_iter().find(|id| outside(id)) {
            return Err(format!("token {id} is outside the vocabulary of {vocabulary}"));
        }
        tokenizer.set_encode_special_tokens(true);
        controls.retain(|control| !control.text.is_empty());
        controls.sort_by(|a, b| b.text.len().cmp(&a.text.len()).then(a.id.cmp(&b.id)));
        ends.sort_unstable();
        ends.dedup();
        let mut first_bytes = [false; 256];
        for control in &controls {
            first_bytes[control.text.as_bytes()[0] as usize] = true;
        }
        let mut silent = vec![false; vocabulary];
        for control in &controls {
            silent[control.id as usize] = true;
        }
        let mut bytes = Vec::new();
        let mut starts = vec![0];
        for id in 0..vocabulary as u32 {
            if !silent[id as usize] {
                spell(&tokenizer.id_to_token(id).unwrap_or_default(), spelling, &mut bytes);
            }
            starts.push(bytes.len() as u32);
        }
        let grammars = OnceLock::new();
        Ok(Self { tokenizer, controls, first_bytes, bytes, starts, prefix, ends, grammars })
    }

    /// Number of tokens.
    pub(crate) fn vocabulary(&self) -> usize {
        self.starts.len() - 1
    }

    /// What a token stands for; nothing for a control token.
    pub(crate) fn bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        match (self.starts.get(id), self.starts.get(id + 1)) {
            (Some(start), Some(end)) => &self.bytes[*start as usize..*end as usize],
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
        self.encode_into(text, &mut tokens)?;
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
            self.encode_into(&plain.replace(guard, ""), &mut tokens)?;
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

    fn encode_into(&self, text: &str, tokens: &mut Vec<u32>) -> Result<(), String> {
        if text.is_empty() {
            return Ok(());
        }
        tokens.extend(encode(&self.tokenizer, text, false)?);
        Ok(())
    }
}

/// Encodes without trusting the library not to panic on a hostile tokenizer or text.
pub(crate) fn encode(tokenizer: &Tokenizer, text: &str, frame: bool) -> Result<Vec<u32>, String> {
    let encode = || tokenizer.encode_fast(text, frame).map(|encoding| encoding.get_ids().to_vec());
    match catch_unwind(AssertUnwindSafe(encode)) {
        Ok(Ok(ids)) => Ok(ids),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the tokenizer failed on this text".to_owned()),
    }
}

/// Parses a `tokenizer.json`.
pub(crate) fn parse(json: &[u8]) -> Result<Tokenizer, String> {
    let mut tokenizer = match catch_unwind(|| Tokenizer::from_bytes(json)) {
        Ok(Ok(tokenizer)) => tokenizer,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("the tokenizer cannot be built".to_owned()),
    };
    // Lengths are our business: a file's own truncation would hide what was cut.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
    tokenizer.set_encode_special_tokens(true);
    Ok(tokenizer)
}

/// The bytes that a vocabulary's entry stands for.
fn spell(token: &str, spelling: Spelling, out: &mut Vec<u8>) {
    match spelling {
        Spelling::ByteLevel => {
            for c in token.chars() {
                match byte_of(c) {
                    Some(byte) => out.push(byte),
                    // An added token may hold any character; it stands for itself.
                    None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
        }
        Spelling::SentencePiece => {
            let hex = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
            match hex.filter(|h| h.len() == 2).map(|hex| u8::from_str_radix(hex, 16)) {
                Some(Ok(byte)) => out.push(byte),
                _ => out.extend_from_slice(token.replace('▁', " ").as_bytes()),
            }
        }
    }
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
