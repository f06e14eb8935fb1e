//! wasi:nn as a component imports it.

use super::{Compute, Graph, Named, error};
use crate::{Error, Tensor, TensorType};
use std::rc::Rc;

mod bindings {
    wit_bindgen::generate!({ path: "wit/wasi-nn.wit", world: "ml" });
}
use bindings::wasi::nn::errors::ErrorCode;
use bindings::wasi::nn::{errors, graph, inference, tensor};

/// A graph of the host, with the name that errors mention.
struct HostGraph {
    graph: graph::Graph,
    model: Rc<str>,
}

/// A context of the host.
struct HostContext {
    context: inference::GraphExecutionContext,
    model: Rc<str>,
}

pub(crate) fn load(name: &str) -> Result<Rc<dyn Graph>, Error> {
    let model = Rc::from(name);
    let graph = graph::load_by_name(name).map_err(|e| meaning(&e, name))?;
    Ok(Rc::new(HostGraph { graph, model }))
}

pub(crate) fn load_bytes(model: Vec<u8>) -> Result<Rc<dyn Graph>, Error> {
    const NAME: &str = "a model from memory";
    let (encoding, target) = (graph::GraphEncoding::Autodetect, graph::ExecutionTarget::Cpu);
    let graph = graph::load(&[model], encoding, target).map_err(|e| meaning(&e, NAME))?;
    Ok(Rc::new(HostGraph { graph, model: Rc::from(NAME) }))
}

impl Graph for HostGraph {
    fn context(&self) -> Result<Box<dyn Compute>, Error> {
        let context = self.graph.init_execution_context().map_err(|e| meaning(&e, &self.model))?;
        Ok(Box::new(HostContext { context, model: Rc::clone(&self.model) }))
    }
}

impl Compute for HostContext {
    fn compute(&mut self, inputs: Named) -> Result<Named, Error> {
        let inputs = inputs.into_iter().map(|(name, tensor)| (name, lower(&tensor))).collect();
        let outputs = self.context.compute(inputs).map_err(|e| meaning(&e, &self.model))?;
        Ok(outputs.into_iter().map(|(name, tensor)| (name, lift(&tensor))).collect())
    }
}

fn meaning(host: &errors::Error, model: &str) -> Error {
    let code = match host.code() {
        ErrorCode::InvalidArgument => "invalid-argument",
        ErrorCode::InvalidEncoding => "invalid-encoding",
        ErrorCode::Timeout => "timeout",
        ErrorCode::RuntimeError => "runtime-error",
        ErrorCode::UnsupportedOperation => "unsupported-operation",
        ErrorCode::TooLarge => "too-large",
        ErrorCode::NotFound => "not-found",
        ErrorCode::Security => "security",
        ErrorCode::Unknown => "unknown",
    };
    error(code, &host.data(), model)
}

fn lower(tensor: &Tensor) -> tensor::Tensor {
    let ty = match tensor.ty() {
        TensorType::F16 => tensor::TensorType::Fp16,
        TensorType::F32 => tensor::TensorType::Fp32,
        TensorType::F64 => tensor::TensorType::Fp64,
        TensorType::Bf16 => tensor::TensorType::Bf16,
        TensorType::U8 => tensor::TensorType::U8,
        TensorType::I32 => tensor::TensorType::I32,
        TensorType::I64 => tensor::TensorType::I64,
    };
    tensor::Tensor::new(tensor.dimensions(), ty, tensor.data())
}

fn lift(tensor: &tensor::Tensor) -> Tensor {
    let ty = match tensor.ty() {
        tensor::TensorType::Fp16 => TensorType::F16,
        tensor::TensorType::Fp32 => TensorType::F32,
        tensor::TensorType::Fp64 => TensorType::F64,
        tensor::TensorType::Bf16 => TensorType::Bf16,
        tensor::TensorType::U8 => TensorType::U8,
        tensor::TensorType::I32 => TensorType::I32,
        tensor::TensorType::I64 => TensorType::I64,
    };
    Tensor::new(tensor.dimensions(), ty, tensor.data())
}
