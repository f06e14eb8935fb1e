use serde_json::json;

use super::{Constraint, Grammar, GrammarError, Vocabulary};
use crate::options::Sampling;
use crate::sampler::Sampler;

/// Every byte, a few longer tokens, and last a token that ends an output.
fn tokens() -> Vec<Vec<u8>> {
    let bytes = (0..=255u8).map(|byte| vec![byte]);
    let words = ["{\"", "\":", "name", "tr", "true", "false", "null", "  ", "\n\n"];
    let words = words.iter().map(|word| word.as_bytes().to_vec());
    bytes.chain(words).chain([Vec::new(), Vec::new()]).collect()
}

const END: u32 = 256 + 9 + 1;

fn vocabulary() -> Vocabulary {
    Vocabulary::new(tokens().iter().map(Vec::as_slice), &[END]).unwrap()
}

fn constrain(grammar: &Grammar) -> Constraint {
    vocabulary().constrain(grammar).unwrap()
}

/// Follows a text byte by byte; gives how many bytes were allowed, and whether it may end there.
fn follow(grammar: &Grammar, text: &str) -> (usize, bool) {
    let mut constraint = constrain(grammar);
    for (at, byte) in text.bytes().enumerate() {
        let token = u32::from(byte);
        if !constraint.mask().unwrap().allows(token) {
            return (at, false);
        }
        constraint.accept(token).unwrap();
    }
    let ends = constraint.mask().unwrap().allows(END);
    (text.len(), ends)
}

fn check(grammar: &Grammar, rows: &[(&str, usize, bool)]) {
    for (text, allowed, ends) in rows {
        assert_eq!(follow(grammar, text), (*allowed, *ends), "{text:?} of {grammar:?}");
    }
}

#[test]
fn outputs_follow_their_grammar() {
    check(
        &Grammar::JsonObject,
        &[
            ("{}", 2, true),
            ("{\"a\": [1, null]}", 16, true),
            ("{\"a\"", 4, false),
            ("[]", 0, false),
            ("{}x", 2, false),
        ],
    );
    let schema = json!({
        "type": "object",
        "properties": { "name": { "type": "string" }, "age": { "type": "integer" } },
        "required": ["name", "age"],
        "additionalProperties": false
    });
    check(
        &Grammar::JsonSchema(schema),
        &[
            ("{\"name\": \"Ann\", \"age\": 41}", 26, true),
            ("{\"name\": \"Ann\"}", 14, false),
            ("{\"name\": 7", 9, false),
            ("{\"size\"", 2, false),
        ],
    );
    check(&Grammar::Regex("[a-c]{2,3}!".to_owned()), &[("ab!", 3, true), ("abd", 2, false)]);
    let lark = "start: \"yes\" | \"no\" start".to_owned();
    check(&Grammar::Lark(lark), &[("nonoyes", 7, true), ("noon", 2, false)]);
}

#[test]
fn white_space_has_an_end() {
    let grammar = Grammar::JsonObject;
    let (allowed, _) = follow(&grammar, &format!("{{{}", " ".repeat(100)));
    assert!(allowed < 20, "{allowed} spaces");
    let lifted = json!({ "type": "object", "x-guidance": { "whitespace_flexible": true } });
    let (allowed, _) = follow(&Grammar::JsonSchema(lifted), &format!("{{{}", " ".repeat(100)));
    assert!(allowed < 20, "{allowed} spaces");
}

/// Whatever the model would like to say, what comes out is what was asked for.
#[test]
fn noise_becomes_json() {
    let schema = json!({
        "type": "object",
        "properties": { "ok": { "type": "boolean" }, "kind": { "enum": ["red", "green"] } },
        "required": ["ok", "kind"],
        "additionalProperties": false
    });
    let words = tokens();
    for seed in 0..40 {
        let mut constraint = constrain(&Grammar::JsonSchema(schema.clone()));
        let mut sampler = Sampler::new(Sampling::default(), seed, &[]);
        let mut text = Vec::new();
        for step in 0..200_u64 {
            let noise = |i: u64| ((i * 2_654_435_761 + step * 97 + seed) % 1_000) as f32 / 100.0;
            let logits: Vec<f32> = (0..words.len() as u64).map(noise).collect();
            let mask = constraint.mask().unwrap();
            let token = sampler.pick(&logits, Some(&mask));
            constraint.accept(token).unwrap();
            text.extend_from_slice(&words[token as usize]);
            if constraint.is_complete() {
                break;
            }
        }
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert!(value["ok"].is_boolean() && value["kind"].is_string(), "{value}");
        assert!(constraint.is_complete());
    }
}

#[test]
fn grammars_that_cannot_be_followed_say_why() {
    let vocabulary = vocabulary();
    let check = |grammar: Grammar, expect: &str| {
        let error = vocabulary.constrain(&grammar).err();
        let text = match &error {
            Some(GrammarError::Invalid(reason)) => reason.to_lowercase(),
            other => format!("{other:?}"),
        };
        assert!(text.contains(expect), "{grammar:?}: {text}");
    };
    check(Grammar::Regex("[a".to_owned()), "regex");
    check(Grammar::Lark("start: other".to_owned()), "other");
    check(Grammar::Lark(String::new()), "start");
    check(Grammar::JsonSchema(json!([1])), "must be an object");
    check(Grammar::JsonSchema(json!({ "type": "colour" })), "colour");
    check(Grammar::JsonSchema(json!({ "$ref": "https://example.org/s.json" })), "ref");
    check(Grammar::JsonSchema(json!({ "not": {} })), "");
    check(Grammar::Regex("a".repeat(100_000)), "more than");
    check(Grammar::Regex("(a{1000}){1000}".to_owned()), "");
    let mut deep = json!({});
    for _ in 0..100 {
        deep = json!({ "properties": { "a": deep } });
    }
    check(Grammar::JsonSchema(deep), "nested");
}

#[test]
fn a_model_without_an_end_cannot_follow() {
    let words = tokens();
    assert!(Vocabulary::new(words.iter().map(Vec::as_slice), &[]).is_err());
    assert!(Vocabulary::new(words.iter().map(Vec::as_slice), &[100_000]).is_err());
}
