//! The story grammar: a seed in, a story out, always the same one.
//!
//! A story fixes its facts first (who, where, which thing) and then expands one plot. The main
//! character is the only one with a name, so that "which names occur" tells whether a model kept it.

pub(crate) mod lexicon;
mod plots;

use lexicon::scenes::{
    ELDERS, FOODS, GAMES, HAPPY, MANNERS, PLANTS, SAD, SKIES, SKILLS, SOUNDS, SPOTS, TIMES, WEATHER,
};
use lexicon::{ANIMALS, LOOKS, NAMES, OBJECTS, PLACES, TRAITS};
use plots::{DAY, ENDING, OPENING, PLOTS};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// What a story is about, and its text.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    /// The main character's name.
    pub(crate) name: &'static str,
    /// What the main character is: an animal, "girl" or "boy".
    pub(crate) kind: &'static str,
    /// The thing in the story.
    pub(crate) thing: &'static str,
    /// Where it happens, with its preposition.
    pub(crate) place: &'static str,
    /// What it is about, as in "a story about sharing".
    pub(crate) theme: &'static str,
    /// The story itself.
    pub(crate) text: String,
}

fn draw<'a, T: ?Sized>(rng: &mut ChaCha8Rng, pool: &[&'a T], fallback: &'a T) -> &'a T {
    pool.choose(rng).copied().unwrap_or(fallback)
}

fn word(rng: &mut ChaCha8Rng, pool: &[&'static str]) -> &'static str {
    draw(rng, pool, "")
}

/// Everything that stays the same through one story.
struct Facts {
    pairs: Vec<(&'static str, String)>,
}

impl Facts {
    fn get(&self, key: &str) -> &str {
        self.pairs.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value)
    }
}

fn pool(name: &str) -> &'static [&'static str] {
    match name {
        "food" => FOODS,
        "spot" => SPOTS,
        "manner" => MANNERS,
        "look" => LOOKS,
        "plant" => PLANTS,
        "sky_light" => &["stars", "moon"],
        _ => &[],
    }
}

/// The part of `text` up to the bracket that closes the one it starts after, and the rest.
fn bracketed(text: &str) -> (&str, &str) {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&text[..at], &text[at + 1..]);
        }
    }
    (text, "")
}

/// The alternatives of a choice; bars inside nested choices do not separate them.
fn alternatives(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            '|' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Expands choices, facts and pools of `text` into `out`.
fn expand(mut text: &str, facts: &Facts, rng: &mut ChaCha8Rng, out: &mut String) {
    while let Some(at) = text.find(['[', '{', '<']) {
        out.push_str(&text[..at]);
        let (mark, rest) = (text.as_bytes()[at], &text[at + 1..]);
        let after = match mark {
            b'[' => {
                let (inside, after) = bracketed(rest);
                let choice = draw(rng, &alternatives(inside), "");
                expand(choice, facts, rng, out);
                after
            }
            b'{' => {
                let (key, after) = rest.split_once('}').unwrap_or((rest, ""));
                out.push_str(facts.get(key));
                after
            }
            _ => {
                let (key, after) = rest.split_once('>').unwrap_or((rest, ""));
                out.push_str(word(rng, pool(key)));
                after
            }
        };
        text = after;
    }
    out.push_str(text);
}

fn starts_with_vowel(word: &str) -> bool {
    word.starts_with(['a', 'e', 'i', 'o', 'u'])
}

/// Collapses spaces, writes "an" before vowels and starts sentences with a capital.
fn tidy(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut out = String::with_capacity(text.len());
    let mut starts_sentence = true;
    for (i, word) in words.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        let vowel_next = words.get(i + 1).is_some_and(|next| starts_with_vowel(next));
        let word = match *word {
            "a" if vowel_next => "an",
            "A" if vowel_next => "An",
            word => word,
        };
        if starts_sentence {
            out.extend(word.chars().next().map(|c| c.to_ascii_uppercase()));
            out.push_str(word.get(1..).unwrap_or(""));
        } else {
            out.push_str(word);
        }
        starts_sentence = word.ends_with(['.', '!', '?']);
    }
    out
}

fn facts(rng: &mut ChaCha8Rng) -> (Facts, Story) {
    let (name, she) = NAMES.choose(rng).copied().unwrap_or(("Mia", true));
    let child = if she { "girl" } else { "boy" };
    let kind = if rng.random_bool(0.2) { child } else { word(rng, ANIMALS) };
    let others: Vec<&str> = ANIMALS.iter().copied().filter(|animal| *animal != kind).collect();
    let friend = draw(rng, &others, "owl");
    let mut pairs = vec![("name", name.to_owned()), ("kind", kind.to_owned())];
    let pronouns = if she {
        [("he", "she"), ("He", "She"), ("his", "her"), ("His", "Her"), ("him", "her")]
    } else {
        [("he", "he"), ("He", "He"), ("his", "his"), ("His", "His"), ("him", "him")]
    };
    pairs.extend(pronouns.map(|(key, value)| (key, value.to_owned())));
    let (thing, place) = (word(rng, OBJECTS), word(rng, PLACES));
    let hero = [
        format!("a {} {kind}", word(rng, TRAITS)),
        format!("a {} {kind}", word(rng, TRAITS)),
        format!("a {kind}"),
    ];
    pairs.push(("a_hero", hero.choose(rng).cloned().unwrap_or_default()));
    let fixed = [("thing", thing), ("place", place), ("friend", friend)];
    pairs.extend(fixed.map(|(key, value)| (key, value.to_owned())));
    let pools: [(&str, &[&str]); 13] = [
        ("look", LOOKS),
        ("ftrait", TRAITS),
        ("elder", ELDERS),
        ("weather", WEATHER),
        ("time", TIMES),
        ("skill", SKILLS),
        ("sound", SOUNDS),
        ("plant", PLANTS),
        ("game", GAMES),
        ("sky", SKIES),
        ("happy", HAPPY),
        ("sad", SAD),
        ("food", FOODS),
    ];
    for (key, pool) in pools {
        pairs.push((key, word(rng, pool).to_owned()));
    }
    let spots = SPOTS.choose_multiple(rng, 3).map(|spot| (*spot).to_owned());
    pairs.extend(["spot", "spot2", "spot3"].into_iter().zip(spots));
    (Facts { pairs }, Story { name, kind, thing, place, theme: "", text: String::new() })
}

/// Writes one story with the given source of chance.
pub(crate) fn story(rng: &mut ChaCha8Rng) -> Story {
    let (mut facts, mut story) = facts(rng);
    let plot = &PLOTS[rng.random_range(0..PLOTS.len())];
    story.theme = word(rng, plot.themes);
    let mut day = String::new();
    expand(DAY, &facts, rng, &mut day);
    facts.pairs.push(("day", day));
    let mut text = String::new();
    for part in [OPENING, " ", plot.text, " ", ENDING] {
        expand(part, &facts, rng, &mut text);
    }
    story.text = tidy(&text);
    story
}

#[cfg(test)]
mod tests;
