use serde_json::{Value, json};

use super::{ToolReader, ToolStyle};
use crate::api::ToolChoice;

/// Feeds a text in pieces of every size; `shown` is what a client sees, `calls` what it gets.
fn check(style: ToolStyle, text: &str, (shown, calls): (&str, &[(&str, &str)])) {
    for size in 1..=text.len().max(1) {
        let mut reader = ToolReader::new(style);
        let mut seen = String::new();
        let chars: Vec<char> = text.chars().collect();
        for piece in chars.chunks(size) {
            seen.push_str(&reader.push(&piece.iter().collect::<String>()));
        }
        let found = reader.finish().unwrap_or_else(|rest| {
            seen.push_str(&rest);
            Vec::new()
        });
        let found: Vec<_> =
            found.iter().map(|call| (call.name.as_str(), call.arguments.as_str())).collect();
        assert_eq!((seen.as_str(), found.as_slice()), (shown, calls), "{text:?} by {size}");
    }
}

#[test]
fn calls_are_taken_out_of_the_text() {
    let one = [("f", r#"{"x":1}"#)];
    let two = [("f", r#"{"x":1}"#), ("g", "{}")];
    let tags = ToolStyle::Tags;
    let call = r#"<tool_call>
{"name": "f", "arguments": {"x": 1}}
</tool_call>"#;
    check(tags, call, ("", &one));
    check(tags, &format!("Well. {call}"), ("Well. ", &one));
    let second = r#"<tool_call>{"name":"g","arguments":{}}</tool_call>"#;
    check(tags, &format!("{call}\n{second}"), ("", &two));
    check(tags, &call.replace("</tool_call>", ""), ("", &one));
    check(tags, "1 < 2 <tool", ("1 < 2 <tool", &[]));
    check(tags, "<tool_call>no</tool_call>", ("<tool_call>no</tool_call>", &[]));
    let bare = ToolStyle::Bare;
    check(bare, r#"{"name": "f", "parameters": {"x": 1}}"#, ("", &one));
    check(bare, r#"<|python_tag|>{"name":"f","parameters":{"x":1}}; {"name":"g"}"#, ("", &two));
    check(bare, r#"{"colour": "red"}"#, (r#"{"colour": "red"}"#, &[]));
    check(bare, r#"Say {"name": "f"}"#, (r#"Say {"name": "f"}"#, &[]));
    check(ToolStyle::List, r#"[TOOL_CALLS] [{"name":"f","arguments":{"x":1}}]"#, ("", &one));
    let closed =
        r#"<|tool_call|>[{"name":"f","arguments":"{\"x\":1}"},{"name":"g"}]<|/tool_call|>"#;
    check(ToolStyle::ClosedList, closed, ("", &two));
    check(ToolStyle::List, "", ("", &[]));
}

#[test]
fn templates_show_their_style() {
    let check = |source: &str, expect| assert_eq!(ToolStyle::of_template(source), expect);
    check("{% for tool in tools %}<tool_call>", Some(ToolStyle::Tags));
    check("{{ tools }}[TOOL_CALLS]", Some(ToolStyle::List));
    check("{{ tools }}<|tool_call|>", Some(ToolStyle::ClosedList));
    check("{{ tools }}<|python_tag|>", Some(ToolStyle::Bare));
    check("{{ messages }}<tool_call>", None);
    check("{{ tools }}", None);
}

#[test]
fn a_required_call_has_a_grammar() {
    let tools = [
        json!({ "type": "function", "function": { "name": "f",
            "parameters": { "type": "object", "properties": { "x": { "type": "integer" } } } } }),
        json!({ "type": "function", "function": { "name": "g" } }),
    ];
    let grammar = |style: ToolStyle, choice| style.grammar(&tools, &choice, |_| Some(7));
    let any = grammar(ToolStyle::Bare, ToolChoice::Required).unwrap();
    assert!(any.contains("\"f\"") && any.contains("\"g\"") && any.contains("parameters"), "{any}");
    let one = grammar(ToolStyle::List, ToolChoice::Function("g".to_owned())).unwrap();
    assert!(!one.contains("\"f\"") && one.contains("<[7]>"), "{one}");
    assert!(grammar(ToolStyle::List, ToolChoice::Function("h".to_owned())).is_err());
    let bad = [json!({ "type": "function" })];
    assert!(ToolStyle::Tags.grammar(&bad, &ToolChoice::Required, |_| None).is_err());
    let tool: Value = json!({ "type": "retrieval", "function": { "name": "f" } });
    assert!(super::function(&tool).is_err());
}
