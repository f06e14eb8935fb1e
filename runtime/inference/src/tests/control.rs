//! What a caller asks of the choice of tokens, through the whole engine.

use serde_json::{Value, json};

use super::bundled::artifact;
use super::{field, greedy, run};
use crate::api::{
    Event, FinishReason, GenerateOptions, Grammar, Open, Prompt, Task, ToolCall, ToolChoice,
};
use crate::testing::defaults;
use crate::{Inference, ModelSource};

fn engine() -> Inference {
    let engine = Inference::new(defaults()).unwrap();
    engine.add(super::MODEL, ModelSource::Path(artifact())).unwrap();
    engine
}

fn story(options: GenerateOptions) -> Task {
    Task::Generate { prompt: Prompt::Text("Mia the fox".to_owned()), options }
}

fn sampled(seed: u64, max_tokens: u32) -> GenerateOptions {
    GenerateOptions { seed: Some(seed), ..greedy(max_tokens) }
}

#[tokio::test]
async fn outputs_follow_a_schema() {
    let engine = engine();
    let schema = json!({
        "type": "object",
        "properties": {
            "animal": { "enum": ["fox", "hen", "owl"] },
            "kind": { "type": "boolean" },
        },
        "required": ["animal", "kind"],
        "additionalProperties": false,
    });
    for seed in 0..5 {
        let grammar = Some(Grammar::JsonSchema(schema.clone()));
        let options = GenerateOptions { grammar, temperature: 1.5, ..sampled(seed, 80) };
        let answer = run(&engine, story(options)).await;
        assert_eq!(answer.finish_reason, FinishReason::Stop, "{answer:?}");
        let value: Value = serde_json::from_str(&answer.text).unwrap();
        assert!(value["kind"].is_boolean() && value["animal"].is_string(), "{value}");
    }
    let grammar = Some(Grammar::Regex("(yes|no){3}".to_owned()));
    let answer = run(&engine, story(GenerateOptions { grammar, ..greedy(40) })).await;
    let left = answer.text.replace("yes", "").replace("no", "");
    assert!(left.is_empty() && answer.finish_reason == FinishReason::Stop, "{answer:?}");
}

#[tokio::test]
async fn a_grammar_that_is_wrong_is_refused_before_any_work() {
    let engine = engine();
    let open = Open { model: super::MODEL.to_owned(), tenant: "org".to_owned() };
    let session = engine.open(open).await.unwrap();
    let check = async |options: GenerateOptions, expect| {
        let error = engine.prepare(session, story(options)).await.unwrap_err();
        assert_eq!(field(&error), expect, "{error}");
    };
    let grammar = Some(Grammar::Regex("(".to_owned()));
    check(GenerateOptions { grammar, ..greedy(5) }, "grammar").await;
    check(GenerateOptions { min_p: 2.0, ..greedy(5) }, "min_p").await;
    check(GenerateOptions { logprobs: Some(21), ..greedy(5) }, "logprobs").await;
    check(GenerateOptions { logit_bias: vec![(1 << 30, 1.0)], ..greedy(5) }, "logit_bias").await;
    let tools = vec![json!({ "type": "function", "function": { "name": "f" } })];
    check(GenerateOptions { tools: tools.clone(), ..greedy(5) }, "tools").await;
    check(GenerateOptions { tool_choice: ToolChoice::Required, ..greedy(5) }, "tools").await;
    check(GenerateOptions { tools: vec![json!({})], ..greedy(5) }, "tools").await;
}

