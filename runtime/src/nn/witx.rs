//! The host of `wasi_ephemeral_nn`, the interface for core modules: that of wasi-nn's witx
//! description, with the functions that `WasmEdge` has added and the meaning that its ggml plugin
//! gives to inputs and outputs. Input 0 is the prompt as UTF-8 and input 1 options as JSON; output
//! 0 is the text, output 1 a JSON object with `input_tokens` and `output_tokens`.
//!
//! Every pointer is a guest's and leads nowhere until it is checked. A guest gets a number; what
//! it means in words goes to its log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::bindings::wasi::nn::errors::ErrorCode;
use super::bindings::wasi::nn::tensor::TensorType;
use super::context::{Context, Named};
use super::error::GuestError;
use super::task::Asked;
use super::tensor::HostTensor;
use super::{NnCtx, TensorBudget};
use crate::bridge::{ModelInfo, ModelKind, Prompt, Task};
use crate::log::LogStream;
use crate::meter::Shared;
use crate::{Call, Grants, LimitKind, Limits};

use options::Options;

pub(crate) use exports::add_to_linker;

/// The functions that guests import.
mod exports;
/// The guest's memory, through pointers that are checked.
mod memory;
/// Options as `WasmEdge` names them.
mod options;

/// Inputs and outputs by their numbers.
const PROMPT: u32 = 0;
const METADATA: u32 = 1;

/// What a guest is told: `nn_errno` of the witx description, and from 100 on `WasmEdge`'s own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Errno {
    Success = 0,
    InvalidArgument = 1,
    InvalidEncoding = 2,
    MissingMemory = 3,
    Busy = 4,
    RuntimeError = 5,
    UnsupportedOperation = 6,
    TooLarge = 7,
    NotFound = 8,
    EndOfSequence = 100,
    PromptTooLong = 102,
    ModelNotFound = 103,
}

/// A refusal: its number for the guest, its words for the log.
struct Refused(Errno, String);

impl Refused {
    fn new(errno: Errno, why: impl Into<String>) -> Self {
        Self(errno, why.into())
    }

    fn handle(what: &str, handle: u32) -> Self {
        Self::new(Errno::InvalidArgument, format!("there is no {what} {handle}"))
    }
}

impl From<GuestError> for Refused {
    fn from(error: GuestError) -> Self {
        let errno = match error.code {
            ErrorCode::InvalidArgument if error.is_context_length() => Errno::PromptTooLong,
            ErrorCode::InvalidArgument => Errno::InvalidArgument,
            ErrorCode::InvalidEncoding => Errno::InvalidEncoding,
            ErrorCode::UnsupportedOperation => Errno::UnsupportedOperation,
            ErrorCode::TooLarge => Errno::TooLarge,
            ErrorCode::NotFound => Errno::NotFound,
            ErrorCode::Timeout
            | ErrorCode::RuntimeError
            | ErrorCode::Security
            | ErrorCode::Unknown => Errno::RuntimeError,
        };
        Self(errno, error.data)
    }
}

/// What `wasi_ephemeral_nn` keeps for one call.
pub(crate) struct CoreNn {
    ctx: NnCtx,
    log: LogStream,
    copy_bytes_max: usize,
    handles_max: usize,
    graphs: BTreeMap<u32, Graph>,
    contexts: BTreeMap<u32, Slot>,
    next_handle: u32,
}

/// A model, with the options that its contexts start from.
#[derive(Clone)]
struct Graph {
    model: String,
    kind: ModelKind,
    options: Options,
}

struct Slot {
    graph: Graph,
    /// Taken out while it computes.
    context: Option<Context>,
    prompt: Option<HostTensor>,
    outputs: Outputs,
}

#[derive(Default)]
struct Outputs {
    text: Option<HostTensor>,
    metadata: Option<HostTensor>,
}

impl CoreNn {
    pub(crate) fn new(
        call: &Call,
        (limits, grants): (&Limits, &Grants),
        (shared, log): (Arc<Shared>, LogStream),
    ) -> Self {
        Self {
            ctx: NnCtx::new(call, limits, grants, shared),
            log,
            copy_bytes_max: usize::try_from(limits.host_call_bytes_max).unwrap_or(usize::MAX),
            handles_max: limits.handles_max as usize,
            graphs: BTreeMap::new(),
            contexts: BTreeMap::new(),
            next_handle: 0,
        }
    }

