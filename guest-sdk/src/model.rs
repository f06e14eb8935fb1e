//! A model by its name, or from its bytes.

use crate::nn::{self, Compute, Graph};
use crate::{Chat, Error, Generate, Prompt, Tensor};
use std::rc::Rc;

/// A model that the function was granted.
pub struct Model {
    name: String,
    graph: Rc<dyn Graph>,
}

impl Model {
    /// The model of this name. It is in the platform's memory already, so this is cheap.
    ///
    /// # Errors
    /// [`Error::ModelNotGranted`] if `models` in emberbox.toml does not name it,
    /// [`Error::ModelNotFound`] if the platform has no such model.
    pub fn load(name: &str) -> Result<Self, Error> {
        Ok(Self { name: name.to_owned(), graph: nn::load(name)? })
    }

    /// A model from the bytes of a GGUF or an ONNX file, which the function brings with it
    /// (`include_bytes!`) or fetches. The platform checks the same bytes only once. What the model
    /// computes costs what the platform asks for models without a price of their own.
    ///
    /// # Errors
    /// An answer 403 `load_not_allowed` without `load_models = true` in emberbox.toml, or where the
    /// operator or the organisation does not allow it; [`Error::TooLarge`] beyond `load_kib` of its
    /// limits; [`Error::Invalid`] says what is wrong with the bytes.
    pub fn from_bytes(model: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let graph = nn::load_bytes(model.into())?;
        Ok(Self { name: "a model from memory".to_owned(), graph })
    }

    /// The name it was loaded by; of one from bytes, words that say so.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Begins a generation from a text, chat messages or tokens.
    ///
    /// ```no_run
    /// # fn run() -> Result<(), emberbox_sdk::Error> {
    /// use emberbox_sdk::{Message, Model};
    /// let model = Model::load("tiny-storyteller")?;
    /// let answer = model.generate(Message::user("Tell me a story.")).seed(7).complete()?;
    /// println!("{} ({} tokens)", answer.text, answer.usage.output_tokens);
    ///
    /// let mut pieces = model.generate("Once upon a time").max_tokens(50).stream();
    /// for piece in &mut pieces {
    ///     print!("{}", piece?);
    /// }
    /// println!("{:?} {:?}", pieces.finish_reason(), pieces.usage());
    /// # Ok(()) }
    /// ```
    pub fn generate(&self, prompt: impl Into<Prompt>) -> Generate {
        Generate::new(Rc::clone(&self.graph), prompt.into())
    }

    /// Begins a conversation.
    #[must_use]
    pub fn chat(&self) -> Chat {
        Chat::new(Rc::clone(&self.graph))
    }

