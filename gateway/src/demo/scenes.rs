//! The scenes in which calls succeed.

use std::io::Read;
use std::time::Instant;

use http::Method;
use serde_json::{Value, json};

use super::guests::{BUNDLED_MODEL, EMBEDDING_MODEL, Guest, HELLO, SEMANTIC_SEARCH, STORYTELLER};
use super::stage::amount;
use super::{Outcome, Play, expect, failure};
use crate::cli::CliError;
use crate::cli::deploy::Upload;
use crate::cli::format::{cell, size};
use crate::cli::usage::shown_usage;
use crate::client::{Answer, Call, ClientError};

/// How much of a streamed answer is read before it is shown.
const CHUNK_BYTES: usize = 4096;
/// The longest answer of a function that the demo shows.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// How a curl line authorises itself.
const AUTHORIZATION: &str = "-H \"Authorization: Bearer $EMBERBOX_API_KEY\"";

/// A chat with the bundled model, streamed.
pub(super) fn chat(play: &mut Play<'_>) -> Result<Outcome, CliError> {
    let body = json!({
        "model": BUNDLED_MODEL,
        "messages": [{"role": "user", "content": "Tell me a story about a fox named Mia."}],
        "max_tokens": 180,
        "temperature": 0.7,
        "seed": 7,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    play.screen.command(&format!(
        "curl -N $EMBERBOX_URL/v1/chat/completions {AUTHORIZATION} \\\n-H 'content-type: \
         application/json' -d '{{\"model\": \"{BUNDLED_MODEL}\", \"stream\": true,\n\"messages\": \
         [{{\"role\": \"user\", \"content\": \"Tell me a story about a fox named Mia.\"}}]}}'"
    ))?;
    let begun = Instant::now();
    let call = Call::new(Method::POST, "/v1/chat/completions").json(&body);
    let mut shown = play.screen.stream();
    let mut first_ms = None;
    let mut usage = Value::Null;
    let mut finish_reason = None;
    for event in play.stage.client.send(call)?.into_events() {
        let event = event?;
        if let Some(piece) = event.pointer("/choices/0/delta/content").and_then(Value::as_str) {
            if !piece.is_empty() {
                first_ms.get_or_insert_with(|| begun.elapsed().as_millis());
            }
            shown.piece(piece)?;
        }
        if let Some(reason) = event.pointer("/choices/0/finish_reason").and_then(Value::as_str) {
            finish_reason = Some(reason.to_owned());
        }
        if let Some(counted) = event.get("usage").filter(|usage| usage.is_object()) {
            usage = counted.clone();
        }
    }
    shown.end()?;
    let ms = begun.elapsed().as_millis().max(1);
    let tokens = usage.pointer("/completion_tokens").and_then(Value::as_u64).unwrap_or(0);
    expect(tokens > 0, || "the model said nothing".to_owned())?;
    expect(finish_reason.is_some(), || "the stream ended without a finish_reason".to_owned())?;
    play.screen.fact(
        "tokens",
        &format!(
            "{} in, {tokens} out; the first piece after {} ms, then {} tokens/s",
            cell(&usage, "/prompt_tokens"),
            first_ms.unwrap_or(ms),
            u128::from(tokens) * 1000 / ms.saturating_sub(first_ms.unwrap_or(0)).max(1)
        ),
    )?;
    Ok(Outcome { claimed: Some(amount(&usage, "/cost")?), ..Outcome::default() })
}

/// Uploads the examples.
pub(super) fn deploy(play: &mut Play<'_>) -> Result<Outcome, CliError> {
    play.screen.command("emberbox deploy examples/hello        # and the others")?;
    let model = embedding_model(play)?;
    let search = SEMANTIC_SEARCH.manifest.replace(EMBEDDING_MODEL, model);
    for (guest, manifest) in [
        (HELLO, HELLO.manifest),
        (STORYTELLER, STORYTELLER.manifest),
        (SEMANTIC_SEARCH, search.as_str()),
    ] {
        put_online(play, guest, manifest)?;
    }
    Ok(Outcome::default())
}

/// The model for embeddings: a real one if a person gave its folder, else the bundled one.
fn embedding_model(play: &Play<'_>) -> Result<&'static str, CliError> {
    let Some(path) = &play.options.embedding_model else { return Ok(BUNDLED_MODEL) };
    let path = std::path::absolute(path)
        .map_err(|source| CliError::File { path: path.clone(), source })?;
    let body = json!({"name": EMBEDDING_MODEL, "path": path.display().to_string()});
    play.stage.admin.post("/admin/v1/models", &body)?;
    Ok(EMBEDDING_MODEL)
}

fn put_online(play: &Play<'_>, guest: Guest, manifest: &str) -> Result<(), CliError> {
    let begun = Instant::now();
    let upload = Upload { name: guest.name, manifest, activate: true };
    let deployed = upload.send(&play.stage.client, guest.component.to_vec())?;
    play.screen.block(&format!(
        "{:<16}  version {}  {:>9}  {:>5} ms  /f/{}/{}/",
        guest.name,
        cell(&deployed, "/version"),
        size(guest.component.len() as u64),
        begun.elapsed().as_millis(),
        play.stage.org,
        guest.name
    ))
}

/// A function without a model.
pub(super) fn hello(play: &mut Play<'_>) -> Result<Outcome, CliError> {
    let path = format!("/f/{}/hello/?name=Mia", play.stage.org);
    play.screen.command(&format!("curl \"$EMBERBOX_URL{path}\" {AUTHORIZATION}"))?;
    let answer = play.stage.client.send(Call::new(Method::GET, &path))?;
    let claimed = claimed(&answer)?;
    let text = answer.into_text()?;
    play.screen.block(&format!("│ {}", text.trim_end()))?;
    expect(text.contains("Mia"), || format!("hello did not greet Mia: {text:?}"))?;
    Ok(Outcome { claimed, ..Outcome::default() })
}

/// A function that streams what the model writes.
pub(super) fn story(play: &mut Play<'_>) -> Result<Outcome, CliError> {
    let path = format!("/f/{}/storyteller/?about=a+rabbit&name=Ben&seed=3", play.stage.org);
    play.screen.command(&format!("curl -N \"$EMBERBOX_URL{path}\" \\\n{AUTHORIZATION}"))?;
    let answer = play.stage.client.send(Call::new(Method::GET, &path))?;
    let claimed = claimed(&answer)?;
    let text = show_stream(play, answer)?;
    expect(!text.trim().is_empty(), || "the story is empty".to_owned())?;
    Ok(Outcome { claimed, ..Outcome::default() })
}

/// Shows a body as it arrives and gives it back.
fn show_stream(play: &Play<'_>, answer: Answer) -> Result<String, CliError> {
    let mut body = answer.into_reader();
    let mut shown = play.screen.stream();
    let mut buffer = vec![0; CHUNK_BYTES];
    let (mut text, mut pending) = (String::new(), Vec::new());
    while text.len() < TEXT_BYTES_MAX {
        let read = body.read(&mut buffer).map_err(|source| ClientError::Broken {
            url: play.stage.client.base().to_owned(),
            source,
        })?;
        if read == 0 {
            break;
        }
        pending.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let piece = whole_characters(&mut pending);
        shown.piece(&piece)?;
        text.push_str(&piece);
    }
    shown.end()?;
    Ok(text)
}

/// Takes what is complete UTF-8 off the front; a character that is cut waits for its rest.
fn whole_characters(bytes: &mut Vec<u8>) -> String {
    let whole = match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        // What is no UTF-8 at all is shown as such rather than kept for ever.
        Err(_) => bytes.len(),
    };
    let rest = bytes.split_off(whole);
    let taken = std::mem::replace(bytes, rest);
    String::from_utf8_lossy(&taken).into_owned()
}

/// A function that compares embeddings.
pub(super) fn search(play: &mut Play<'_>) -> Result<Outcome, CliError> {
    const DOCUMENTS: [&str; 4] = [
        "The rabbit found a shiny key under the old oak tree.",
        "Heavy rain fell on the village all night long.",
        "The baker gave warm bread to every child.",
        "A little boat sailed down the river to the sea.",
    ];
    const QUERY: &str = "An animal found something shiny in the woods.";
    let path = format!("/f/{}/semantic-search/", play.stage.org);
    play.screen.command(&format!(
        "curl $EMBERBOX_URL{path} {AUTHORIZATION} \\\n-d '{{\"query\": \"{QUERY}\", \
         \"documents\": […]}}'"
    ))?;
    let body = json!({"query": QUERY, "documents": DOCUMENTS});
    let answer = play.stage.client.send(Call::new(Method::POST, &path).json(&body))?;
    let claimed = claimed(&answer)?;
    let ranking = answer.into_json()?;
    let results = ranking.get("results").and_then(Value::as_array).cloned().unwrap_or_default();
    let scores: Vec<f64> =
        results.iter().filter_map(|result| result.get("score")?.as_f64()).collect();
    for (result, score) in results.iter().zip(&scores) {
        play.screen.block(&format!("{score:>7.3}  {}", cell(result, "/document")))?;
    }
    expect(scores.len() == DOCUMENTS.len(), || {
        format!("{} documents were sent and {} ranked", DOCUMENTS.len(), scores.len())
    })?;
    expect(scores.is_sorted_by(|a, b| a >= b), || "the ranking is not in order".to_owned())?;
    expect(scores.iter().all(|score| score.abs() < 1.001), || "a cosine above 1".to_owned())?;
    if play.options.embedding_model.is_some() {
        expect(cell(&ranking, "/results/0/index") == "0", || {
            "a real embedding model finds the rabbit first".to_owned()
        })?;
    } else {
        play.screen.fact(
            "note",
            "these embeddings come from the story model, which is a toy at this;\n               \
             --embedding-model FOLDER takes a real one, such as all-MiniLM-L6-v2",
        )?;
    }
    Ok(Outcome { claimed, ..Outcome::default() })
}

/// The sums of what was called.
pub(super) fn usage(play: &mut Play<'_>) -> Result<Outcome, CliError> {
    play.screen.command("emberbox usage")?;
    let usage = play.stage.client.get("/v1/usage?since_ms=0")?;
    play.screen.block(&shown_usage(&usage, play.screen.paint()))?;
    let (total, spent) = (amount(&usage, "/total")?, play.spent()?);
    expect(total == spent, || {
        format!("usage says {total} credits, and the steps before cost {spent}")
    })?;
    Ok(Outcome::default())
}

/// What a call says that it cost, where it can say so in its head: streams cannot.
pub(super) fn claimed(answer: &Answer) -> Result<Option<emberbox_billing::Nano>, CliError> {
    let Some(text) = answer.header("x-emberbox-cost") else { return Ok(None) };
    let cost = text.parse().map_err(|error| failure(format!("x-emberbox-cost: {error}")))?;
    Ok(Some(cost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_are_cut_wait_for_their_rest() {
        let mut pending = "né".as_bytes()[..2].to_vec();
        assert_eq!(whole_characters(&mut pending), "n");
        pending.push("né".as_bytes()[2]);
        assert_eq!(whole_characters(&mut pending), "é");
        assert!(pending.is_empty());
        let mut foreign = vec![b'a', 0xff, b'b'];
        assert_eq!(whole_characters(&mut foreign), "a\u{fffd}b");
    }
}
