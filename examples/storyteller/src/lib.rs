//! Streams a story from the bundled language model, piece by piece as it is written.
//!
//! `GET /?about=a+fox&name=Mia`, or `POST /` with the same fields as JSON.

use emberbox_sdk::{Error, Message, Model, Request, Response};
use serde::Deserialize;

emberbox_sdk::main!(handle);

/// Tokens of a story. The model's whole context is 256 tokens, the question included.
const STORY_TOKENS_MAX: u32 = 200;
/// Characters of what a story can be asked to be about.
const SUBJECT_CHARS_MAX: usize = 100;

/// What the caller may ask for; everything has a default.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wish {
    /// Whom or what the story is about, such as `a fox`.
    about: Option<String>,
    /// The main character's name.
    name: Option<String>,
    /// 0 for the likeliest story, higher for more varied ones.
    temperature: Option<f32>,
    /// The same seed tells the same story.
    seed: Option<u64>,
}

fn handle(request: Request) -> Result<Response, Error> {
    let wish = Wish::read(&request)?;
    let model = Model::load("tiny-storyteller")?;
    let mut story = model
        .generate(Message::user(wish.question()?))
        .max_tokens(STORY_TOKENS_MAX)
        .temperature(wish.temperature.unwrap_or(0.8));
    if let Some(seed) = wish.seed {
        story = story.seed(seed);
    }
    Ok(Response::stream(story))
}

impl Wish {
    fn read(request: &Request) -> Result<Self, Error> {
        match (request.method(), request.path()) {
            ("GET", "/") => Ok(Self {
                about: request.query("about").map(str::to_owned),
                name: request.query("name").map(str::to_owned),
                temperature: request.query_as("temperature")?,
                seed: request.query_as("seed")?,
            }),
            ("POST", "/") => request.json(),
            _ => Err(Error::not_found("ask with GET /?about=a+fox&name=Mia, or POST JSON to /")),
        }
    }

    /// The sentence to say to the model, close to those it was trained on.
    fn question(&self) -> Result<String, Error> {
        let about = subject("about", self.about.as_deref())?;
        let name = subject("name", self.name.as_deref())?;
        Ok(match (about, name) {
            (Some(about), Some(name)) => format!("Tell me a story about {about} named {name}."),
            (Some(about), None) => format!("Tell me a story about {about}."),
            (None, Some(name)) => format!("Tell me a story about {name}."),
            (None, None) => "Tell me a story.".to_owned(),
        })
    }
}

/// A part of the question: trimmed, of one line, and not too long.
fn subject<'a>(field: &str, text: Option<&'a str>) -> Result<Option<&'a str>, Error> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.chars().count() > SUBJECT_CHARS_MAX || text.contains(char::is_control) {
        let rule = format!("must be one line of at most {SUBJECT_CHARS_MAX} characters");
        return Err(Error::bad_request(rule).at(field));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_become_questions() {
        let check = |request: Request, expect: &str| {
            assert_eq!(Wish::read(&request).unwrap().question().unwrap(), expect);
        };
        check(Request::get("/"), "Tell me a story.");
        check(Request::get("/?about=a+fox&name=Mia"), "Tell me a story about a fox named Mia.");
        check(Request::get("/?name=%20Ben%20&about="), "Tell me a story about Ben.");
        check(Request::post("/", r#"{"about":"a red kite"}"#), "Tell me a story about a red kite.");
    }

    #[test]
    fn mistakes_are_named() {
        let long = format!("/?about={}", "x".repeat(SUBJECT_CHARS_MAX + 1));
        for (request, status, param) in [
            (Request::get(&long), 400, Some("about")),
            (Request::get("/?name=a%0Ab"), 400, Some("name")),
            (Request::get("/?seed=-1"), 400, Some("seed")),
            (Request::post("/", r#"{"abuot":"a fox"}"#), 400, None),
            (Request::post("/", "a fox"), 400, None),
            (Request::new("DELETE", "/"), 404, None),
            (Request::get("/story"), 404, None),
        ] {
            let error = Wish::read(&request).and_then(|wish| wish.question()).unwrap_err();
            assert_eq!((error.status(), error.param()), (status, param), "{request:?}");
        }
    }
}