    /// The embedding of every text, in their order; all of the same length.
    ///
    /// # Errors
    /// Whatever ends the computation early: no budget, no time, a text that is too long.
    pub fn embed<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Vec<f32>>, Error> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        let input = Tensor::text(&serde_json::to_string(&texts)?);
        let outputs = self.context()?.compute(vec![("texts".to_owned(), input)])?;
        let found = outputs.iter().find(|(name, _)| name == "embeddings");
        let Some((_, tensor)) = found else {
            return Err(Error::Model(format!("{:?} returned no embeddings", self.name)));
        };
        let values = tensor.to_f32()?;
        if values.is_empty() || values.len() % texts.len() != 0 {
            return Err(Error::Model(format!(
                "{:?} returned {} numbers for {} texts",
                self.name,
                values.len(),
                texts.len()
            )));
        }
        Ok(values.chunks_exact(values.len() / texts.len()).map(<[f32]>::to_vec).collect())
    }

    /// Which class each text belongs to, by a model that was trained to tell them apart.
    ///
    /// # Errors
    /// As [`Model::embed`]; [`Error::Invalid`] for a model of another kind.
    pub fn classify<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Classes>, Error> {
        let scores = self.run(&[("texts", list(texts)?)])?;
        let labels: Vec<String> = serde_json::from_str(scores.get("labels")?.to_text()?)?;
        let view = scores.get("scores")?.view()?;
        let parts = scores.get("parts")?.to_i64()?;
        let row = |(row, part): (&[f32], &[i64; 3])| Classes {
            text: usize::try_from(part[0]).unwrap_or_default(),
            start: usize::try_from(part[1]).unwrap_or_default(),
            end: usize::try_from(part[2]).unwrap_or_default(),
            scores: labels.iter().cloned().zip(row.iter().copied()).collect(),
        };
        Ok(view.rows().zip(parts.as_chunks().0).map(row).collect())
    }

    /// How well each document answers the query, 0 to 1, by a cross-encoder; in their order.
    ///
    /// # Errors
    /// As [`Model::classify`].
    pub fn rerank<T: AsRef<str>>(&self, query: &str, documents: &[T]) -> Result<Vec<f32>, Error> {
        let inputs = [("query", Tensor::text(query)), ("documents", list(documents)?)];
        self.run(&inputs)?.get("scores")?.to_f32()
    }

    /// Runs a graph, such as an ONNX model, on tensors by the names of its inputs.
    ///
    /// ```no_run
    /// # fn run() -> Result<(), emberbox_sdk::Error> {
    /// use emberbox_sdk::{Model, Tensor};
    /// let model = Model::load("digits")?;
    /// let outputs = model.run(&[("image", Tensor::f32(&[1, 1, 8, 8], &[0.0; 64]))])?;
    /// let logits = outputs.get("logits")?.view()?;
    /// println!("{:?}", logits.argmax());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] names the input whose name, type or shape is not the graph's.
    pub fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Outputs, Error> {
        let named = inputs.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone()));
        Ok(Outputs(self.context()?.compute(named.collect())?))
    }

    /// A raw context, for models that take and return tensors of their own names.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if the platform or the call's limits allow no further context.
    pub fn context(&self) -> Result<Context, Error> {
        Ok(Context { context: self.graph.context()? })
    }
}

fn list<T: AsRef<str>>(texts: &[T]) -> Result<Tensor, Error> {
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    Ok(Tensor::text(&serde_json::to_string(&texts)?))
}

/// What a graph has given, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs(Vec<(String, Tensor)>);

impl Outputs {
    /// An output by its name.
    ///
    /// # Errors
    /// [`Error::Model`] if there is none of this name; it says which there are.
    pub fn get(&self, name: &str) -> Result<&Tensor, Error> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, tensor)| tensor).ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            Error::Model(format!("there is no output {name:?}; there are {}", names.join(", ")))
        })
    }

    /// The names, in the order of the graph.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// What a classifier says of a text, or of one of its words.
#[derive(Debug, Clone, PartialEq)]
pub struct Classes {
    /// Which of the texts.
    pub text: usize,
    /// The first byte of the part of it that this is about.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
    /// Every class with its probability, in the order of the model.
    pub scores: Vec<(String, f32)>,
}

impl Classes {
    /// The likeliest class.
    #[must_use]
    pub fn best(&self) -> Option<(&str, f32)> {
        let best = self.scores.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        Some((&best.0, best.1))
    }
}

/// One sequence on a model, fed with tensors by name.
pub struct Context {
    context: Box<dyn Compute>,
}

impl Context {
    /// Runs the model on the inputs. During a generation with `"stream": true`, no inputs means
    /// the next piece.
    ///
    /// # Errors
    /// What the platform refuses: wrong names, types or shapes, no budget, no time.
    pub fn compute(
        &mut self,
        inputs: Vec<(String, Tensor)>,
    ) -> Result<Vec<(String, Tensor)>, Error> {
        self.context.compute(inputs)
    }
}

#[cfg(test)]
impl Model {
    /// A model over a graph that a test provides.
    pub(crate) fn over(graph: Rc<dyn Graph>) -> Self {
        Self { name: "scripted".to_owned(), graph }
    }
}
