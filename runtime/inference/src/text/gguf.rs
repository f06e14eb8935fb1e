//! Source: the vocabulary keys of the GGUF specification.

use std::collections::HashSet;

use serde_json::json;

use super::codec::{self, Codec, Control, Encoder, Parts, Spelling, Words};
use super::library::{self, Library};
use super::sentencepiece::{Pieces, SentencePiece};
use crate::InferenceError;
use crate::formats::gguf::{Metadata, Value};

/// How text is cut before merges apply.
mod pre;

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";
const VOCABULARY_MAX: usize = 1 << 21;

/// Values of `tokenizer.ggml.token_type`.
mod kind {
    pub(super) const NORMAL: u64 = 1;
    pub(super) const UNKNOWN: u64 = 2;
    pub(super) const CONTROL: u64 = 3;
    pub(super) const USER_DEFINED: u64 = 4;
    pub(super) const BYTE: u64 = 6;
}

/// Tokens that end a turn in some family, whatever the file says of its end of sequence. Files call
/// some of them tokens like others; a user who could write one would end the turn.
const TURN_ENDS: [&str; 13] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|eom_id|>",
    "<eos>",
    "</s>",
    "<EOT>",
    "<|EOT|>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
];

struct Vocabulary<'a> {
    tokens: Vec<&'a str>,
    kinds: Vec<u64>,
    /// Control tokens take the white space after them along.
    strips: bool,
}

/// Number of tokens that the file lists.
pub(crate) fn vocabulary(metadata: &Metadata) -> Result<usize, InferenceError> {
    let tokens = metadata.array(TOKENS)?.ok_or_else(|| metadata.bad(TOKENS, "is missing"))?;
    if tokens.is_empty() || tokens.len() > VOCABULARY_MAX {
        return Err(metadata.bad(TOKENS, format!("has {} entries", tokens.len())));
    }
    Ok(tokens.len())
}

/// The file's own tokenizer.
pub(crate) fn codec(metadata: &Metadata) -> Result<Codec, InferenceError> {
    const MODEL: &str = "tokenizer.ggml.model";
    let vocabulary = Vocabulary::read(metadata)?;
    let (encoder, spelling, begins) = match metadata.text(MODEL)? {
        Some("gpt2") => {
            let pre = pre(metadata)?;
            let encoder = vocabulary.byte_level(metadata, pre)?;
            (encoder, Spelling::ByteLevel, pre.begins)
        }
        Some("llama") => (vocabulary.sentence_piece(metadata)?, Spelling::SentencePiece, true),
        Some(other) => return Err(metadata.bad(MODEL, format!("`{other}` is not supported"))),
        None => return Err(metadata.bad(MODEL, "is missing")),
    };
    let id = |key: &str| -> Result<Option<u32>, InferenceError> {
        let key = format!("tokenizer.ggml.{key}");
        let id = metadata.count(&key)?.map(u32::try_from).transpose();
        id.map_err(|error| metadata.bad(&key, error))
    };
    let add_bos = metadata.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(begins);
    // SentencePiece has always had these two where a file does not say.
    let usual = |id: u32| (spelling == Spelling::SentencePiece).then_some(id);
    let first = id("bos_token_id")?.or(usual(1));
    let mut ends: Vec<u32> = id("eos_token_id")?.or(usual(2)).into_iter().collect();
    for key in ["eot_token_id", "eom_token_id"] {
        ends.extend(id(key)?);
    }
    let controls: Vec<Control> = vocabulary.controls().collect();
    ends.extend(controls.iter().filter(|c| TURN_ENDS.contains(&c.text.as_str())).map(|c| c.id));
    let parts = Parts {
        encoder,
        words: vocabulary.words(spelling),
        controls,
        prefix: first.filter(|_| add_bos).into_iter().collect(),
        ends,
    };
    Codec::new(parts).map_err(|reason| metadata.bad(TOKENS, reason))
}

