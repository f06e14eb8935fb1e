use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use toktrie::{
    InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv,
};

/// Longest schema, expression or grammar in bytes.
const SOURCE_BYTES_MAX: usize = 64 << 10;
/// Deepest nesting of a schema.
const SCHEMA_DEPTH_MAX: usize = 64;
/// White space between the parts of a JSON value: enough for people, and not without end.
const JSON_SPACE: &str = r"[ \n]{0,8}";

/// What an output must follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grammar {
    /// Any JSON object.
    JsonObject,
    /// A JSON value that a schema describes.
    JsonSchema(Value),
    /// A regular expression in Rust's syntax, which the whole output must match.
    Regex(String),
    /// A context-free grammar in Lark's syntax.
    Lark(String),
}

/// Why a grammar cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The grammar itself: what is wrong with it.
    #[error("{0}")]
    Invalid(String),
    /// Following it took more work than a step may take, or its parser failed.
    #[error("the grammar cannot be followed any further: {0}")]
    Failed(String),
}

/// A model's tokens as grammars see them; made once for each model.
pub struct Vocabulary {
    factory: ParserFactory,
}

struct Tokens(TokTrie);

impl TokenizerEnv for Tokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.0
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.0.greedy_tokenize(bytes)
    }

    /// The longest match is not what the model's tokenizer gives, so nothing is forced by it.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

impl Vocabulary {
    /// From the bytes of every token, which are empty for control tokens, and the tokens that end
    /// a sequence.
    ///
    /// # Errors
    /// `Invalid` when no token ends a sequence, or the tokens cannot be arranged.
    pub fn new<'a>(
        tokens: impl Iterator<Item = &'a [u8]>,
        ends: &[u32],
    ) -> Result<Self, GrammarError> {
        let words: Vec<Vec<u8>> = tokens
            .enumerate()
            .map(|(id, bytes)| match bytes.first() {
                // The parser's own way to name a token that stands for no text.
                None | Some(&TokTrie::SPECIAL_TOKEN_MARKER) => marked(id),
                Some(_) => bytes.to_vec(),
            })
            .collect();
        let count = words.len() as u32;
        let known: Vec<u32> = ends.iter().copied().filter(|end| *end < count).collect();
        let Some(end) = known.first() else {
            return Err(GrammarError::Invalid(
                "the model has no token that ends its output".to_owned(),
            ));
        };
        let build = || {
            let trie = TokTrie::from(&TokRxInfo::new(count, *end), &words).with_eos_tokens(&known);
            let tokens: TokEnv = Arc::new(Tokens(trie));
            ParserFactory::new(&tokens, InferenceCapabilities::default(), &[])
        };
        let mut factory = guarded(build)?.map_err(|error| invalid(&error))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(Self { factory })
    }

    /// Compiles a grammar; slow for a large one.
    ///
    /// # Errors
    /// `Invalid` with what is wrong with it, or that it is too large.
    pub fn constrain(&self, grammar: &Grammar) -> Result<Constraint, GrammarError> {
        let grammar = compiled(grammar)?;
        let parser = guarded(|| self.factory.create_parser(grammar))?;
        let matcher = Matcher::new(parser);
        match matcher.get_error() {
            Some(error) => Err(GrammarError::Invalid(first_line(&error))),
            None => Ok(Constraint { matcher }),
        }
    }
}

/// Bounds on work and memory; about a millisecond of a step and tens of megabytes at most.
fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 1_000,
        initial_lexer_fuel: 500_000,
        step_lexer_fuel: 100_000,
        step_max_items: 30_000,
        max_lexer_states: 20_000,
        max_grammar_size: 100_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}

