use emberbox_sampling::with_little_space;
use serde_json::{Map, Value, json};

use crate::api::{ToolCall, ToolChoice};

/// How a family of models writes that it calls a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToolStyle {
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`, each call in tags of its own: Hermes,
    /// Qwen, SmolLM.
    Tags,
    /// The whole answer is `{"name": …, "parameters": …}`, perhaps after `<|python_tag|>`, several
    /// with `;` between: Llama 3.
    Bare,
    /// `[TOOL_CALLS]` and a list: Mistral.
    List,
    /// `<|tool_call|>` and a list, closed by `<|/tool_call|>`: Phi-4.
    ClosedList,
}

impl ToolStyle {
    /// The style that a chat template shows, if it knows tools at all.
    pub(crate) fn of_template(source: &str) -> Option<Self> {
        let known = [
            ("<tool_call>", Self::Tags),
            ("[TOOL_CALLS]", Self::List),
            ("<|tool_call|>", Self::ClosedList),
            ("<|python_tag|>", Self::Bare),
            ("\"parameters\": ", Self::Bare),
        ];
        if !source.contains("tools") {
            return None;
        }
        known.into_iter().find(|(mark, _)| source.contains(mark)).map(|(_, style)| style)
    }

    /// What stands before and after the calls.
    fn marks(self) -> (&'static str, &'static str) {
        match self {
            Self::Tags => ("<tool_call>", "</tool_call>"),
            Self::Bare => ("<|python_tag|>", ""),
            Self::List => ("[TOOL_CALLS]", ""),
            Self::ClosedList => ("<|tool_call|>", "<|/tool_call|>"),
        }
    }

    /// The field with a call's arguments.
    fn arguments(self) -> &'static str {
        match self {
            Self::Bare => "parameters",
            Self::Tags | Self::List | Self::ClosedList => "arguments",
        }
    }

    /// Control tokens that a client must not see but that are looked for here.
    pub(crate) fn spells(self, control: &str) -> bool {
        let (before, after) = self.marks();
        control == before || (!after.is_empty() && control == after)
    }

    /// A grammar in Lark's syntax that lets nothing through but one call of one of the tools.
    /// `token` gives the number of a control token, which a grammar cannot spell.
    ///
    /// # Errors
    /// A tool of that name is not there.
    pub(crate) fn grammar(
        self,
        tools: &[Value],
        choice: &ToolChoice,
        token: impl Fn(&str) -> Option<u32>,
    ) -> Result<String, String> {
        let wanted = |function: &Map<String, Value>| match choice {
            ToolChoice::Function(name) => function["name"] == name.as_str(),
            _ => true,
        };
        let mut calls = Vec::new();
        for tool in tools {
            let function = function(tool)?;
            if !wanted(function) {
                continue;
            }
            let any = json!({ "type": "object" });
            let arguments = function.get("parameters").unwrap_or(&any);
            calls.push(json!({
                "type": "object",
                "properties": { "name": { "const": function["name"] }, self.arguments(): arguments },
                "required": ["name", self.arguments()],
                "additionalProperties": false,
            }));
        }
        if calls.is_empty() {
            return Err("names a function that is not among the tools".to_owned());
        }
        let mark = |text: &str| match token(text) {
            _ if text.is_empty() => String::new(),
            Some(token) => format!("<[{token}]>"),
            None => Value::from(text).to_string(),
        };
        let (before, after) = self.marks();
        let (before, after) = (mark(before), mark(after));
        let call = with_little_space(json!({ "anyOf": calls }));
        let body = match self {
            Self::Tags => format!("{before} \"\\n\" call \"\\n\" {after}"),
            Self::Bare => "call".to_owned(),
            Self::List | Self::ClosedList => format!("{before} \"[\" call \"]\" {after}"),
        };
        Ok(format!("start: {body}\ncall: %json {call}\n"))
    }
}

/// The function that a tool is.
///
/// # Errors
/// What is wrong with the tool.
pub(crate) fn function(tool: &Value) -> Result<&Map<String, Value>, String> {
    let function = tool.get("function").and_then(Value::as_object);
    match function.filter(|function| function.get("name").is_some_and(Value::is_string)) {
        Some(function) if tool["type"] == "function" => Ok(function),
        _ => Err("a tool must have type `function` and a function with a name".to_owned()),
    }
}

/// Takes calls out of a text on its way to a client.
#[derive(Debug)]
pub(crate) struct ToolReader {
    style: ToolStyle,
    /// Text that is, or may become, a call.
    held: String,
    /// Whether `held` starts with a mark.
    inside: bool,
    /// Whether anything was shown.
    shown: bool,
}

impl ToolReader {
    pub(crate) fn new(style: ToolStyle) -> Self {
        Self { style, held: String::new(), inside: false, shown: false }
    }

    /// Takes more text; gives what is certainly not part of a call.
    pub(crate) fn push(&mut self, text: &str) -> String {
        self.held.push_str(text);
        if self.inside {
            return String::new();
        }
        let (mark, _) = self.style.marks();
        let opens = self.style == ToolStyle::Bare && !self.shown && {
            let start = self.held.trim_start();
            start.is_empty() || start.starts_with('{')
        };
        if let Some(at) = self.held.find(mark) {
            self.inside = true;
            return self.show(at);
        }
        if opens {
            return String::new();
        }
        let longest = self.held.len().min(mark.len() - 1);
        let partial = |len: &usize| self.held.as_bytes().ends_with(&mark.as_bytes()[..*len]);
        let kept = (1..=longest).rev().find(partial).unwrap_or(0);
        self.show(self.held.len() - kept)
    }

    fn show(&mut self, len: usize) -> String {
        let rest = self.held.split_off(len);
        self.shown |= !self.held.is_empty();
        std::mem::replace(&mut self.held, rest)
    }

    /// At the end: the calls, or the text that turned out to be none.
    pub(crate) fn finish(&mut self) -> Result<Vec<ToolCall>, String> {
        let held = std::mem::take(&mut self.held);
        match calls(self.style, &held) {
            Some(calls) if !calls.is_empty() => Ok(calls),
            _ => Err(held),
        }
    }
}

/// The calls that a text consists of; `None` when it is anything else.
fn calls(style: ToolStyle, text: &str) -> Option<Vec<ToolCall>> {
    let (before, after) = style.marks();
    let mut all = Vec::new();
    let mut rest = text.trim();
    match style {
        ToolStyle::Tags => {
            while !rest.is_empty() {
                let body = rest.strip_prefix(before)?;
                // A model that was cut off may have left the last tag open.
                let (body, more) = body.split_once(after).unwrap_or((body, ""));
                all.push(call(style, &serde_json::from_str(body.trim()).ok()?)?);
                rest = more.trim_start();
            }
        }
        ToolStyle::Bare => {
            rest = rest.strip_prefix(before).unwrap_or(rest);
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            while let Some(value) = values.next() {
                all.push(call(style, &value.ok()?)?);
                let at = values.byte_offset();
                rest = rest[at..].trim_start().trim_start_matches(';').trim_start();
                values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            }
        }
        ToolStyle::List | ToolStyle::ClosedList => {
            let body = rest.strip_prefix(before)?;
            let body = body.strip_suffix(after).unwrap_or(body).trim();
            let list: Vec<Value> = serde_json::from_str(body).ok()?;
            for value in &list {
                all.push(call(style, value)?);
            }
        }
    }
    Some(all)
}

fn call(style: ToolStyle, value: &Value) -> Option<ToolCall> {
    let name = value.get("name")?.as_str()?.to_owned();
    let arguments = match value.get(style.arguments()).or_else(|| value.get("arguments")) {
        Some(Value::String(text)) => text.clone(),
        Some(arguments @ Value::Object(_)) => arguments.to_string(),
        None => "{}".to_owned(),
        Some(_) => return None,
    };
    Some(ToolCall { name, arguments })
}

#[cfg(test)]
mod tests;
