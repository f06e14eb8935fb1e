//! The tokenizers that `tokenizer.json` describes, by the library that wrote it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;
use tokenizers::{PreTokenizerWrapper, Tokenizer};

use super::codec::{self, Codec, Control, Encoder, Parts, Spelling, Words};

/// A tokenizer that leaves control tokens alone.
pub(crate) struct Library {
    tokenizer: Tokenizer,
    /// For text that comes after a control token, where that makes a difference.
    inner: Option<Tokenizer>,
}

/// A tokenizer, with the JSON that it was made from, for a network with so many rows.
///
/// # Errors
/// The reason why it does not fit the network.
pub(crate) fn codec(
    tokenizer: Tokenizer,
    json: &Value,
    (vocabulary, ends): (usize, Vec<u32>),
) -> Result<Codec, String> {
    check_ids(&tokenizer, vocabulary)?;
    let spelling = spelling(json)?;
    let mut words = Words::default();
    for id in 0..vocabulary as u32 {
        let token = tokenizer.id_to_token(id).unwrap_or_default();
        words.push(|out| codec::spell(&token, spelling, out));
    }
    let prefix = prefix(&tokenizer)?;
    let encoder = Encoder::Library(Box::new(Library::new(tokenizer, json)?));
    Codec::new(Parts { encoder, words, controls: controls(json), prefix, ends })
}

impl Library {
    /// A tokenizer with the JSON that it was made from.
    pub(crate) fn new(tokenizer: Tokenizer, json: &Value) -> Result<Self, String> {
        let mut steps = json["pre_tokenizer"].clone();
        if !without_first_space(&mut steps) {
            return Ok(Self { tokenizer, inner: None });
        }
        let steps: PreTokenizerWrapper =
            serde_json::from_value(steps).map_err(|error| error.to_string())?;
        let mut inner = tokenizer.clone();
        inner.with_pre_tokenizer(Some(steps));
        Ok(Self { tokenizer, inner: Some(inner) })
    }
    /// A text's tokens; it may be the first of a whole.
    pub(crate) fn encode(&self, text: &str, first: bool) -> Result<Vec<u32>, String> {
        let inner = self.inner.as_ref().filter(|_| !first);
        encode(inner.unwrap_or(&self.tokenizer), text, false)
    }
}

/// Takes out the space that goes before the first word only: for the library, any text that it is
/// given has one. Says whether there was one.
fn without_first_space(step: &mut Value) -> bool {
    if let Some(steps) = step.get_mut("pretokenizers").and_then(Value::as_array_mut) {
        return steps.iter_mut().fold(false, |changed, step| without_first_space(step) | changed);
    }
    match step.get_mut("prepend_scheme") {
        Some(scheme) if scheme.as_str() == Some("first") => {
            *scheme = "never".into();
            true
        }
        _ => false,
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

/// A text, or two, with the tokens that the model wants around them.
pub(crate) struct Framed {
    pub(crate) ids: Vec<u32>,
    /// The segment of each token.
    pub(crate) types: Vec<u32>,
    /// Bytes of the text that each token stands for; nothing for those that were added.
    pub(crate) spans: Vec<Option<(u32, u32)>>,
}

/// Encodes, as [`encode`] does it, a text or two that belong together.
pub(crate) fn framed(
    tokenizer: &Tokenizer,
    first: &str,
    second: Option<&str>,
) -> Result<Framed, String> {
    let encode = || match second {
        None => tokenizer.encode(first, true),
        Some(second) => tokenizer.encode((first, second), true),
    };
    let encoding = match catch_unwind(AssertUnwindSafe(encode)) {
        Ok(encoding) => encoding.map_err(|error| error.to_string())?,
        Err(_) => return Err("the tokenizer failed on this text".to_owned()),
    };
    let added = encoding.get_special_tokens_mask().iter();
    let span = |((start, end), added): (&(usize, usize), &u32)| {
        let span = (u32::try_from(*start).ok()?, u32::try_from(*end).ok()?);
        (*added == 0).then_some(span)
    };
    Ok(Framed {
        ids: encoding.get_ids().to_vec(),
        types: encoding.get_type_ids().to_vec(),
        spans: encoding.get_offsets().iter().zip(added).map(span).collect(),
    })
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

/// No text may become a token that the network has no row for: its thread would die of it.
pub(crate) fn check_ids(tokenizer: &Tokenizer, vocabulary: usize) -> Result<(), String> {
    let frame = encode(tokenizer, "", true)?;
    let ids = tokenizer.get_vocab(true).into_values().chain(frame);
    match ids.max() {
        Some(id) if id as usize >= vocabulary => {
            Err(format!("token {id} is outside the vocabulary of {vocabulary}"))
        }
        _ => Ok(()),
    }
}

/// The special tokens of a `tokenizer.json`.
fn controls(json: &Value) -> Vec<Control> {
    let added = json["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    let special = added.iter().filter(|token| token["special"].as_bool() == Some(true));
    let control = |token: &Value| {
        Some(Control {
            id: u32::try_from(token["id"].as_u64()?).ok()?,
            text: token["content"].as_str()?.to_owned(),
            strips_left: token["lstrip"].as_bool().unwrap_or(false),
            strips_right: token["rstrip"].as_bool().unwrap_or(false),
        })
    };
    special.filter_map(control).collect()
}

/// How tokens spell bytes, told by the decoder.
fn spelling(json: &Value) -> Result<Spelling, String> {
    let decoder = json["decoder"].to_string();
    if decoder.contains("\"ByteLevel\"") {
        return Ok(Spelling::ByteLevel);
    }
    if decoder.contains("\"ByteFallback\"") || decoder.contains("\"Metaspace\"") {
        return Ok(Spelling::SentencePiece);
    }
    Err("`decoder`: neither byte-level nor SentencePiece".to_owned())
}

/// What the tokenizer puts before a text, such as the beginning of a sequence.
fn prefix(tokenizer: &Tokenizer) -> Result<Vec<u32>, String> {
    let plain = encode(tokenizer, "a", false)?;
    let mut framed = encode(tokenizer, "a", true)?;
    let at = framed.windows(plain.len().max(1)).position(|window| window == plain);
    framed.truncate(at.unwrap_or(0));
    Ok(framed)
}