fn compiled(grammar: &Grammar) -> Result<TopLevelGrammar, GrammarError> {
    let bounded = |len: usize| match len <= SOURCE_BYTES_MAX {
        true => Ok(()),
        false => Err(GrammarError::Invalid(format!(
            "{len} bytes are more than the {SOURCE_BYTES_MAX} that are allowed"
        ))),
    };
    match grammar {
        Grammar::JsonObject => Ok(json_grammar(json!({ "type": "object" }))),
        Grammar::JsonSchema(schema) => {
            if depth(schema, SCHEMA_DEPTH_MAX).is_none() {
                let reason = format!("the schema is nested deeper than {SCHEMA_DEPTH_MAX}");
                return Err(GrammarError::Invalid(reason));
            }
            bounded(schema.to_string().len())?;
            match schema {
                Value::Object(_) => Ok(json_grammar(schema.clone())),
                _ => Err(GrammarError::Invalid("the schema must be an object".to_owned())),
            }
        }
        Grammar::Regex(expression) => {
            bounded(expression.len())?;
            Ok(TopLevelGrammar::from_regex(expression))
        }
        Grammar::Lark(source) => {
            bounded(source.len())?;
            Ok(TopLevelGrammar::from_lark(source.clone()))
        }
    }
}

fn json_grammar(schema: Value) -> TopLevelGrammar {
    TopLevelGrammar::from_json_schema(with_little_space(schema))
}

/// A schema, for itself or for a `%json` of a Lark grammar, with a bound on the white space
/// between parts: a model may write it without end. What a caller says of that is replaced.
pub fn with_little_space(mut schema: Value) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        let options = json!({ "whitespace_flexible": true, "whitespace_pattern": JSON_SPACE });
        fields.insert("x-guidance".to_owned(), options);
    }
    schema
}

/// How deep a value is nested; `None` when deeper than `most`.
fn depth(value: &Value, most: usize) -> Option<usize> {
    let most = most.checked_sub(1)?;
    match value {
        Value::Array(items) => items.iter().try_fold(0, |a, v| Some(depth(v, most)?.max(a))),
        Value::Object(fields) => fields.values().try_fold(0, |a, v| Some(depth(v, most)?.max(a))),
        _ => Some(0),
    }
    .map(|inner| inner + 1)
}

/// Where one output is in its grammar.
pub struct Constraint {
    matcher: Matcher,
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Constraint").finish_non_exhaustive()
    }
}

impl Constraint {
    /// The tokens that may come next. Where the output may end, those that end it are allowed.
    ///
    /// # Errors
    /// `Failed` when that takes too much work.
    pub fn mask(&mut self) -> Result<Mask, GrammarError> {
        let mask = self.matcher.compute_mask_or_eos().map_err(|error| failed(&error))?;
        if mask.is_zero() {
            return Err(GrammarError::Failed("none of the model's tokens fits".to_owned()));
        }
        Ok(Mask(mask))
    }

    /// Takes the token that was chosen.
    ///
    /// # Errors
    /// `Failed` when the grammar does not allow it.
    pub fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        self.matcher.consume_token(token).map_err(|error| failed(&error))
    }

    /// Whether the output is whole and nothing may follow.
    pub fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }
}

/// Tokens that are allowed.
#[derive(Debug)]
pub struct Mask(SimpleVob);

impl Mask {
    /// Takes the others out of the race. Logits beyond the vocabulary go too.
    pub(crate) fn apply(&self, logits: &mut [f32]) {
        let words = self.0.as_slice();
        for (chunk, logits) in logits.chunks_mut(u32::BITS as usize).enumerate() {
            let bits = words.get(chunk).copied().unwrap_or(0);
            let forbidden = logits.iter_mut().enumerate().filter(|(bit, _)| bits >> bit & 1 == 0);
            forbidden.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
        }
    }

    /// Whether a token is allowed.
    pub fn allows(&self, token: u32) -> bool {
        let words = self.0.as_slice();
        words.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
    }
}

fn marked(id: usize) -> Vec<u8> {
    let mut name = vec![TokTrie::SPECIAL_TOKEN_MARKER];
    name.extend_from_slice(format!("<control-{id}>").as_bytes());
    name
}

/// The library may panic on what strangers send; that is their grammar's fault and not ours.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, GrammarError> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_panic| GrammarError::Invalid("the grammar cannot be compiled".to_owned()))
}

fn invalid(error: &impl ToString) -> GrammarError {
    GrammarError::Invalid(first_line(&error.to_string()))
}

fn failed(error: &impl ToString) -> GrammarError {
    GrammarError::Failed(first_line(&error.to_string()))
}

/// Errors of the library may go on with a backtrace.
fn first_line(text: &str) -> String {
    const BYTES_MAX: usize = 300;
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(BYTES_MAX).collect()
}

#[cfg(test)]
mod tests;
