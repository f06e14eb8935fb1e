//! Byte-level BPE with GPT-2's splitting rules, trained on the corpus.

use crate::chat::{Chat, chat, row_rng};
use crate::config::{ASSISTANT, CONTEXT, END, SPECIALS, USER, VOCAB};
use crate::kernels::IGNORE;
use anyhow::{Result, anyhow, ensure};
use rayon::prelude::*;
use tokenizers::models::bpe::{BPE, BpeTrainer, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerBuilder, TokenizerImpl,
};

type Inner = TokenizerImpl<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// Rows that the vocabulary is learned from.
const TRAINING_ROWS: u64 = 12_000;

/// Text to ids and back.
pub(crate) struct Tokenizer {
    inner: Inner,
    /// Each token in GPT-2's printable alphabet, by id.
    pub(crate) tokens: Vec<String>,
    /// Pairs that merge, most frequent first.
    pub(crate) merges: Vec<(String, String)>,
}

/// A chat as ids, with what the model is to predict after each.
pub(crate) struct Row {
    /// At most [`CONTEXT`].
    pub(crate) ids: Vec<u32>,
    /// The next id where the model speaks, [`IGNORE`] elsewhere: the user's words are drawn at
    /// random, so there is nothing to learn from them.
    pub(crate) targets: Vec<u32>,
}

fn failed(error: &tokenizers::Error) -> anyhow::Error {
    anyhow!("tokenizer: {error}")
}

fn byte_level() -> ByteLevel {
    ByteLevel::new(false, false, true)
}

fn special(token: &str) -> AddedToken {
    AddedToken::from(token, true).normalized(false)
}

fn build(model: BPE) -> Result<Inner> {
    let mut inner: Inner = TokenizerBuilder::new()
        .with_model(model)
        .with_normalizer(None)
        .with_pre_tokenizer(Some(PreTokenizerWrapper::from(byte_level())))
        .with_post_processor(None)
        .with_decoder(Some(DecoderWrapper::from(byte_level())))
        .build()
        .map_err(|error| failed(&error))?;
    inner.add_special_tokens(SPECIALS.map(special)).map_err(|error| failed(&error))?;
    Ok(inner)
}

impl Tokenizer {
    /// Learns the vocabulary from the first rows of the corpus with this seed.
    ///
    /// # Errors
    /// Fails when the corpus is too poor to fill the vocabulary.
    pub(crate) fn train(seed: u64) -> Result<Self> {
        let texts: Vec<String> = (0..TRAINING_ROWS)
            .into_par_iter()
            .flat_map_iter(|row| chat(&mut row_rng(seed, row)).turns)
            .flat_map_iter(|(user, model)| [user, model])
            .collect();
        let mut trainer = BpeTrainer::builder()
            .vocab_size(VOCAB)
            .min_frequency(2)
            .show_progress(false)
            .special_tokens(SPECIALS.map(special).to_vec())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut inner = build(BPE::default())?;
        inner.train(&mut trainer, texts.into_iter()).map_err(|error| failed(&error))?;
        let vocab = inner.get_vocab(true);
        ensure!(vocab.len() == VOCAB, "the corpus gives only {} tokens", vocab.len());
        let mut tokens = vec![String::new(); VOCAB];
        for (token, id) in vocab {
            tokens[id as usize] = token;
        }
        let text = serde_json::to_value(inner.get_model())?;
        let merges = text["merges"].as_array().into_iter().flatten();
        let merges = merges.filter_map(|merge| match merge {
            serde_json::Value::Array(pair) => {
                Some((pair.first()?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned()))
            }
            other => other.as_str()?.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())),
        });
        let merges: Vec<(String, String)> = merges.collect();
        Self::from_parts(tokens, merges)
    }

    /// Builds the tokenizer of a file that has these tokens and merges.
    ///
    /// # Errors
    /// Fails when a merge names a token that does not exist.
    pub(crate) fn from_parts(tokens: Vec<String>, merges: Vec<(String, String)>) -> Result<Self> {
        let vocab: Vocab =
            tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect();
        let model = BPE::builder()
            .vocab_and_merges(vocab, merges.clone())
            .build()
            .map_err(|error| failed(&error))?;
        Ok(Self { inner: build(model)?, tokens, merges })
    }

    /// Ids of `text`, in which special tokens are recognised.
    ///
    /// # Errors
    /// Fails only on a bug of the tokenizer.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.inner.encode_fast(text, false).map_err(|error| failed(&error))?.get_ids().to_vec())
    }

    /// Text of `ids`, without special tokens.
    ///
    /// # Errors
    /// Fails only on a bug of the tokenizer.
    pub(crate) fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|error| failed(&error))
    }

    /// Ids of a chat that the model is to continue.
    ///
    /// # Errors
    /// Fails only on a bug of the tokenizer.
    pub(crate) fn prompt(&self, user: &str) -> Result<Vec<u32>> {
        self.encode(&format!("{USER}{user}{END}{ASSISTANT}"))
    }

    /// A training row; nothing when the chat does not fit the context.
    ///
    /// # Errors
    /// Fails only on a bug of the tokenizer.
    pub(crate) fn row(&self, chat: &Chat) -> Result<Option<Row>> {
        let (mut ids, mut targets) = (Vec::new(), Vec::new());
        for (user, model) in &chat.turns {
            let asked = self.prompt(user)?;
            let said = self.encode(&format!("{model}{END}"))?;
            targets.extend(std::iter::repeat_n(IGNORE, asked.len() - 1));
            targets.extend(&said);
            targets.push(IGNORE);
            ids.extend(asked);
            ids.extend(said);
        }
        Ok((ids.len() <= CONTEXT).then_some(Row { ids, targets }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{END_ID, PAD_ID};

    #[test]
    fn text_survives_and_rows_predict_what_the_model_says() {
        let tokenizer = Tokenizer::train(1).unwrap();
        for (id, token) in SPECIALS.iter().enumerate() {
            assert_eq!(tokenizer.encode(token).unwrap(), [id as u32]);
        }
        assert_eq!(tokenizer.tokens[PAD_ID as usize], SPECIALS[0]);
        for text in ["Mia's kite\n\n  flew", "naïve 狐 🦊", "fn main() {}", ""] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()).unwrap(), text);
        }
        let turns = vec![("Hi".to_owned(), "Hello".to_owned()), ("A".to_owned(), "B".to_owned())];
        let row = tokenizer.row(&Chat { turns }).unwrap().unwrap();
        assert_eq!(row.ids.len(), row.targets.len());
        let mut said = Vec::new();
        for (i, target) in row.targets.iter().enumerate().filter(|(_, t)| **t != IGNORE) {
            assert_eq!(row.ids[i + 1], *target);
            said.push(*target);
        }
        assert_eq!(tokenizer.decode(&said).unwrap(), "HelloB");
        assert_eq!(said.iter().filter(|id| **id == END_ID).count(), 2);
    }
}