    /// Handles are never given twice, so that one of something that is gone leads nowhere.
    fn handle(&mut self) -> Result<u32, Refused> {
        if self.graphs.len() + self.contexts.len() >= self.handles_max {
            self.ctx.reach.shared.refuse(LimitKind::Handles);
            let why = format!("a call may have {} handles open at a time", self.handles_max);
            return Err(Refused::new(Errno::Busy, why));
        }
        self.next_handle = self
            .next_handle
            .checked_add(1)
            .ok_or_else(|| Refused::new(Errno::Busy, "the call has used up all handles"))?;
        Ok(self.next_handle)
    }

    /// Takes a model from the guest's memory.
    async fn bring(&mut self, model: Vec<u8>) -> Result<u32, Refused> {
        let ModelInfo { name: model, kind, .. } = self.ctx.bring(model).await?;
        let handle = self.handle()?;
        self.graphs.insert(handle, Graph { model, kind, options: Options::default() });
        Ok(handle)
    }

    fn load(&mut self, model: String, config: Option<&str>) -> Result<u32, Refused> {
        let found = self.ctx.find(&model);
        let kind = match found {
            Ok(info) => info.kind,
            // Programs with options are written for WasmEdge, which has a number of its own.
            Err(error) if config.is_some() => {
                return Err(Refused::new(Errno::ModelNotFound, error.data));
            }
            Err(error) => return Err(Refused::new(Errno::NotFound, error.data)),
        };
        let mut options = Options::default();
        if let Some(config) = config {
            options.merge(config)?;
        }
        let handle = self.handle()?;
        self.graphs.insert(handle, Graph { model, kind, options });
        Ok(handle)
    }

    fn unload(&mut self, graph: u32) -> Result<(), Refused> {
        match self.graphs.remove(&graph) {
            Some(_) => Ok(()),
            None => Err(Refused::handle("graph", graph)),
        }
    }

    fn init(&mut self, graph: u32) -> Result<u32, Refused> {
        let found = self.graphs.get(&graph).cloned();
        let graph = found.ok_or_else(|| Refused::handle("graph", graph))?;
        let handle = self.handle()?;
        let context = Some(self.ctx.open(graph.model.clone())?);
        let slot = Slot { graph, context, prompt: None, outputs: Outputs::default() };
        self.contexts.insert(handle, slot);
        Ok(handle)
    }

    fn finalize(&mut self, context: u32) -> Result<(), Refused> {
        self.contexts.remove(&context).ok_or_else(|| Refused::handle("context", context))?;
        self.ctx.close();
        Ok(())
    }

    fn slot(&mut self, context: u32) -> Result<&mut Slot, Refused> {
        self.contexts.get_mut(&context).ok_or_else(|| Refused::handle("context", context))
    }

    /// Dimensions are not looked at: programs for `WasmEdge` say `[1]` of any text.
    fn set_input(&mut self, context: u32, index: u32, data: Vec<u8>) -> Result<(), Refused> {
        let tensors = self.ctx.tensors.clone();
        let slot = self.slot(context)?;
        match index {
            PROMPT => slot.prompt = Some(text(data, &tensors)?),
            METADATA => {
                let config = String::from_utf8(data).map_err(|error| {
                    Refused::new(Errno::InvalidEncoding, format!("input 1 is not UTF-8: {error}"))
                })?;
                slot.graph.options.merge(&config)?;
            }
            other => {
                let why = format!("there is no input {other}; 0 is the prompt, 1 options");
                return Err(Refused::new(Errno::InvalidArgument, why));
            }
        }
        Ok(())
    }

