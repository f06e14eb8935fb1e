use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;
use serde_json::{Map, Value};

use super::codec::Codec;
use super::tools::ToolStyle;

/// Instructions of a template; a hundred messages take about ten thousand.
const FUEL: u64 = 1_000_000;
const TEMPLATE_BYTES_MAX: usize = 1 << 20;
const MESSAGES_MAX: usize = 4_096;
const DEPTH_MAX: usize = 64;
/// A template may spell control tokens with the role, so a role is one of these.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];
const TEMPLATE: &str = "chat_template";

/// A model's own way to write a conversation.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    first: String,
    last: String,
    tools: Option<ToolStyle>,
}

impl ChatTemplate {
    /// Compiles a template; `first` and `last` are the texts of a sequence's frame.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub(crate) fn new(source: String, (first, last): (String, String)) -> Result<Self, String> {
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("{} bytes are over {TEMPLATE_BYTES_MAX}", source.len()));
        }
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH_MAX);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| strftime(&format, now()));
        environment.add_filter("tojson", |value: minijinja::Value, options: Kwargs| {
            tojson(&value, &options)
        });
        let tools = ToolStyle::of_template(&source);
        let added = environment.add_template_owned(TEMPLATE, source);
        added.map_err(|error| error.to_string())?;
        Ok(Self { environment, first, last, tools })
    }

    /// How the model calls functions, if the template shows them to it.
    pub(crate) fn tools(&self) -> Option<ToolStyle> {
        self.tools
    }

    /// Tokens of a conversation up to where the assistant is to speak, with the functions that it
    /// may call.
    ///
    /// # Errors
    /// What is wrong with the messages, or what the template says of them.
    pub(crate) fn encode(
        &self,
        (messages, tools): (&str, &[Value]),
        codec: &Codec,
    ) -> Result<Vec<u32>, String> {
        let mut messages = parse(messages)?;
        let mut tools = tools.to_vec();
        let guard = unused_character(&messages, &tools)?;
        tools.iter_mut().for_each(|tool| rewrite(tool, &|text| codec.guard(text, guard)));
        for (name, value) in messages.iter_mut().flatten() {
            if name != "role" {
                rewrite(value, &|text| codec.guard(text, guard));
            }
        }
        let template = self.environment.get_template(TEMPLATE).map_err(|e| e.to_string())?;
        let rendered = template.render(context! {
            messages => messages,
            // Templates ask whether there are any by asking whether the list is there.
            tools => (!tools.is_empty()).then_some(tools),
            add_generation_prompt => true,
            bos_token => self.first,
            eos_token => self.last,
        });
        let rendered = rendered.map_err(|error| format!("the chat template: {error}"))?;
        codec.encode_rendered(&rendered, guard)
    }
}

/// Checks the shape, and turns content given in parts into text.
fn parse(json: &str) -> Result<Vec<Map<String, Value>>, String> {
    let mut messages: Vec<Map<String, Value>> =
        serde_json::from_str(json).map_err(|error| format!("not a list of messages: {error}"))?;
    if messages.is_empty() || messages.len() > MESSAGES_MAX {
        return Err(format!("{} messages; 1 to {MESSAGES_MAX} are allowed", messages.len()));
    }
    for (i, message) in messages.iter_mut().enumerate() {
        let role = message.get("role").and_then(Value::as_str);
        if !role.is_some_and(|role| ROLES.contains(&role)) {
            return Err(format!("[{i}].role is not one of {ROLES:?}"));
        }
        let content = match message.remove("content") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(Value::Array(parts)) => join(&parts)
                .ok_or_else(|| format!("[{i}].content has a part that is not of type `text`"))?,
            Some(_) => return Err(format!("[{i}].content is neither a string nor a list")),
        };
        message.insert("content".to_owned(), Value::String(content));
    }
    Ok(messages)
}

fn join(parts: &[Value]) -> Option<String> {
    let text = |part: &Value| {
        let of_text = part.get("type").and_then(Value::as_str) == Some("text");
        part.get("text").and_then(Value::as_str).filter(|_| of_text).map(str::to_owned)
    };
    parts.iter().map(text).collect()
}

/// Changes every string inside a value.
fn rewrite(value: &mut Value, change: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = change(text),
        Value::Array(values) => values.iter_mut().for_each(|value| rewrite(value, change)),
        Value::Object(map) => map.values_mut().for_each(|value| rewrite(value, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A private-use character that no message holds.
fn unused_character(messages: &[Map<String, Value>], tools: &[Value]) -> Result<char, String> {
    let mut used = HashSet::new();
    let mut left: Vec<&Value> = messages.iter().flat_map(Map::values).chain(tools).collect();
    while let Some(value) = left.pop() {
        match value {
            Value::String(text) => {
                used.extend(text.chars().filter(|c| ('\u{E000}'..='\u{F8FF}').contains(c)));
            }
            Value::Array(values) => left.extend(values),
            Value::Object(map) => left.extend(map.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let free = ('\u{E000}'..='\u{F8FF}').find(|c| !used.contains(c));
    free.ok_or_else(|| "uses every private character of Unicode".to_owned())
}

/// JSON as Python writes it, which models were trained on: a space after every comma and colon,
/// and no escapes beyond what JSON needs.
fn tojson(value: &minijinja::Value, options: &Kwargs) -> Result<String, Error> {
    // Python's other options have no bearing on what models see.
    let spaces: Option<usize> = options.get("indent")?;
    let failed =
        |error: &dyn std::fmt::Display| Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut out = Vec::new();
    let written = if let Some(spaces) = spaces {
        let indent = " ".repeat(spaces.min(DEPTH_MAX));
        let pretty = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, pretty))
    } else {
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced))
    };
    written.map_err(|error| failed(&error))?;
    String::from_utf8(out).map_err(|error| failed(&error))
}

/// A space after every comma and colon.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()>
    where
        W: ?Sized + std::io::Write,
    {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()>
    where
        W: ?Sized + std::io::Write,
    {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W>(&mut self, writer: &mut W) -> std::io::Result<()>
    where
        W: ?Sized + std::io::Write,
    {
        writer.write_all(b": ")
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Formats seconds since 1970 in UTC; directives that templates do not use stay as they are.
fn strftime(format: &str, seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let (year, month, day) = civil(seconds / 86_400);
    let name = MONTHS[month as usize - 1];
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        match (c, c == '%') {
            (_, true) => match chars.next() {
                Some('Y') => out.push_str(&format!("{year}")),
                Some('m') => out.push_str(&format!("{month:02}")),
                Some('d') => out.push_str(&format!("{day:02}")),
                Some('B') => out.push_str(name),
                Some('b') => out.push_str(&name[..3]),
                Some('H') => out.push_str(&format!("{:02}", seconds / 3_600 % 24)),
                Some('M') => out.push_str(&format!("{:02}", seconds / 60 % 60)),
                Some('S') => out.push_str(&format!("{:02}", seconds % 60)),
                Some(other) => out.extend(['%', other]),
                None => out.push('%'),
            },
            (c, false) => out.push(c),
        }
    }
    out
}

/// Year, month and day of a number of days since 1970. Source: Hinnant, "chrono-compatible
/// low-level date algorithms".
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
