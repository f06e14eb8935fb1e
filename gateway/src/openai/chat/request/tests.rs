use bytes::Bytes;
use emberbox_runtime::bridge::{GenerateOptions, Grammar, Prompt, Task, ToolChoice};
use serde_json::{Value, json};

use super::Asked;
use crate::errors::ApiError;
use crate::json::{self, Object};

fn parse(body: &Bytes) -> Result<Asked, ApiError> {
    let value = json::parse(body)?;
    super::parse(&Object::of(&value)?)
}

fn body(extra: &str) -> Bytes {
    let messages = r#","messages":[{"role":"user","content":"Hi"}]"#;
    let messages = if extra.contains("\"messages\"") { "" } else { messages };
    let comma = if extra.is_empty() { "" } else { "," };
    Bytes::from(format!(r#"{{"model":"m"{messages}{comma}{extra}}}"#))
}

fn read(extra: &str) -> (String, GenerateOptions) {
    match parse(&body(extra)).unwrap().task {
        Task::Generate { prompt: Prompt::Messages(messages), options } => (messages, options),
        other => panic!("{other:?}"),
    }
}

#[test]
fn wrong_fields_are_refused_by_name() {
    let rows = [
        (r#""messages":[]"#, "messages"),
        (r#""messages":"Hi""#, "messages"),
        (r#""messages":[1]"#, "messages[0]"),
        (r#""messages":[{"content":"x"}]"#, "messages[0].role"),
        (r#""messages":[{"role":"critic","content":"x"}]"#, "messages[0].role"),
        (
            r#""messages":[{"role":"assistant","tool_calls":[{"function":{}}]}]"#,
            "messages[0].tool_calls",
        ),
        (r#""messages":[{"role":"user"}]"#, "messages[0].content"),
        (
            r#""messages":[{"role":"user","content":[{"type":"image_url"}]}]"#,
            "messages[0].content[0]",
        ),
        (r#""max_tokens":0"#, "max_tokens"),
        (r#""max_tokens":-1"#, "max_tokens"),
        (r#""max_tokens":1.5"#, "max_tokens"),
        (r#""max_tokens":"8""#, "max_tokens"),
        (r#""max_tokens":99999999999"#, "max_tokens"),
        (r#""max_completion_tokens":0"#, "max_completion_tokens"),
        (r#""temperature":2.1"#, "temperature"),
        (r#""temperature":-0.1"#, "temperature"),
        (r#""temperature":"hot""#, "temperature"),
        (r#""top_p":0"#, "top_p"),
        (r#""top_p":1.1"#, "top_p"),
        (r#""stop":7"#, "stop"),
        (r#""stop":["a","b","c","d","e"]"#, "stop"),
        (r#""stop":"""#, "stop"),
        (r#""seed":1.5"#, "seed"),
        (r#""stream":"yes""#, "stream"),
        (r#""stream_options":{"include_usage":1}"#, "stream_options.include_usage"),
        (r#""n":17"#, "n"),
        (r#""n":0"#, "n"),
        (r#""logprobs":1"#, "logprobs"),
        (r#""top_logprobs":3"#, "top_logprobs"),
        (r#""logprobs":true,"top_logprobs":21"#, "top_logprobs"),
        (r#""tools":"f""#, "tools"),
        (r#""functions":[{"name":"f"}]"#, "functions"),
        (r#""tool_choice":"perhaps""#, "tool_choice"),
        (r#""tool_choice":{"type":"function"}"#, "tool_choice"),
        (r#""response_format":{"type":"yaml"}"#, "response_format.type"),
        (r#""response_format":{"type":"json_schema"}"#, "response_format.json_schema"),
        (r#""response_format":{"type":"regex"}"#, "response_format.pattern"),
        (r#""logit_bias":{"one":2}"#, "logit_bias"),
        (r#""logit_bias":{"1":101}"#, "logit_bias"),
        (r#""logit_bias":[1]"#, "logit_bias"),
        (r#""presence_penalty":2.5"#, "presence_penalty"),
        (r#""frequency_penalty":-3"#, "frequency_penalty"),
        (r#""repetition_penalty":0"#, "repetition_penalty"),
        (r#""top_k":-1"#, "top_k"),
        (r#""min_p":2"#, "min_p"),
        (r#""modalities":["text","audio"]"#, "modalities"),
        (r#""max_cost":0.001"#, "max_cost"),
        (r#""max_cost":"1e-3""#, "max_cost"),
        (r#""max_cost":"-1""#, "max_cost"),
    ];
    for (extra, expected) in rows {
        match parse(&body(extra)).map(|_| ()) {
            Err(ApiError::Invalid { param, .. }) => {
                assert_eq!(param.as_deref(), Some(expected), "{extra}");
            }
            other => panic!("{extra}: {other:?}"),
        }
    }
}

#[test]
fn harmless_fields_are_accepted() {
    let extra = r#""n":1,"tools":[],"tool_choice":"auto","logprobs":false,"user":"u","x":{},
        "presence_penalty":0,"response_format":{"type":"text"},"max_tokens":null,
        "stop":null,"seed":null,"temperature":null"#;
    assert_eq!(read(extra).1, GenerateOptions::default());
}

#[test]
fn the_cost_can_be_limited() {
    let limit = |extra: &str| parse(&body(extra)).unwrap().max_cost.map(|limit| limit.as_nano());
    assert_eq!(limit(r#""max_cost":"0.001""#), Some(1_000_000));
    assert_eq!((limit(r#""max_cost":null"#), limit("")), (None, None));
}

#[test]
fn options_are_read() {
    let (_, options) = read(
        r#""max_tokens":5,"max_completion_tokens":7,"seed":-1,"stop":["a","b"],
        "temperature":0,"top_p":0.5"#,
    );
    assert_eq!((options.max_tokens, options.seed), (Some(7), Some(u64::MAX)));
    assert_eq!((options.temperature, options.top_p), (0.0, 0.5));
    assert_eq!(options.stop, ["a", "b"]);
    assert_eq!(read(r#""stop":"x""#).1.stop, ["x"]);
    let (_, options) = read(
        r#""top_k":40,"min_p":0.25,"repetition_penalty":1.5,"presence_penalty":-2,
        "frequency_penalty":0.5,"logit_bias":{"7":-100,"9":1.5},"logprobs":true,"top_logprobs":3"#,
    );
    assert_eq!((options.top_k, options.min_p, options.repetition_penalty), (40, 0.25, 1.5));
    assert_eq!((options.presence_penalty, options.frequency_penalty), (-2.0, 0.5));
    assert_eq!((options.logit_bias, options.logprobs), (vec![(7, -100.0), (9, 1.5)], Some(3)));
    assert_eq!(read(r#""logprobs":true"#).1.logprobs, Some(0));
}

#[test]
fn formats_become_grammars() {
    let grammar = |format: &str| read(&format!(r#""response_format":{format}"#)).1.grammar;
    assert_eq!(grammar(r#"{"type":"text"}"#), None);
    assert_eq!(grammar(r#"{"type":"json_object"}"#), Some(Grammar::JsonObject));
    assert_eq!(
        grammar(r#"{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object"}}}"#),
        Some(Grammar::JsonSchema(json!({ "type": "object" })))
    );
    assert_eq!(grammar(r#"{"type":"regex","pattern":"a+"}"#), Some(Grammar::Regex("a+".into())));
    let lark = Some(Grammar::Lark("start: \"a\"".into()));
    assert_eq!(grammar(r#"{"type":"grammar","grammar":"start: \"a\""}"#), lark);
}

#[test]
fn tools_and_their_calls_are_read() {
    let (messages, options) = read(
        r#""messages":[{"role":"user","content":"Hi"},
        {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function",
        "function":{"name":"f","arguments":"{\"x\":1}"}}]},
        {"role":"tool","tool_call_id":"c","content":"2"}],
        "tools":[{"type":"function","function":{"name":"f"}}],
        "tool_choice":{"type":"function","function":{"name":"f"}}"#,
    );
    let expected = json!([{ "role": "user", "content": "Hi" },
        { "role": "assistant", "content": "", "tool_calls": [{ "id": "c", "type": "function",
            "function": { "name": "f", "arguments": { "x": 1 } } }] },
        { "role": "tool", "content": "2", "tool_call_id": "c" }]);
    assert_eq!(serde_json::from_str::<Value>(&messages).unwrap(), expected);
    assert_eq!(options.tools, [json!({ "type": "function", "function": { "name": "f" } })]);
    assert_eq!(options.tool_choice, ToolChoice::Function("f".to_owned()));
    assert_eq!(read(r#""tool_choice":"required""#).1.tool_choice, ToolChoice::Required);
}

#[test]
fn messages_become_plain() {
    let extra = r#""messages":[{"role":"developer","content":"Be kind"},
        {"role":"user","name":"Ann","content":[{"type":"text","text":"a"},
        {"type":"text","text":"b"}]}]"#;
    let expected = json!([{ "role": "system", "content": "Be kind" },
        { "role": "user", "content": "ab" }]);
    assert_eq!(serde_json::from_str::<Value>(&read(extra).0).unwrap(), expected);
}
