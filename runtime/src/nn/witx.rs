//! The host of `wasi_ephemeral_nn`, the interface for core modules: that of wasi-nn's witx
//! description, with the functions that `WasmEdge` has added and the meaning that its ggml plugin
//! gives to inputs and outputs. Input 0 is the prompt as UTF-8 and input 1 options as JSON; output
//! 0 is the text, output 1 a JSON object with `input_tokens` and `output_tokens`.
//!
//! Of a graph, inputs and outputs are its own, by their places.
//!
//! Every pointer is a guest's and leads nowhere until it is checked. A guest gets a number; what
//! it means in words goes to its log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::bindings::wasi::nn::tensor::TensorType;
use super::context::{Context, Named};
use super::error::GuestError;
use super::task::{self, Asked};
use super::tensor::HostTensor;
use super::{NnCtx, TensorBudget};
use crate::bridge::{Input, ModelInfo, ModelKind, NamedTensor, Prompt, Task};
use crate::log::LogStream;
use crate::meter::Shared;
use crate::{Call, Grants, LimitKind, Limits};

use options::Options;
use refused::{Errno, Refused};

pub(crate) use exports::add_to_linker;

/// The functions that guests import.
mod exports;
/// The guest's memory, through pointers that are checked.
mod memory;
/// Options as `WasmEdge` names them.
mod options;
/// Refusals, as numbers and words.
mod refused;

/// Inputs and outputs by their numbers.
const PROMPT: u32 = 0;
const METADATA: u32 = 1;

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
    info: Arc<ModelInfo>,
    options: Options,
}

impl Graph {
    fn of(info: ModelInfo, options: Options) -> Self {
        Self { info: Arc::new(info), options }
    }
}

struct Slot {
    graph: Graph,
    /// Taken out while it computes.
    context: Option<Context>,
    prompt: Option<HostTensor>,
    /// What a graph takes, by its place.
    inputs: BTreeMap<u32, HostTensor>,
    outputs: Outputs,
}

#[derive(Default)]
struct Outputs {
    text: Option<HostTensor>,
    metadata: Option<HostTensor>,
    /// What a graph gave.
    tensors: Vec<HostTensor>,
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
        let info = self.ctx.bring(model).await?;
        let handle = self.handle()?;
        self.graphs.insert(handle, Graph::of(info, Options::default()));
        Ok(handle)
    }

    fn load(&mut self, model: &str, config: Option<&str>) -> Result<u32, Refused> {
        let info = match self.ctx.find(model) {
            Ok(info) => info,
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
        self.graphs.insert(handle, Graph::of(info, options));
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
        let context = Some(self.ctx.open(graph.info.name.clone(), graph.info.kind)?);
        let (inputs, outputs) = (BTreeMap::new(), Outputs::default());
        let slot = Slot { graph, context, prompt: None, inputs, outputs };
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

    /// Of a text the dimensions are not looked at: programs for `WasmEdge` say `[1]` of any.
    fn set_input(
        &mut self,
        (context, index): (u32, u32),
        (ty, dimensions): (u32, Vec<u32>),
        data: Vec<u8>,
    ) -> Result<(), Refused> {
        let tensors = self.ctx.tensors.clone();
        let slot = self.slot(context)?;
        if slot.graph.info.kind == ModelKind::Graph {
            return slot.set(index, (type_of(ty)?, dimensions, data), &tensors);
        }
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
            let info = &slot.graph.info;
            slot.context = Some(Context::new(info.name.clone(), info.kind));
        }
        slot.outputs = Outputs::default();
        Ok(())
    }

    fn output(&self, context: u32, index: u32) -> Result<&[u8], Refused> {
        let slot =
            self.contexts.get(&context).ok_or_else(|| Refused::handle("context", context))?;
        if slot.graph.info.kind == ModelKind::Graph {
            return slot.outputs.tensor(index);
        }
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

impl Outputs {
    /// What a graph gave, by its place.
    fn tensor(&self, index: u32) -> Result<&[u8], Refused> {
        let found = usize::try_from(index).ok().and_then(|at| self.tensors.get(at));
        found.map(HostTensor::data).ok_or_else(|| {
            let why = format!("there is no output {index}; there are {}", self.tensors.len());
            Refused::new(Errno::NotFound, why)
        })
    }
}

impl Slot {
    /// Keeps an input of a graph until it is set again.
    fn set(
        &mut self,
        index: u32,
        (ty, dimensions, data): (TensorType, Vec<u32>, Vec<u8>),
        tensors: &TensorBudget,
    ) -> Result<(), Refused> {
        let (inputs, at) = (&self.graph.info.inputs, index as usize);
        let Some(input) = inputs.get(at) else {
            let why = format!("there is no input {index}; the graph has {}", inputs.len());
            return Err(Refused::new(Errno::InvalidArgument, why));
        };
        let tensor = HostTensor::from_guest(dimensions, ty, data, tensors);
        tensor.sound(&input.name)?;
        self.inputs.insert(index, tensor);
        Ok(())
    }

    fn tensors(&self) -> Result<Vec<NamedTensor>, Refused> {
        let names = &self.graph.info.inputs;
        let given = self
            .inputs
            .iter()
            .filter_map(|(at, tensor)| Some(task::named(&names.get(*at as usize)?.name, tensor)));
        Ok(given.collect::<Result<_, GuestError>>()?)
    }

    fn asked(&self, stream: bool) -> Result<Asked, Refused> {
        if self.graph.info.kind == ModelKind::Graph {
            return Ok(Asked::whole(Task::Run { inputs: self.tensors()? }));
        }
        let Some(prompt) = &self.prompt else {
            return Err(Refused::new(Errno::InvalidArgument, "input 0, the prompt, was not set"));
        };
        let prompt = prompt.text("0")?.to_owned();
        if self.graph.options.embedding || self.graph.info.kind == ModelKind::Embedding {
            return Ok(Asked::whole(Task::Embed { texts: vec![Input::Text(prompt)] }));
        }
        let options = self.graph.options.generate.clone();
        let task = Task::Generate { prompt: Prompt::Text(prompt), options };
        Ok(Asked { task, stream })
    }

    /// Keeps what a computation gave, as its guest will read it; whether it was the last piece.
    fn keep(&mut self, named: Named, tensors: &TensorBudget) -> Result<bool, Refused> {
        if self.graph.info.kind == ModelKind::Graph {
            self.outputs.tensors = named.into_iter().map(|(_, tensor)| tensor).collect();
            return Ok(true);
        }
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

/// A type by its number in the witx description.
fn type_of(ty: u32) -> Result<TensorType, Refused> {
    Ok(match ty {
        0 => TensorType::Fp16,
        1 => TensorType::Fp32,
        2 => TensorType::Fp64,
        3 => TensorType::U8,
        4 => TensorType::I32,
        5 => TensorType::I64,
        _ => {
            let why = format!("there is no tensor type {ty}; there are 0 to 5");
            return Err(Refused::new(Errno::InvalidArgument, why));
        }
    })
}

fn text(data: Vec<u8>, tensors: &TensorBudget) -> Result<HostTensor, GuestError> {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    HostTensor::for_guest(vec![length], TensorType::U8, data, tensors)
}