/// How the file's text is cut. A file that does not say is older than the names.
fn pre(metadata: &Metadata) -> Result<pre::Pre, InferenceError> {
    const PRE: &str = "tokenizer.ggml.pre";
    let name = metadata.text(PRE)?.unwrap_or("default");
    pre::of(name).ok_or_else(|| metadata.bad(PRE, format!("`{name}` is not supported")))
}

/// The texts of the first and the last token of a sequence, for templates.
pub(crate) fn frame(metadata: &Metadata) -> Result<(String, String), InferenceError> {
    let words = Vocabulary::read(metadata)?;
    let text = |key: &str| -> Result<String, InferenceError> {
        let id = metadata.count(key)?.and_then(|id| usize::try_from(id).ok());
        Ok(id.and_then(|id| words.tokens.get(id)).copied().unwrap_or_default().to_owned())
    };
    Ok((text("tokenizer.ggml.bos_token_id")?, text("tokenizer.ggml.eos_token_id")?))
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: &'a Metadata) -> Result<Self, InferenceError> {
        let count = vocabulary(metadata)?;
        let tokens = texts(metadata, TOKENS)?;
        let kinds = match metadata.array(TYPES)? {
            None => vec![kind::NORMAL; count],
            Some(kinds) => {
                let number = |value: &Value| match value {
                    Value::Signed(value) => u64::try_from(*value).ok(),
                    Value::Unsigned(value) => Some(*value),
                    _ => None,
                };
                let kinds: Option<Vec<u64>> = kinds.iter().map(number).collect();
                kinds.ok_or_else(|| metadata.bad(TYPES, "holds something but numbers"))?
            }
        };
        if kinds.len() != count {
            return Err(metadata.bad(TYPES, format!("has {} entries, not {count}", kinds.len())));
        }
        let mut kinds = kinds;
        for (kind, token) in kinds.iter_mut().zip(&tokens) {
            // `</s>` is a word like others in vocabularies that end a sequence with something else.
            let word = *token == "</s>" && *kind == kind::NORMAL;
            if TURN_ENDS.contains(token) && *kind != kind::BYTE && !word {
                *kind = kind::CONTROL;
            }
        }
        // The format has no place for it: llama.cpp goes by the name too.
        let name = metadata.text("general.name")?.unwrap_or_default().to_lowercase();
        let strips = name.contains("phi-3") || name.contains("phi3");
        Ok(Self { tokens, kinds, strips })
    }

    fn all(&self) -> impl Iterator<Item = (u32, &'a str, u64)> {
        (0u32..)
            .zip(self.tokens.iter().zip(&self.kinds))
            .map(|(id, (text, kind))| (id, *text, *kind))
    }

    /// The tokens that a template may write, and no user.
    fn controls(&self) -> impl Iterator<Item = Control> {
        let strips = self.strips;
        let keeps = ["<unk>", "<s>", "<|endoftext|>"];
        self.all().filter(|(_, _, kind)| is_control(*kind)).map(move |(id, text, _)| Control {
            id,
            text: text.to_owned(),
            strips_left: false,
            strips_right: strips && !keeps.contains(&text),
        })
    }

    fn words(&self, spelling: Spelling) -> Words {
        let mut words = Words::default();
        for (_, text, kind) in self.all() {
            words.push(|out| match kind {
                // Such a token is text as it stands, not in the spelling of the others.
                kind::USER_DEFINED => out.extend_from_slice(text.as_bytes()),
                _ => codec::spell(text, spelling, out),
            });
        }
        words
    }

    /// Tokens that are found in a text before it is cut.
    fn added(&self) -> impl Iterator<Item = (u32, &'a str)> {
        let added =
            self.all().filter(|(_, text, kind)| *kind == kind::USER_DEFINED && !text.is_empty());
        added.map(|(id, text, _)| (id, text))
    }

    fn byte_level(&self, metadata: &Metadata, pre: pre::Pre) -> Result<Encoder, InferenceError> {
        let split = |pattern: &&str| {
            json!({"type": "Split", "pattern": {"Regex": pattern},
                "behavior": "Isolated", "invert": false})
        };
        let mut steps: Vec<_> = pre.patterns.iter().map(split).collect();
        steps.push(json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": false}));
        let added = self.added().map(|(id, content)| {
            json!({"id": id, "content": content, "special": false, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false})
        });
        // Text must never become a control token, not even by merging.
        let words = self.all().filter(|(_, _, kind)| !is_control(*kind));
        let words: serde_json::Map<_, _> =
            words.map(|(id, token, _)| (token.to_owned(), json!(id))).collect();
        let json = json!({
            "version": "1.0", "added_tokens": added.collect::<Vec<_>>(), "normalizer": null,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": words, "merges": self.merges(metadata)?,
                "ignore_merges": pre.whole_words},
        });
        let library = library::parse(json.to_string().as_bytes())
            .and_then(|tokenizer| Library::new(tokenizer, &json));
        let library = library.map_err(|reason| metadata.bad(TOKENS, reason))?;
        Ok(Encoder::Library(Box::new(library)))
    }

    /// Pairs that merge, the first ones first, but for those that would make a control token.
    fn merges<'m>(
        &self,
        metadata: &'m Metadata,
    ) -> Result<Vec<(&'m str, &'m str)>, InferenceError> {
        let controls = self.all().filter(|(_, _, kind)| is_control(*kind));
        let controls: HashSet<&str> = controls.map(|(_, text, _)| text).collect();
        let mut merges = Vec::new();
        for merge in texts(metadata, MERGES)? {
            let pair = merge.split_once(' ').filter(|(a, b)| !a.is_empty() && !b.is_empty());
            let pair = pair.ok_or_else(|| metadata.bad(MERGES, format!("`{merge}` is not a pair")));
            let (left, right) = pair?;
            if ![left, right, &format!("{left}{right}")].iter().any(|part| controls.contains(part))
            {
                merges.push((left, right));
            }
        }
        Ok(merges)
    }

    fn sentence_piece(&self, metadata: &Metadata) -> Result<Encoder, InferenceError> {
        let scores = metadata.array(SCORES)?.unwrap_or_default();
        if scores.len() != self.tokens.len() {
            return Err(metadata.bad(SCORES, format!("has {} entries", scores.len())));
        }
        let score = |value: &Value| match value {
            Value::Float(score) if !score.is_nan() => Ok(*score as f32),
            Value::Signed(score) => Ok(*score as f32),
            _ => Err(metadata.bad(SCORES, "holds something but numbers")),
        };
        let mut pieces = Vec::new();
        for ((id, text, kind), value) in self.all().zip(scores) {
            if !is_control(kind) && kind != kind::BYTE {
                pieces.push((id, text, score(value)?));
            }
        }
        let bytes = self.all().filter(|(_, _, kind)| *kind == kind::BYTE);
        let unknown = metadata.count("tokenizer.ggml.unknown_token_id")?.unwrap_or(0);
        let unknown = u32::try_from(unknown).ok().filter(|id| (*id as usize) < self.tokens.len());
        let unknown = unknown.ok_or_else(|| {
            metadata.bad("tokenizer.ggml.unknown_token_id", "is outside the vocabulary")
        })?;
        Ok(Encoder::SentencePiece(Box::new(SentencePiece::new(&Pieces {
            pieces,
            bytes: bytes.filter_map(|(id, text, _)| Some((id, codec::byte_token(text)?))).collect(),
            added: self.added().collect(),
            unknown,
            space_first: metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
        }))))
    }
}

fn is_control(kind: u64) -> bool {
    matches!(kind, kind::CONTROL | kind::UNKNOWN)
}

fn texts<'a>(metadata: &'a Metadata, key: &str) -> Result<Vec<&'a str>, InferenceError> {
    let values = metadata.array(key)?.ok_or_else(|| metadata.bad(key, "is missing"))?;
    let text = |value: &'a Value| match value {
        Value::Text(text) => Ok(text.as_str()),
        _ => Err(metadata.bad(key, "holds something but strings")),
    };
    values.iter().map(text).collect()
}

#[cfg(test)]
mod tests;
