//! Measures the artifact itself: perplexity on held-out chats, and whether stories keep their main
//! character's name.

use crate::chat::{Request, request, row_rng};
use crate::config::{CONTEXT, END_ID};
use crate::corpus::{Corpus, HELD_OUT_SEED};
use crate::grammar;
use crate::grammar::lexicon::NAMES;
use crate::infer::{self, Session};
use crate::kernels::IGNORE;
use crate::model::Batch;
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;
use anyhow::Result;
use rayon::prelude::*;
use std::collections::HashSet;

/// Seed of the requests that are evaluated: neither the training nor the held-out rows.
const REQUEST_SEED: u64 = 99;
/// The temperature at which stories are drawn.
const TEMPERATURE: f32 = 0.8;
/// Mentions of the main character that a story needs at least.
const MENTIONS_MIN: usize = 3;

/// One generated story and how it did.
#[derive(Debug)]
pub(crate) struct Told {
    /// What the user asked.
    pub(crate) asked: String,
    /// What the model told.
    pub(crate) text: String,
    /// The only name is the main character's, it occurs often enough and it is the one asked for.
    pub(crate) keeps_name: bool,
    /// The animal and the thing that were asked for occur; nothing when none was.
    pub(crate) uses_request: Option<bool>,
    /// The model ended the story itself.
    pub(crate) ends: bool,
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic())
}

/// Judges a story: all names in it must be one and the same.
pub(crate) fn keeps_name(text: &str, asked: Option<&str>) -> bool {
    let known = |word: &&str| NAMES.iter().any(|(name, _)| name == word);
    let names: Vec<&str> = words(text).filter(known).collect();
    let Some(main) = names.first() else {
        return false;
    };
    names.len() >= MENTIONS_MIN
        && names.iter().all(|name| name == main)
        && asked.is_none_or(|asked| asked == *main)
}

fn uses_request(text: &str, request: &Request) -> Option<bool> {
    let asked: Vec<&str> = [request.kind, request.thing].into_iter().flatten().collect();
    let used = || asked.iter().all(|asked| words(text).any(|word| word == *asked));
    (!asked.is_empty()).then(used)
}

fn tell(index: u64, weights: &Weights, tokenizer: &Tokenizer) -> Result<Told> {
    let mut rng = row_rng(REQUEST_SEED, index);
    let story = grammar::story(&mut rng);
    let request = request(&story, &mut rng);
    let prompt = tokenizer.prompt(&request.text)?;
    let choose = |logits: &[f32]| infer::sample(logits, TEMPERATURE, &mut rng);
    let ids = infer::generate(weights, &prompt, CONTEXT, choose);
    let text = tokenizer.decode(&ids)?;
    Ok(Told {
        keeps_name: keeps_name(&text, request.name),
        uses_request: uses_request(&text, &request),
        ends: ids.last() == Some(&END_ID),
        asked: request.text,
        text,
    })
}

/// Tells `count` stories on requests that the model has not seen.
///
/// # Errors
/// Fails only on a bug of the tokenizer.
pub(crate) fn tell_stories(
    count: u64,
    weights: &Weights,
    tokenizer: &Tokenizer,
) -> Result<Vec<Told>> {
    (0..count).into_par_iter().map(|index| tell(index, weights, tokenizer)).collect()
}

/// Cost in nats of one chat's counted tokens.
fn cost(batch: &Batch, weights: &Weights) -> f64 {
    let mut session = Session::new(weights);
    let mut total = 0.0;
    for (id, target) in batch.ids.iter().zip(batch.targets.iter()) {
        let logits = session.step(*id);
        if *target == IGNORE {
            continue;
        }
        let top = logits.iter().fold(f32::MIN, |top, logit| top.max(*logit));
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - top).exp()).sum();
        total += sum.ln() + f64::from(top - logits[*target as usize]);
    }
    total
}

/// Perplexity of the quantised weights over `chats` held-out chats, and the tokens that counted.
///
/// # Errors
/// Fails only on a bug of the tokenizer.
pub(crate) fn perplexity(
    chats: usize,
    weights: &Weights,
    tokenizer: &Tokenizer,
) -> Result<(f64, usize)> {
    let mut corpus = Corpus::new(tokenizer, HELD_OUT_SEED);
    let chats = (0..chats).map(|_| corpus.batch(1)).collect::<Result<Vec<_>>>()?;
    let cost: f64 = chats.par_iter().map(|chat| cost(chat, weights)).sum();
    let count = chats.iter().map(Batch::counted).sum::<usize>();
    Ok(((cost / count.max(1) as f64).exp(), count))
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// The evaluation as text.
///
/// # Errors
/// Fails only on a bug of the tokenizer.
pub(crate) fn report(stories: u64, weights: &Weights, tokenizer: &Tokenizer) -> Result<String> {
    let (perplexity, tokens) = perplexity(300, weights, tokenizer)?;
    let told = tell_stories(stories, weights, tokenizer)?;
    let count = |test: fn(&Told) -> bool| told.iter().filter(|told| test(told)).count();
    let asked = count(|told| told.uses_request.is_some());
    let texts: HashSet<&str> = told.iter().map(|told| told.text.as_str()).collect();
    let wandered = told.iter().find(|told| !told.keeps_name);
    let mut text = format!(
        "parameters                              {}\n\
         held-out perplexity, Q8_0               {perplexity:.3} over {tokens} tokens\n\
         stories that keep the name              {:.3} of {}\n\
         stories with the animal and thing asked {:.3} of {asked}\n\
         stories that end by themselves          {:.3}\n\
         stories that are all different          {:.3}\n",
        weights.parameters(),
        share(count(|told| told.keeps_name), told.len()),
        told.len(),
        share(count(|told| told.uses_request == Some(true)), asked),
        share(count(|told| told.ends), told.len()),
        share(texts.len(), told.len()),
    );
    let sample = told.iter().find(|told| told.keeps_name);
    for (title, told) in [("a story", sample), ("a story that lost its name", wandered)] {
        if let Some(told) = told {
            text += &format!("\n{title}\n  user: {}\n  model: {}\n", told.asked, told.text);
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_keeps_its_name_only_if_no_other_occurs() {
        for (text, asked, kept) in [
            ("Mia ran. Mia sat. Mia's hat.", None, true),
            ("Mia ran. Mia sat. Mia's hat.", Some("Mia"), true),
            ("Mia ran. Mia sat. Mia's hat.", Some("Ben"), false),
            ("Mia ran. Mia sat. Tom's hat.", None, false),
            ("Mia ran. She sat. A tomcat.", None, false),
            ("A fox ran.", None, false),
            ("", None, false),
        ] {
            assert_eq!(keeps_name(text, asked), kept, "{text:?}, asked for {asked:?}");
        }
    }

    #[test]
    fn the_grammar_itself_passes_the_judgement() {
        for index in 0..300 {
            let mut rng = row_rng(6, index);
            let story = grammar::story(&mut rng);
            let request = request(&story, &mut rng);
            assert!(keeps_name(&story.text, request.name), "{}", story.text);
            assert_ne!(uses_request(&story.text, &request), Some(false), "{}", story.text);
        }
    }
}
