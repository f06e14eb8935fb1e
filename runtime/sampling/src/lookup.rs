use std::collections::HashMap;

/// Longest run of tokens that is looked up.
const GRAM_MAX: usize = 4;
/// Shortest one: a single token says too little.
const GRAM_MIN: usize = 2;
/// Longest draft.
const DRAFT_MAX: usize = 8;
/// Drafts that are tried before a sequence that gains nothing from them stops trying.
const TRIAL: u32 = 8;
/// A sequence stays away from drafts for so many tokens, and then tries again.
const PAUSE: u32 = 64;

/// Drafts for one sequence: what followed the last time that its latest tokens occurred.
///
/// A draft is only ever a guess of what the sampler will pick. It is checked by sampling as
/// without it and comparing, so outputs are the same with and without drafts, token for token.
/// Sources: Leviathan et al. 2023 (speculative decoding), Saxena 2023 (prompt lookup).
#[derive(Debug, Default)]
pub struct Lookup {
    /// Where a run of tokens was followed by more: the position after its latest occurrence.
    places: [HashMap<[u32; GRAM_MAX], u32>; GRAM_MAX + 1 - GRAM_MIN],
    /// How many of the sequence's tokens are in `places`.
    known: usize,
    drafted: u32,
    accepted: u32,
    pause: u32,
}

impl Lookup {
    /// A draft of at most `most` tokens after `tokens`, the whole sequence so far; often empty.
    pub fn draft<'a>(&mut self, tokens: &'a [u32], most: usize) -> &'a [u32] {
        self.learn(tokens);
        if self.pause > 0 {
            self.pause -= 1;
            return &[];
        }
        let longest = (GRAM_MIN..=GRAM_MAX).rev().filter(|len| *len <= tokens.len());
        for len in longest {
            let gram = gram(&tokens[tokens.len() - len..]);
            if let Some(at) = self.places[len - GRAM_MIN].get(&gram) {
                let rest = &tokens[*at as usize..];
                return &rest[..rest.len().min(most).min(DRAFT_MAX)];
            }
        }
        &[]
    }

    /// Tells how many tokens of the last draft the sampler picked as well.
    pub fn judge(&mut self, drafted: usize, accepted: usize) {
        self.drafted = self.drafted.saturating_add(drafted as u32);
        self.accepted = self.accepted.saturating_add(accepted as u32);
        if self.drafted < TRIAL * DRAFT_MAX as u32 {
            return;
        }
        // A drafted row costs nearly a whole one where many sequences share the weights; with
        // fewer than one in four accepted it does not pay anywhere.
        if self.accepted * 4 < self.drafted {
            self.pause = PAUSE;
        }
        self.drafted = 0;
        self.accepted = 0;
    }

    /// Takes in the runs that have a next token by now.
    fn learn(&mut self, tokens: &[u32]) {
        for end in self.known.max(GRAM_MIN)..tokens.len() {
            for len in GRAM_MIN..=GRAM_MAX.min(end) {
                let gram = gram(&tokens[end - len..end]);
                self.places[len - GRAM_MIN].insert(gram, end as u32);
            }
        }
        self.known = tokens.len();
    }
}

/// A run padded to one length; runs of different lengths are kept apart by their maps.
fn gram(tokens: &[u32]) -> [u32; GRAM_MAX] {
    let mut gram = [u32::MAX; GRAM_MAX];
    gram[..tokens.len()].copy_from_slice(tokens);
    gram
}

#[cfg(test)]
mod tests;
