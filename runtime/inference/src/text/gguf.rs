//! Source: the vocabulary keys of the GGUF specification.

use std::collections::{BTreeSet, HashMap};

use serde_json::json;

use super::codec::{self, Codec, Control, Parts, Spelling};
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
    pub(super) const CONTROL: u64 = 3;
    pub(super) const USER_DEFINED: u64 = 4;
    pub(super) const BYTE: u64 = 6;
}

/// Tokens that end a turn in some family, whatever the file says of its end of sequence.
const TURN_ENDS: [&str; 7] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|eom_id|>",
];

struct Vocabulary<'a> {
    tokens: Vec<&'a str>,
    kinds: Vec<u64>,
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
    let words = Vocabulary::read(metadata)?;
    let (json, spelling) = match metadata.text(MODEL)? {
        Some("gpt2") => (words.byte_level(metadata)?, Spelling::ByteLevel),
        Some("llama") => (words.sentence_piece(metadata)?, Spelling::SentencePiece),
        Some(other) => return Err(metadata.bad(MODEL, format!("`{other}` is not supported"))),
        None => return Err(metadata.bad(MODEL, "is missing")),
    };
    let tokenizer = codec::parse(json.to_string().as_bytes());
    let tokenizer = tokenizer.map_err(|reason| metadata.bad(TOKENS, reason))?;
    let id = |key: &str| -> Result<Option<u32>, InferenceError> {
        let key = format!("tokenizer.ggml.{key}");
        let id = metadata.count(&key)?.map(u32::try_from).transpose();
        id.map_err(|error| metadata.bad(&key, error))
    };
    let bos = metadata.bool("tokenizer.ggml.add_bos_token")?;
    let add_bos = bos.unwrap_or(spelling == Spelling::SentencePiece);
    let prefix = id("bos_token_id")?.filter(|_| add_bos).into_iter().collect();
    let mut ends = Vec::new();
    for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        ends.extend(id(key)?);
    }
    ends.extend(words.controls().filter(|c| TURN_ENDS.contains(&c.text.as_str())).map(|c| c.id));
    let parts = Parts {
        tokenizer,
        spelling,
        controls: words.controls().collect(),
        prefix,
        ends,
        vocabulary: words.tokens.len(),
    };
    Codec::new(parts).map_err(|reason| metadata.bad(TOKENS, reason))
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
        Ok(Self { tokens, kinds })
    }

    fn of_kind(&self, kind: u64) -> impl Iterator<Item = (usize, &'a str)> {
        let all = self.tokens.iter().zip(&self.kinds).enumerate();
        all.filter(move |(_, (_, k))| **k == kind).map(|(id, (token, _))| (id, *token))
    }

    fn controls(&self) -> impl Iterator<Item = Control> {
        self.of_kind(kind::CONTROL).map(|(id, text)| Control {
            id: id as u32,
            text: text.to_owned(),
            strips_left: false,
            strips_right: false,
        })
    }

    /// Every token but the control tokens, which text must never become.
    fn words(&self) -> serde_json::Map<String, serde_json::Value> {
        let all = self.tokens.iter().zip(&self.kinds).enumerate();
        let words = all.filter(|(_, (_, k))| **k != kind::CONTROL);
        words.map(|(id, (token, _))| ((*token).to_owned(), json!(id))).collect()
    }

    fn added(&self) -> Vec<serde_json::Value> {
        let token = |(id, content): (usize, &str)| {
            json!({"id": id, "content": content, "special": false, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false})
        };
        self.of_kind(kind::USER_DEFINED).map(token).collect()
    }

    fn byte_level(&self, metadata: &Metadata) -> Result<serde_json::Value, InferenceError> {
        const PRE: &str = "tokenizer.ggml.pre";
        let name = metadata.text(PRE)?.unwrap_or("gpt-2");
        let Some((patterns, ignore_merges)) = pre::patterns(name) else {
            return Err(metadata.bad(PRE, format!("`{name}` is not supported")));
        };
        let split = |pattern: &&str| {
            json!({"type": "Split", "pattern": {"Regex": pattern},
                "behavior": "Isolated", "invert": false})
        };
        let mut steps: Vec<_> = patterns.iter().map(split).collect();
        steps.push(json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": false}));
        let merges = texts(metadata, MERGES)?.into_iter().map(|merge| {
            let pair = merge.split_once(' ').filter(|(a, b)| !a.is_empty() && !b.is_empty());
            let pair = pair.map(|(a, b)| json!([a, b]));
            pair.ok_or_else(|| metadata.bad(MERGES, format!("`{merge}` is not a pair")))
        });
        let merges = merges.collect::<Result<Vec<_>, _>>()?;
        Ok(json!({
            "version": "1.0", "added_tokens": self.added(), "normalizer": null,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
            "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": self.words(), "merges": merges,
                "ignore_merges": ignore_merges},
        }))
    }

    /// SentencePiece BPE: a pair merges by the score of what it becomes.
    fn sentence_piece(&self, metadata: &Metadata) -> Result<serde_json::Value, InferenceError> {
        let prepend = metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let mut normalizers = Vec::new();
        if prepend {
            normalizers.push(json!({"type": "Prepend", "prepend": "▁"}));
        }
        normalizers.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}));
        let unknown = metadata.count("tokenizer.ggml.unknown_token_id")?.unwrap_or(0);
        let unknown = usize::try_from(unknown).ok().and_then(|id| self.tokens.get(id));
        let bytes = self.of_kind(kind::BYTE).map(|(_, token)| token).collect::<BTreeSet<_>>();
        Ok(json!({
            "version": "1.0", "added_tokens": self.added(),
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "vocab": self.words(), "merges": self.merges(metadata)?,
                "byte_fallback": bytes.len() == 256, "fuse_unk": true, "unk_token": unknown},
        }))
    }

    fn merges(&self, metadata: &Metadata) -> Result<Vec<(&'a str, &'a str)>, InferenceError> {
        let scores = metadata.array(SCORES)?.unwrap_or_default();
        if scores.len() != self.tokens.len() {
            return Err(metadata.bad(SCORES, format!("has {} entries", scores.len())));
        }
        let ids: HashMap<&str, usize> =
            self.of_kind(kind::NORMAL).map(|(id, token)| (token, id)).collect();
        let mut merges = Vec::new();
        for (id, token) in self.of_kind(kind::NORMAL) {
            let Value::Float(score) = scores[id] else {
                return Err(metadata.bad(SCORES, "holds something but numbers"));
            };
            let splits = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
            merges.extend(splits.filter_map(|(left, right)| {
                Some((score, (*ids.get(left)?, *ids.get(right)?), (left, right)))
            }));
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        Ok(merges.into_iter().map(|(_, _, pair)| pair).collect())
    }
}

fn texts<'a>(metadata: &'a Metadata, key: &str) -> Result<Vec<&'a str>, InferenceError> {
    let values = metadata.array(key)?.ok_or_else(|| metadata.bad(key, "is missing"))?;
    let text = |value: &'a Value| match value {
        Value::Text(text) => Ok(text.as_str()),
        _ => Err(metadata.bad(key, "holds something but strings")),
    };
    values.iter().map(text).collect()
}