    /// One computation from the prompt that was set last, or with `single` its next piece.
    async fn compute(&mut self, handle: u32, single: bool) -> Result<(), Refused> {
        let slot =
            self.contexts.get_mut(&handle).ok_or_else(|| Refused::handle("context", handle))?;
        slot.outputs = Outputs::default();
        let goes_on = single && slot.context.as_ref().is_some_and(Context::is_running);
        let asked = if goes_on { None } else { Some(slot.asked(single)?) };
        let Some(mut context) = slot.context.take() else {
            return Err(Refused::new(Errno::Busy, "the context is computing already"));
        };
        let began = Instant::now();
        let outcome = match asked {
            None => context.next_piece(&self.ctx.tensors).await,
            Some(asked) => context.start(&self.ctx.reach, &self.ctx.tensors, asked).await,
        };
        slot.context = Some(context);
        self.ctx.waited(began);
        let ended = slot.keep(outcome?, &self.ctx.tensors)?;
        if single && ended {
            return Err(Refused(Errno::EndOfSequence, String::new()));
        }
        Ok(())
    }

    /// Ends a generation that comes in pieces.
    fn fini_single(&mut self, context: u32) -> Result<(), Refused> {
        let slot = self.slot(context)?;
        if slot.context.as_ref().is_some_and(Context::is_running) {
            slot.context = Some(Context::new(slot.graph.model.clone()));
        }
        slot.outputs = Outputs::default();
        Ok(())
    }

    fn output(&self, context: u32, index: u32) -> Result<&[u8], Refused> {
        let slot =
            self.contexts.get(&context).ok_or_else(|| Refused::handle("context", context))?;
        let output = match index {
            PROMPT => &slot.outputs.text,
            METADATA => &slot.outputs.metadata,
            other => {
                let why = format!("there is no output {other}; 0 is the text, 1 its metadata");
                return Err(Refused::new(Errno::InvalidArgument, why));
            }
        };
        output.as_ref().map(HostTensor::data).ok_or_else(|| {
            Refused::new(Errno::NotFound, "there is no output yet: nothing was computed")
        })
    }
}

impl Slot {
    fn asked(&self, stream: bool) -> Result<Asked, Refused> {
        let Some(prompt) = &self.prompt else {
            return Err(Refused::new(Errno::InvalidArgument, "input 0, the prompt, was not set"));
        };
        let prompt = prompt.text("0")?.to_owned();
        if self.graph.options.embedding || self.graph.kind == ModelKind::Embedding {
            return Ok(Asked { task: Task::Embed { texts: vec![prompt] }, stream: false });
        }
        let options = self.graph.options.generate.clone();
        let task = Task::Generate { prompt: Prompt::Text(prompt), options };
        Ok(Asked { task, stream })
    }

    /// Keeps what a computation gave, as its guest will read it; whether it was the last piece.
    fn keep(&mut self, named: Named, tensors: &TensorBudget) -> Result<bool, Refused> {
        let of = |name: &str| named.iter().find(|(known, _)| known == name).map(|(_, t)| t);
        let usage = of("usage").map(|usage| metadata(usage.data()));
        let ended = of("finish_reason").is_some() || of("embeddings").is_some();
        if let Some(embeddings) = of("embeddings") {
            let numbers = embeddings.data().as_chunks::<4>().0;
            let numbers: Vec<f32> = numbers.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let answer = json!({ "n_embedding": numbers.len(), "embedding": numbers });
            drop(named);
            self.outputs.text = Some(text(answer.to_string().into_bytes(), tensors)?);
        } else {
            let found = named.into_iter().find(|(name, _)| name == "text");
            self.outputs.text = found.map(|(_, tensor)| tensor);
        }
        if let Some(usage) = usage {
            self.outputs.metadata = Some(text(usage.into_bytes(), tensors)?);
        }
        Ok(ended)
    }
}

/// Of the usage what programs for `WasmEdge` look for.
fn metadata(usage: &[u8]) -> String {
    let usage: Map<String, Value> = serde_json::from_slice(usage).unwrap_or_default();
    let of = |name: &str| usage.get(name).cloned().unwrap_or_else(|| json!(0));
    json!({ "input_tokens": of("input_tokens"), "output_tokens": of("output_tokens") }).to_string()
}

fn text(data: Vec<u8>, tensors: &TensorBudget) -> Result<HostTensor, GuestError> {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    HostTensor::for_guest(vec![length], TensorType::U8, data, tensors)
}
