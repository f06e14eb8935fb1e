//! Training rows: chats in which a user asks for a story, or just talks, and the model answers.

mod phrases;

use crate::grammar::lexicon::OBJECTS;
use crate::grammar::{self, Story};
use phrases::{ASK, ASK_AGAIN, FREE, HELLO, OPENERS, OTHER, REFUSALS, SMALL_TALK, THANKS};
use rand::Rng;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// What a user says and what the model answers.
pub(crate) type Turn = (String, String);

/// One training row.
#[derive(Clone, Debug)]
pub(crate) struct Chat {
    /// In order; at least one.
    pub(crate) turns: Vec<Turn>,
}

/// A request for a story and what the story must then have.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// What the user says.
    pub(crate) text: String,
    /// The name that the user asked for.
    pub(crate) name: Option<&'static str>,
    /// The kind of main character that the user asked for.
    pub(crate) kind: Option<&'static str>,
    /// The thing that the user asked for.
    pub(crate) thing: Option<&'static str>,
}

fn pick<'a>(rng: &mut ChaCha8Rng, pool: &[&'a str]) -> &'a str {
    pool.choose(rng).copied().unwrap_or("")
}

fn with_article(word: &str) -> String {
    let article = if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {word}")
}

/// What a user might ask to get this story: some of its facts, or none.
pub(crate) fn request(story: &Story, rng: &mut ChaCha8Rng) -> Request {
    let (kind, thing, name) = (with_article(story.kind), with_article(story.thing), story.name);
    let plain = Request { text: String::new(), name: None, kind: None, thing: None };
    let named = Request { name: Some(name), ..plain.clone() };
    let of_kind = Request { kind: Some(story.kind), ..plain.clone() };
    let with_thing = Request { thing: Some(story.thing), ..plain.clone() };
    let (topic, request) = match rng.random_range(0..14) {
        0..=2 => (
            format!("about {kind} {} {name}", pick(rng, &["named", "called"])),
            Request { name: Some(name), ..of_kind },
        ),
        3 | 4 => (format!("about {kind}"), of_kind),
        5 | 6 => (format!("about {name}"), named),
        7 => (format!("with {thing}"), with_thing),
        8 => (format!("about {thing}"), with_thing),
        9 => (format!("about {name} and {thing}"), Request { thing: Some(story.thing), ..named }),
        10 => (
            format!("about {kind} {} {thing}", pick(rng, &["and", "with", "who finds"])),
            Request { thing: Some(story.thing), ..of_kind },
        ),
        11 => (format!("about {}", story.theme), plain),
        12 => (format!("that happens {}", story.place), plain),
        _ => return Request { text: vary(pick(rng, FREE), rng), ..plain },
    };
    let text = pick(rng, ASK).replace('@', &topic);
    Request { text: vary(&text, rng), ..request }
}

/// People do not always write capitals and full stops.
fn vary(text: &str, rng: &mut ChaCha8Rng) -> String {
    let mut text = text.to_owned();
    if rng.random_bool(0.15) {
        text = text.to_lowercase();
    }
    if rng.random_bool(0.2) {
        text = text.trim_end_matches(['.', '!', '?']).to_owned();
    } else if rng.random_bool(0.05) {
        text = text.trim_end_matches(['.', '!', '?']).to_owned() + "!";
    }
    text
}

fn story_turn(rng: &mut ChaCha8Rng) -> Turn {
    let story = grammar::story(rng);
    let request = request(&story, rng);
    let opener = if rng.random_bool(0.1) { pick(rng, OPENERS) } else { "" };
    (request.text, format!("{opener}{}", story.text))
}

/// "Once upon a time" is answered by the story that goes so.
fn continuation(rng: &mut ChaCha8Rng) -> Turn {
    let mut story = grammar::story(rng);
    while !story.text.starts_with("Once upon a time") {
        story = grammar::story(rng);
    }
    (
        vary(pick(rng, &["Once upon a time", "Once upon a time...", "Once upon a time,"]), rng),
        story.text,
    )
}

fn refusal(rng: &mut ChaCha8Rng) -> Turn {
    let question = pick(rng, OTHER)
        .replace('#', &rng.random_range(1..100).to_string())
        .replace('%', &rng.random_range(2..20).to_string())
        .replace('@', pick(rng, OBJECTS));
    (vary(&question, rng), pick(rng, REFUSALS).to_owned())
}

fn small_talk(rng: &mut ChaCha8Rng) -> Turn {
    let (questions, answers) = SMALL_TALK[rng.random_range(0..SMALL_TALK.len())];
    (vary(pick(rng, questions), rng), pick(rng, answers).to_owned())
}

fn exchange(rng: &mut ChaCha8Rng, (questions, answers): phrases::Exchange) -> Turn {
    (vary(pick(rng, questions), rng), pick(rng, answers).to_owned())
}

/// Writes one training row.
pub(crate) fn chat(rng: &mut ChaCha8Rng) -> Chat {
    let turns = match rng.random_range(0..100) {
        0..=71 => vec![story_turn(rng)],
        72..=75 => vec![continuation(rng)],
        76..=78 => vec![exchange(rng, HELLO), story_turn(rng)],
        79..=81 => vec![small_talk(rng), story_turn(rng)],
        82..=83 => vec![refusal(rng), story_turn(rng)],
        84..=86 => vec![story_turn(rng), exchange(rng, THANKS)],
        87..=89 => {
            let again = (vary(pick(rng, ASK_AGAIN), rng), grammar::story(rng).text);
            vec![story_turn(rng), again]
        }
        90..=91 => vec![exchange(rng, HELLO)],
        92..=95 => vec![small_talk(rng)],
        96 => vec![small_talk(rng), small_talk(rng)],
        _ => vec![refusal(rng)],
    };
    Chat { turns }
}

/// The source of chance of row `index`: rows can be written in any order and on any thread.
pub(crate) fn row_rng(seed: u64, index: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_asks_for_what_is_in_the_story() {
        for index in 0..500 {
            let mut rng = row_rng(3, index);
            let story = grammar::story(&mut rng);
            let request = request(&story, &mut rng);
            let asked = request.text.to_lowercase();
            for word in [request.name, request.kind, request.thing].into_iter().flatten() {
                assert!(asked.contains(&word.to_lowercase()), "{word} in {asked}");
            }
            assert!(!asked.contains(['@', '#', '%']), "{asked}");
        }
    }

    #[test]
    fn rows_depend_on_seed_and_index_only() {
        let text = |seed, index| format!("{:?}", chat(&mut row_rng(seed, index)));
        assert_eq!(text(1, 5), text(1, 5));
        assert_ne!(text(1, 5), text(1, 6));
        assert_ne!(text(1, 5), text(2, 5));
    }
}
