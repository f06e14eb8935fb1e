//! The fixture that Emberbox's inference engine is tested against: logits and greedy continuations
//! of the artifact's dequantised weights in f32, and ids of awkward strings.

use crate::infer::{self, Session};
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;
use anyhow::Result;
use serde_json::{Value, json};

const PROMPTS: [&str; 3] =
    ["Tell me a story about a fox named Mia.", "Write a story with a kite.", "Hello!"];
/// Strings that tokenizers tend to disagree about.
const STRINGS: [&str; 12] = [
    "",
    " ",
    "Once upon a time, Mia's kite flew over the hill.",
    "  two spaces   three\n\nlines\t\ttabs \n",
    "fn main() { println!(\"{}\", 1_000 + 0x2a); }",
    "\u{1f98a} fox \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} family",
    "\u{72d0}\u{72f8}\u{3068}\u{51e7} \u{d55c}\u{ad6d}\u{c5b4}",
    "na\u{ef}ve caf\u{e9} e\u{301} \u{212b}",
    "I'M we'll it's 'tis don't''ve",
    "12345 3.14159 1,000,000 \u{661}\u{662}\u{663}",
    "<|user|>Hi<|end|><|assistant|>",
    "<|use r|> <|END|> \u{a0}nbsp\u{2003}em\r\ncrlf ",
];
const TOP: usize = 10;
const GREEDY_TOKENS: usize = 32;

fn prompt(text: &str, weights: &Weights, tokenizer: &Tokenizer) -> Result<Value> {
    let ids = tokenizer.prompt(text)?;
    let mut session = Session::new(weights);
    let mut logits = Vec::new();
    for id in &ids {
        logits = session.step(*id);
    }
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let top: Vec<Value> =
        order.iter().take(TOP).map(|id| json!({ "id": id, "logit": logits[*id] })).collect();
    let greedy = infer::generate(weights, &ids, GREEDY_TOKENS, infer::greedy);
    Ok(json!({
        "user": text,
        "ids": ids,
        "last_logits_top": top,
        "greedy_ids": greedy,
        "greedy_text": tokenizer.decode(&greedy)?,
    }))
}

/// The fixture as JSON.
///
/// # Errors
/// Fails only on a bug of the tokenizer.
pub(crate) fn reference(weights: &Weights, tokenizer: &Tokenizer) -> Result<String> {
    let prompts = PROMPTS.map(|text| prompt(text, weights, tokenizer));
    let strings =
        STRINGS.map(|text| tokenizer.encode(text).map(|ids| json!({ "text": text, "ids": ids })));
    let value = json!({
        "about": "f32 forward pass over the dequantised Q8_0 weights; special tokens are parsed; \
                  greedy_ids stop after id 3",
        "prompts": prompts.into_iter().collect::<Result<Vec<_>>>()?,
        "tokenizer": strings.into_iter().collect::<Result<Vec<_>>>()?,
    });
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}