#[tokio::test]
async fn likelihoods_come_with_their_tokens() {
    let engine = engine();
    let options = GenerateOptions { logprobs: Some(3), ..greedy(12) };
    let open = Open { model: super::MODEL.to_owned(), tenant: "org".to_owned() };
    let session = engine.open(open).await.unwrap();
    engine.prepare(session, story(options)).await.unwrap();
    engine.submit(session).await.unwrap();
    let mut spelled = Vec::new();
    let mut text = String::new();
    while let Event::Piece { text: piece, tokens, logprobs } = engine.next(session).await.unwrap() {
        text.push_str(&piece);
        assert_eq!(tokens.len(), logprobs.len());
        for (token, likely) in tokens.iter().zip(logprobs) {
            assert_eq!(likely.chosen.token, *token);
            // The greedy choice is the likeliest, and the rest follow in order.
            assert_eq!(likely.top[0], likely.chosen);
            assert!(likely.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
            assert!(likely.top.len() == 3 && likely.chosen.logprob <= 0.0);
            spelled.extend(likely.chosen.bytes);
        }
    }
    assert_eq!(String::from_utf8(spelled).unwrap(), text);
    let plain = run(&engine, story(greedy(12))).await;
    assert_eq!(plain.text, text, "asking changes nothing");
}

#[tokio::test]
async fn penalties_and_biases_change_the_text() {
    let engine = engine();
    let plain = run(&engine, story(greedy(40))).await;
    let first = plain.tokens[0];
    let options = GenerateOptions { logit_bias: vec![(first, -100.0)], ..greedy(40) };
    let banned = run(&engine, story(options)).await;
    assert!(!banned.tokens.contains(&first), "{banned:?}");
    let repeats = |tokens: &[u32]| {
        let mut seen = tokens.to_vec();
        seen.sort_unstable();
        seen.dedup();
        tokens.len() - seen.len()
    };
    let options = GenerateOptions { frequency_penalty: 2.0, presence_penalty: 2.0, ..greedy(40) };
    let varied = run(&engine, story(options)).await;
    assert!(repeats(&varied.tokens) < repeats(&plain.tokens), "{plain:?} {varied:?}");
}

/// The bundled model with a template that shows tools, as a file of its own would.
fn with_tools() -> Inference {
    let bytes = std::fs::read(artifact()).unwrap();
    let folder = crate::testing::Scratch::new();
    // The same length, so that nothing else in the file moves: a comment fills the rest.
    let key = b"tokenizer.chat_template";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len() + 4;
    let len = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}\
                    {% if tools %}{{ tools[0].function.name }}{% endif %}{# <tool_call>";
    let mut changed = bytes;
    changed[at + 8..at + 8 + len].fill(b' ');
    changed[at + 8..at + 8 + template.len()].copy_from_slice(template.as_bytes());
    changed[at + 6 + len..at + 8 + len].copy_from_slice(b"#}");
    let path = folder.write("tools.gguf", changed);
    let engine = Inference::new(defaults()).unwrap();
    engine.add(super::MODEL, ModelSource::Path(path)).unwrap();
    engine
}

#[tokio::test]
async fn a_required_call_is_made_and_found() {
    let engine = with_tools();
    let tools = vec![json!({ "type": "function", "function": { "name": "feed",
        "parameters": { "type": "object", "properties": { "animal": { "enum": ["fox", "hen"] } },
            "required": ["animal"], "additionalProperties": false } } })];
    let open = Open { model: super::MODEL.to_owned(), tenant: "org".to_owned() };
    let session = engine.open(open).await.unwrap();
    let messages = r#"[{"role":"user","content":"Feed the fox."}]"#.to_owned();
    let options = GenerateOptions { tools, tool_choice: ToolChoice::Required, ..greedy(220) };
    let task = Task::Generate { prompt: Prompt::Messages(messages), options };
    engine.prepare(session, task).await.unwrap();
    engine.submit(session).await.unwrap();
    let (mut text, mut tokens, mut calls) = (String::new(), 0, Vec::new());
    loop {
        match engine.next(session).await.unwrap() {
            Event::Piece { text: piece, tokens: more, .. } => {
                text.push_str(&piece);
                tokens += more.len();
            }
            Event::ToolCalls(found) => calls = found,
            Event::Done { finish_reason, usage } => {
                assert_eq!(finish_reason, FinishReason::ToolCalls, "{text:?}");
                assert_eq!(usage.output_tokens as usize, tokens);
                break;
            }
            Event::Answer { .. } => panic!("not asked for"),
        }
    }
    let [ToolCall { name, arguments }] = calls.as_slice() else { panic!("{calls:?} {text}") };
    let arguments: Value = serde_json::from_str(arguments).unwrap();
    assert_eq!((name.as_str(), text.as_str()), ("feed", ""));
    assert!(arguments["animal"] == "fox" || arguments["animal"] == "hen", "{arguments}");
}
