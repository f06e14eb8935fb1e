use std::time::Instant;

use wasmtime::component::Resource;

use super::NnView;
use super::bindings::wasi::nn::{errors, graph, inference, tensor};
use super::context::{Context, Named};
use super::error::GuestError;
use super::tensor::HostTensor;
use crate::bridge::{ModelInfo, ModelKind};

/// A model that the guest has loaded.
#[derive(Clone)]
#[expect(unreachable_pub, reason = "the generated bindings export it")]
pub struct Graph {
    model: String,
    kind: ModelKind,
}

impl Graph {
    fn of(info: ModelInfo) -> Self {
        Self { model: info.name, kind: info.kind }
    }
}

/// Where a context lives in the table. It is taken out while it computes, so that a call that is
/// dropped in the middle drops the context too.
#[expect(unreachable_pub, reason = "the generated bindings export it")]
pub struct ContextSlot(Option<Context>);

/// The outer result ends the guest, the inner one is for it to read.
pub(super) type Answer<T> = wasmtime::Result<Result<T, Resource<GuestError>>>;

impl NnView<'_> {
    pub(super) fn refuse<T>(&mut self, error: GuestError) -> Answer<T> {
        Ok(Err(self.table.push(error)?))
    }

    fn take_all(
        &mut self,
        handles: Vec<(String, Resource<HostTensor>)>,
    ) -> wasmtime::Result<Named> {
        let mut tensors = Vec::with_capacity(handles.len());
        for (name, handle) in handles {
            tensors.push((name, self.table.delete(handle)?));
        }
        Ok(tensors)
    }
}

/// What every version of the interfaces does.
impl NnView<'_> {
    pub(super) async fn load(&mut self, parts: Vec<Vec<u8>>) -> Answer<Resource<Graph>> {
        match self.bring(parts).await {
            Ok(info) => Ok(Ok(self.table.push(Graph::of(info))?)),
            Err(error) => self.refuse(error),
        }
    }

    async fn bring(&mut self, mut parts: Vec<Vec<u8>>) -> Result<ModelInfo, GuestError> {
        self.ctx.admit(parts.iter().map(Vec::len).sum())?;
        let (Some(model), true) = (parts.pop(), parts.is_empty()) else {
            return Err(GuestError::invalid("a model is one list of bytes"));
        };
        self.ctx.bring(model).await
    }

    pub(super) fn graph(&mut self, name: &str) -> Answer<Resource<Graph>> {
        match self.ctx.find(name) {
            Ok(info) => Ok(Ok(self.table.push(Graph::of(info))?)),
            Err(error) => self.refuse(error),
        }
    }

    /// A context that counts as open from now on.
    pub(super) fn open_graph(
        &mut self,
        graph: &Resource<Graph>,
    ) -> wasmtime::Result<Result<Context, GuestError>> {
        let Graph { model, kind } = self.table.get(graph)?.clone();
        Ok(self.ctx.open(model, kind))
    }
}

impl graph::Host for NnView<'_> {
    async fn load(
        &mut self,
        builder: Vec<graph::GraphBuilder>,
        _encoding: graph::GraphEncoding,
        _target: graph::ExecutionTarget,
    ) -> Answer<Resource<Graph>> {
        NnView::load(self, builder).await
    }

    async fn load_by_name(&mut self, name: String) -> Answer<Resource<Graph>> {
        self.graph(&name)
    }
}

impl graph::HostGraph for NnView<'_> {
    fn init_execution_context(&mut self, graph: Resource<Graph>) -> Answer<Resource<ContextSlot>> {
        match self.open_graph(&graph)? {
            Ok(context) => Ok(Ok(self.table.push(ContextSlot(Some(context)))?)),
            Err(error) => self.refuse(error),
        }
    }

    fn drop(&mut self, graph: Resource<Graph>) -> wasmtime::Result<()> {
        self.table.delete(graph)?;
        Ok(())
    }
}

impl inference::Host for NnView<'_> {}

impl inference::HostGraphExecutionContext for NnView<'_> {
    async fn compute(
        &mut self,
        slot: Resource<ContextSlot>,
        inputs: Vec<inference::NamedTensor>,
    ) -> Answer<Vec<inference::NamedTensor>> {
        let inputs = self.take_all(inputs)?;
        let Some(mut context) = self.table.get_mut(&slot)?.0.take() else {
            wasmtime::bail!("the context is computing already");
        };
        let began = Instant::now();
        let outcome = context.compute(&self.ctx.reach, &self.ctx.tensors, inputs).await;
        self.ctx.waited(began);
        self.table.get_mut(&slot)?.0 = Some(context);
        let outputs = match outcome {
            Ok(outputs) => outputs,
            Err(error) => return self.refuse(error),
        };
        let mut handles = Vec::with_capacity(outputs.len());
        for (name, tensor) in outputs {
            handles.push((name, self.table.push(tensor)?));
        }
        Ok(Ok(handles))
    }

    fn drop(&mut self, slot: Resource<ContextSlot>) -> wasmtime::Result<()> {
        self.table.delete(slot)?;
        self.ctx.close();
        Ok(())
    }
}

impl tensor::Host for NnView<'_> {}

impl tensor::HostTensor for NnView<'_> {
    fn new(
        &mut self,
        dimensions: tensor::TensorDimensions,
        ty: tensor::TensorType,
        data: tensor::TensorData,
    ) -> wasmtime::Result<Resource<HostTensor>> {
        let tensor = HostTensor::from_guest(dimensions, ty, data, &self.ctx.tensors);
        Ok(self.table.push(tensor)?)
    }

    fn dimensions(&mut self, tensor: Resource<HostTensor>) -> wasmtime::Result<Vec<u32>> {
        Ok(self.table.get(&tensor)?.dimensions().to_vec())
    }

    fn ty(&mut self, tensor: Resource<HostTensor>) -> wasmtime::Result<tensor::TensorType> {
        Ok(self.table.get(&tensor)?.ty())
    }

    fn data(&mut self, tensor: Resource<HostTensor>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.table.get(&tensor)?.data().to_vec())
    }

    fn drop(&mut self, tensor: Resource<HostTensor>) -> wasmtime::Result<()> {
        self.table.delete(tensor)?;
        Ok(())
    }
}

impl errors::Host for NnView<'_> {}

impl errors::HostError for NnView<'_> {
    fn code(&mut self, error: Resource<GuestError>) -> wasmtime::Result<errors::ErrorCode> {
        Ok(self.table.get(&error)?.code)
    }

    fn data(&mut self, error: Resource<GuestError>) -> wasmtime::Result<String> {
        Ok(self.table.get(&error)?.data.clone())
    }

    fn drop(&mut self, error: Resource<GuestError>) -> wasmtime::Result<()> {
        self.table.delete(error)?;
        Ok(())
    }
}
