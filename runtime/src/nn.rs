//! The host of `wasi:nn@0.2.0-rc-2024-10-28`, and of two older versions over it.
//!
//! A guest loads a model by a name that its manifest grants, opens a context, which is one
//! sequence on the model, and computes. `compute` is asynchronous on this side: the guest is
//! suspended while the model works, and requests of many guests share a batch.

/// A sequence on a model, and what it has reserved.
mod context;
/// What a guest is told when something fails.
mod error;
/// The interfaces' functions.
mod host;
/// What a guest reads of what a model gave.
mod output;
/// Older versions, whose contexts keep inputs and outputs.
mod stateful;
/// From named tensors to a task.
mod task;
/// Tensors as guests make and read them.
mod tensor;
/// `wasi_ephemeral_nn`, for core modules.
mod witx;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::{HasData, Linker, ResourceTable};

use crate::bridge::{ModelInfo, ModelKind};
use crate::instance::ComponentState;
use crate::meter::Shared;
use crate::models::Models;
use crate::{Call, Grants, LimitKind, Limits};

use context::Context;
use error::GuestError;
use tensor::TensorBudget;

mod bindings {
    wasmtime::component::bindgen!({
        world: "ml",
        path: "wit/wasi-nn.wit",
        imports: {
            "wasi:nn/inference.[method]graph-execution-context.compute": async | trappable,
            "wasi:nn/graph.load": async | trappable,
            "wasi:nn/graph.load-by-name": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:nn/graph.graph": super::host::Graph,
            "wasi:nn/tensor.tensor": super::tensor::HostTensor,
            "wasi:nn/inference.graph-execution-context": super::host::ContextSlot,
            "wasi:nn/errors.error": super::error::GuestError,
        },
        require_store_data_send: true,
    });
}

/// What a call's contexts share.
#[derive(Clone)]
struct Reach {
    models: Arc<dyn Models>,
    shared: Arc<Shared>,
}

/// What `wasi:nn` keeps for one call.
pub(crate) struct NnCtx {
    reach: Reach,
    models: BTreeSet<String>,
    tensors: TensorBudget,
    contexts: u32,
    contexts_max: u32,
    /// What is left of it; `None`: not granted.
    load_bytes: Option<u64>,
}

impl NnCtx {
    pub(crate) fn new(call: &Call, limits: &Limits, grants: &Grants, shared: Arc<Shared>) -> Self {
        let reach = Reach { models: Arc::clone(&call.models), shared };
        let tensors = TensorBudget::new(limits.tensor_bytes_max, Arc::clone(&reach.shared));
        let (models, contexts_max) = (grants.models.clone(), limits.contexts_max);
        let load_bytes = grants.load.then_some(limits.load_bytes_max);
        Self { reach, models, tensors, contexts: 0, contexts_max, load_bytes }
    }

    /// Whether a model of so many bytes may be loaded; then they count.
    fn admit(&mut self, bytes: usize) -> Result<(), GuestError> {
        let Some(left) = self.load_bytes else { return Err(GuestError::load_not_granted()) };
        let Some(rest) = left.checked_sub(bytes as u64) else {
            self.reach.shared.refuse(LimitKind::Load);
            let prose = format!("the model has {bytes} bytes, and the call may load {left} more");
            return Err(GuestError::too_large(&prose));
        };
        self.load_bytes = Some(rest);
        Ok(())
    }

    /// Takes a model from the guest's memory. What it says of the encoding is not looked at: the bytes
    /// say it themselves.
    async fn bring(&self, model: Vec<u8>) -> Result<ModelInfo, GuestError> {
        let began = Instant::now();
        let brought = self.reach.models.bring(model.into()).await;
        self.waited(began);
        Ok(brought?)
    }

    /// A model that the function may use.
    fn find(&self, name: &str) -> Result<ModelInfo, GuestError> {
        // What is not granted is not said to exist either.
        if !self.models.contains(name) {
            return Err(GuestError::not_granted(name));
        }
        self.reach.models.model(name).ok_or_else(|| GuestError::not_found(name))
    }

    /// A context that counts as open from now on, until `close`.
    fn open(&mut self, model: String, kind: ModelKind) -> Result<Context, GuestError> {
        let max = self.contexts_max;
        if self.contexts >= max {
            let prose = format!("a call may have {max} contexts open at the same time");
            self.reach.shared.refuse(LimitKind::Contexts);
            return Err(GuestError::overloaded(&prose));
        }
        self.contexts += 1;
        Ok(Context::new(model, kind))
    }

    /// The guest has waited for a model since then.
    fn waited(&self, since: Instant) {
        self.reach.shared.add_inference(since.elapsed());
    }

    /// Whether the guest holds no context and no tensor.
    pub(crate) fn is_empty(&self) -> bool {
        self.contexts == 0 && self.tensors.is_empty()
    }

    fn close(&mut self) {
        self.contexts -= 1;
    }
}

/// A store's `wasi:nn` state and its handles.
pub(crate) struct NnView<'a> {
    pub(crate) ctx: &'a mut NnCtx,
    pub(crate) table: &'a mut ResourceTable,
}

struct HasNn;

impl HasData for HasNn {
    type Data<'a> = NnView<'a>;
}

/// The component interfaces.
pub(crate) fn add_to_linker(linker: &mut Linker<ComponentState>) -> wasmtime::Result<()> {
    bindings::Ml::add_to_linker::<ComponentState, HasNn>(linker, ComponentState::nn)?;
    stateful::add_to_linker(linker)
}

pub(crate) use witx::{CoreNn, add_to_linker as add_core_to_linker};
