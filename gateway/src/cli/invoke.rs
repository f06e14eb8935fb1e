//! `emberbox invoke`: one call of a function, its answer printed as it arrives.

use std::io::Read;
use std::path::Path;

use clap::Args;
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use super::context::{Context, FunctionName};
use super::error::CliError;
use crate::client::{Answer, Call};

/// How much of an answer is read before it is printed.
const CHUNK_BYTES: usize = 16 * 1024;

/// Call a function and print its answer as it arrives
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The function: NAME, or OWNER/NAME for one of another organisation
    #[arg(value_parser = FunctionName::parse)]
    function: FunctionName,
    /// What to send: text, @FILE, or @- for standard input
    #[arg(long, short)]
    data: Option<String>,
    /// The path behind the function's address, with a query if it has one
    #[arg(long, short, default_value = "")]
    path: String,
    /// The method; POST with --data and GET without, if left out
    #[arg(long, short = 'X')]
    method: Option<Method>,
    /// A header, as "name: value"; can be given more than once
    #[arg(long, short = 'H', value_name = "HEADER", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is \"name: value\"")?;
    let name = name.trim().parse().map_err(|error| format!("{error}"))?;
    let value = value.trim().parse().map_err(|error| format!("{error}"))?;
    Ok((name, value))
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<(), CliError> {
    let owner = match &arguments.function.owner {
        Some(owner) => owner.clone(),
        None => context.organisation()?,
    };
    let rest = arguments.path.trim_start_matches('/');
    let path = format!("/f/{owner}/{}/{rest}", arguments.function.name);
    let body = arguments.data.as_deref().map(read_data).transpose()?;
    let usual = if body.is_some() { Method::POST } else { Method::GET };
    let mut call = Call::new(arguments.method.clone().unwrap_or(usual), &path);
    if let Some(bytes) = body {
        call = call.body(media_type(&bytes), bytes);
    }
    for (name, value) in &arguments.header {
        call = call.header(name.clone(), value.clone());
    }
    let answer = context.client()?.send(call)?;
    if context.out.is_json() { print_json(answer, context) } else { print_body(answer, context) }
}

/// The bytes that `--data` names, as curl reads it.
fn read_data(data: &str) -> Result<Vec<u8>, CliError> {
    let Some(file) = data.strip_prefix('@') else { return Ok(data.as_bytes().to_vec()) };
    let failed = |source| CliError::File { path: Path::new(file).to_owned(), source };
    if file != "-" {
        return std::fs::read(file).map_err(failed);
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn media_type(bytes: &[u8]) -> HeaderValue {
    let is_json =
        serde_json::from_slice::<Value>(bytes).is_ok_and(|v| v.is_object() || v.is_array());
    HeaderValue::from_static(if is_json { "application/json" } else { "text/plain; charset=utf-8" })
}

fn print_body(answer: Answer, context: &Context) -> Result<(), CliError> {
    let mut body = answer.into_reader();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut last = b'\n';
    loop {
        let read = body.read(&mut buffer).map_err(|error| CliError::Failed {
            what: format!("the function's answer broke off: {error}"),
            next: "`emberbox logs FUNCTION` may say why".to_owned(),
        })?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { break };
        last = *chunk.last().unwrap_or(&last);
        context.out.piece(chunk)?;
    }
    // The prompt of a terminal belongs on a line of its own; a pipe gets the bytes as they are.
    if last != b'\n' && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        context.out.piece(b"\n")?;
    }
    Ok(())
}

fn print_json(answer: Answer, context: &Context) -> Result<(), CliError> {
    let header = |name: &str| answer.header(name).map(str::to_owned);
    let mut document = json!({
        "status": answer.status.as_u16(),
        "content_type": header("content-type"),
        "request_id": header("x-request-id"),
        "cost": header("x-emberbox-cost"),
        "receipt": header("x-emberbox-receipt"),
    });
    document["body"] = json!(answer.into_text()?);
    context.out.answer(&document, |_| String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        let (name, value) = header("X-Mood:  good ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-mood", "good"));
        for bad in ["", "no colon", "bad name: x", ": x"] {
            assert!(header(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn data_is_text_or_a_file() {
        assert_eq!(read_data("hello").unwrap(), b"hello");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("body");
        std::fs::write(&path, [0, 255]).unwrap();
        assert_eq!(read_data(&format!("@{}", path.display())).unwrap(), [0, 255]);
        assert_eq!(read_data("@/does/not/exist").unwrap_err().exit_code(), 1);
    }

    #[test]
    fn json_is_recognised() {
        for (bytes, expected) in [
            ("{\"a\":1}", "application/json"),
            ("[1]", "application/json"),
            ("3", "text/plain; charset=utf-8"),
            ("{", "text/plain; charset=utf-8"),
            ("", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(media_type(bytes.as_bytes()), expected, "{bytes}");
        }
    }
}
