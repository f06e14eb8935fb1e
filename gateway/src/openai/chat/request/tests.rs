use bytes::Bytes;
use emberbox_runtime::bridge::{GenerateOptions, Prompt, Task};
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
        (r#""messages":[{"role":"tool","content":"x"}]"#, "messages[0].role"),
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
        (r#""n":2"#, "n"),
        (r#""n":0"#, "n"),
        (r#""logprobs":true"#, "logprobs"),
        (r#""tools":[{"type":"function"}]"#, "tools"),
        (r#""tool_choice":"required""#, "tool_choice"),
        (r#""response_format":{"type":"json_object"}"#, "response_format.type"),
        (r#""logit_bias":{"1":2}"#, "logit_bias"),
        (r#""presence_penalty":0.5"#, "presence_penalty"),
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
