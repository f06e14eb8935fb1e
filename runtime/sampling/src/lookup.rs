/// Longest run of tokens that is looked up.
const GRAM_MAX: usize = 4;
/// Shortest one: a single token says too little.
const GRAM_MIN: usize = 2;
/// Longest draft.
const DRAFT_MAX: usize = 8;
/// A sequence whose drafts do not pay does without for so many tokens, and then tries again.
const PAUSE: u32 = 128;
/// After so many tested tokens the older half of what is known of drafts is forgotten.
const MEMORY: f64 = 64.0;
/// How many tested tokens a sequence starts with, and the part of them taken as picked: hopeful
/// enough that a draft is tried even where nothing is known of what it costs.
const PRIOR: (f64, f64) = (2.0, 0.95);

/// Drafts for one sequence: what followed the last time that its latest tokens occurred.
///
/// A draft is only ever a guess of what the sampler will pick. It is checked by sampling as
/// without it and comparing, so outputs are the same with and without drafts, token for token.
/// Sources: Leviathan et al. 2023 (speculative decoding), Saxena 2023 (prompt lookup).
#[derive(Debug)]
pub struct Lookup {
    /// Drafted tokens before which all were picked, and those of them that were picked too.
    tested: f64,
    picked: f64,
    /// Tokens since drafts stopped paying.
    paused: u32,
}

impl Default for Lookup {
    fn default() -> Self {
        let (tested, part) = PRIOR;
        Self { tested, picked: tested * part, paused: 0 }
    }
}

impl Lookup {
    /// A draft of at most `most` tokens after `tokens`, the whole sequence so far; often empty.
    ///
    /// `worth` is how likely a token must be picked for its row to pay, above 0. The draft goes as
    /// far as its last token is that likely, by what came of the drafts before it.
    pub fn draft(&mut self, tokens: &[u32], most: usize, worth: f64) -> Vec<u32> {
        let likely = self.picked / self.tested;
        let pays = (worth.ln() / likely.ln()).floor() as usize;
        if pays == 0 {
            self.paused += 1;
            if self.paused == PAUSE {
                *self = Self::default();
            }
            return Vec::new();
        }
        let len = most.min(pays).min(DRAFT_MAX);
        let Some(at) = latest(tokens) else { return Vec::new() };
        let mut draft: Vec<u32> = Vec::with_capacity(len);
        for i in at..at + len {
            // What repeats itself goes on doing so.
            let next = tokens.get(i).or_else(|| draft.get(i - tokens.len()));
            draft.extend(next.copied());
        }
        draft
    }

    /// Tells how many tokens of the last draft the sampler picked as well, up to the first that it
    /// did not.
    pub fn judge(&mut self, drafted: usize, picked: usize) {
        self.tested += drafted.min(picked + 1) as f64;
        self.picked += picked as f64;
        if self.tested > MEMORY {
            self.tested /= 2.0;
            self.picked /= 2.0;
        }
    }
}

/// The place after the longest run before it that the sequence ends with too: of runs that are as
/// long, or at least [`GRAM_MAX`], the latest.
fn latest(tokens: &[u32]) -> Option<usize> {
    let (last, before) = tokens.split_last()?;
    let mut best = (GRAM_MIN - 1, None);
    for at in (GRAM_MIN - 1..before.len()).rev().filter(|at| before[*at] == *last) {
        let ends = before[..at].iter().rev().zip(before.iter().rev());
        let run = 1 + ends.take(GRAM_MAX - 1).take_while(|(a, b)| a == b).count();
        if run > best.0 {
            best = (run, Some(at + 1));
        }
        if run == GRAM_MAX {
            break;
        }
    }
    best.1
}

#[cfg(test)]
mod tests;
