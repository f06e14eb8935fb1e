//! The host of the two older shapes of `wasi:nn`, `0.2.0-rc-2024-06-25` and `-08-19`, in which a
//! context keeps its inputs and its outputs: `set-input`, `compute`, `get-output`. Behind them
//! are the same contexts.

use std::time::Instant;

use wasmtime::component::{Linker, Resource};

use super::bindings::wasi::nn::errors::ErrorCode;
use super::context::{Context, Named};
use super::error::GuestError;
use super::host::{Answer, Graph};
use super::tensor::HostTensor;
use super::{HasNn, NnView};
use crate::instance::ComponentState;

/// Inputs that a context may have, and bytes of the name of each.
const INPUTS_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 256;

/// A context with its inputs and outputs.
#[expect(unreachable_pub, reason = "the generated bindings export it")]
pub struct StatefulSlot {
    context: Option<Context>,
    /// They stay for the next computation, each until it is set again.
    inputs: Named,
    outputs: Named,
    /// An input was set since the last computation.
    fresh: bool,
}

impl StatefulSlot {
    fn new(context: Context) -> Self {
        Self { context: Some(context), inputs: Vec::new(), outputs: Vec::new(), fresh: false }
    }

    fn set(&mut self, name: String, tensor: HostTensor) -> Result<(), GuestError> {
        if name.len() > NAME_BYTES_MAX {
            let prose = format!("an input's name has at most {NAME_BYTES_MAX} bytes");
            return Err(GuestError::too_large(&prose));
        }
        match self.inputs.iter().position(|(known, _)| *known == name) {
            Some(at) => self.inputs[at].1 = tensor,
            None if self.inputs.len() < INPUTS_MAX => self.inputs.push((name, tensor)),
            None => {
                let prose = format!("a context has at most {INPUTS_MAX} inputs");
                return Err(GuestError::invalid(&prose));
            }
        }
        self.fresh = true;
        Ok(())
    }

    fn output(&self, name: &str) -> Result<&HostTensor, GuestError> {
        let found = self.outputs.iter().find(|(known, _)| known == name);
        found.map(|(_, tensor)| tensor).ok_or_else(|| {
            let names: Vec<&str> = self.outputs.iter().map(|(name, _)| name.as_str()).collect();
            GuestError::no_output(name, &names)
        })
    }
}

impl NnView<'_> {
    fn open_stateful(&mut self, graph: &Resource<Graph>) -> Answer<Resource<StatefulSlot>> {
        match self.open_graph(graph)? {
            Ok(context) => Ok(Ok(self.table.push(StatefulSlot::new(context))?)),
            Err(error) => self.refuse(error),
        }
    }

    fn set_input(
        &mut self,
        slot: &Resource<StatefulSlot>,
        name: String,
        tensor: Resource<HostTensor>,
    ) -> Answer<()> {
        let tensor = self.table.delete(tensor)?;
        match self.table.get_mut(slot)?.set(name, tensor) {
            Ok(()) => Ok(Ok(())),
            Err(error) => self.refuse(error),
        }
    }

    /// With an input that was set since the last time it starts a task; without, it goes on with
    /// a generation that streams, or does the same once more.
    async fn compute_stateful(&mut self, slot: &Resource<StatefulSlot>) -> Answer<()> {
        let held = self.table.get_mut(slot)?;
        let Some(mut context) = held.context.take() else {
            wasmtime::bail!("the context is computing already");
        };
        // The outputs' bytes are free for those to come.
        held.outputs = Vec::new();
        let goes_on = !std::mem::take(&mut held.fresh) && context.is_running();
        let asked = if goes_on { None } else { Some(context.read(&held.inputs)) };
        let began = Instant::now();
        let outcome = match asked {
            None => context.next_piece(&self.ctx.tensors).await,
            Some(Ok(asked)) => context.start(&self.ctx.reach, &self.ctx.tensors, asked).await,
            Some(Err(error)) => Err(error),
        };
        self.ctx.waited(began);
        let held = self.table.get_mut(slot)?;
        held.context = Some(context);
        match outcome {
            Ok(outputs) => {
                held.outputs = outputs;
                Ok(Ok(()))
            }
            Err(error) => self.refuse(error),
        }
    }

    /// A copy: the guest may ask for an output more than once.
    fn get_output(
        &mut self,
        slot: &Resource<StatefulSlot>,
        name: &str,
    ) -> Answer<Resource<HostTensor>> {
        let copy = self.table.get(slot)?.output(name).and_then(|t| t.copy(&self.ctx.tensors));
        match copy {
            Ok(tensor) => Ok(Ok(self.table.push(tensor)?)),
            Err(error) => self.refuse(error),
        }
    }

    fn make_error(
        &mut self,
        code: ErrorCode,
        data: &str,
    ) -> wasmtime::Result<Resource<GuestError>> {
        Ok(self.table.push(GuestError::made_by_guest(code, data))?)
    }

    fn drop_stateful(&mut self, slot: Resource<StatefulSlot>) -> wasmtime::Result<()> {
        self.table.delete(slot)?;
        self.ctx.close();
        Ok(())
    }
}

/// An enum of one version as that of another.
macro_rules! same {
    ($name:ident: $from:ty => $to:ty { $($variant:ident),* }) => {
        fn $name(from: $from) -> $to {
            match from {
                $(<$from>::$variant => <$to>::$variant,)*
            }
        }
    };
}

/// The interfaces of one version, over the methods above. Their enums are the same in all
/// versions, and types of their own in each.
macro_rules! version {
    ($version:ident, $wit:literal $(, $make_error:ident)?) => {
        mod $version {
            use wasmtime::component::Resource;

            use super::super::bindings::wasi::nn as newest;
            use super::super::host::{Answer, Graph};
            use super::super::tensor::HostTensor;
            use super::super::error::GuestError;
            use super::super::NnView;
            use super::StatefulSlot;

            mod bindings {
                wasmtime::component::bindgen!({
                    world: "ml",
                    path: $wit,
                    imports: {
                        "wasi:nn/inference.[method]graph-execution-context.compute": async | trappable,
                        "wasi:nn/graph.load": async | trappable,
                        default: trappable,
                    },
                    with: {
                        "wasi:nn/graph.graph": crate::nn::host::Graph,
                        "wasi:nn/tensor.tensor": crate::nn::tensor::HostTensor,
                        "wasi:nn/inference.graph-execution-context": crate::nn::stateful::StatefulSlot,
                        "wasi:nn/errors.error": crate::nn::error::GuestError,
                    },
                    require_store_data_send: true,
                });
            }

            pub(super) use bindings::Ml;
            use bindings::wasi::nn::{errors, graph, inference, tensor};

            same!(newest_type: tensor::TensorType => newest::tensor::TensorType {
                Fp16, Fp32, Fp64, Bf16, U8, I32, I64
            });
            same!(this_type: newest::tensor::TensorType => tensor::TensorType {
                Fp16, Fp32, Fp64, Bf16, U8, I32, I64
            });
            same!(this_code: newest::errors::ErrorCode => errors::ErrorCode {
                InvalidArgument, InvalidEncoding, Timeout, RuntimeError, UnsupportedOperation,
                TooLarge, NotFound, Security, Unknown
            });

            impl graph::Host for NnView<'_> {
                async fn load(
                    &mut self,
                    builder: Vec<graph::GraphBuilder>,
                    _encoding: graph::GraphEncoding,
                    _target: graph::ExecutionTarget,
                ) -> Answer<Resource<Graph>> {
                    NnView::load(self, builder).await
                }

                fn load_by_name(&mut self, name: String) -> Answer<Resource<Graph>> {
                    self.graph(&name)
                }
            }

            impl graph::HostGraph for NnView<'_> {
                fn init_execution_context(
                    &mut self,
                    graph: Resource<Graph>,
                ) -> Answer<Resource<StatefulSlot>> {
                    self.open_stateful(&graph)
                }

                fn drop(&mut self, graph: Resource<Graph>) -> wasmtime::Result<()> {
                    newest::graph::HostGraph::drop(self, graph)
                }
            }

            impl inference::Host for NnView<'_> {}

            impl inference::HostGraphExecutionContext for NnView<'_> {
                fn set_input(
                    &mut self,
                    slot: Resource<StatefulSlot>,
                    name: String,
                    tensor: Resource<HostTensor>,
                ) -> Answer<()> {
                    NnView::set_input(self, &slot, name, tensor)
                }

                async fn compute(&mut self, slot: Resource<StatefulSlot>) -> Answer<()> {
                    self.compute_stateful(&slot).await
                }

                fn get_output(
                    &mut self,
                    slot: Resource<StatefulSlot>,
                    name: String,
                ) -> Answer<Resource<HostTensor>> {
                    NnView::get_output(self, &slot, &name)
                }

                fn drop(&mut self, slot: Resource<StatefulSlot>) -> wasmtime::Result<()> {
                    self.drop_stateful(slot)
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
                    newest::tensor::HostTensor::new(self, dimensions, newest_type(ty), data)
                }

                fn dimensions(&mut self, tensor: Resource<HostTensor>) -> wasmtime::Result<Vec<u32>> {
                    newest::tensor::HostTensor::dimensions(self, tensor)
                }

                fn ty(&mut self, tensor: Resource<HostTensor>) -> wasmtime::Result<tensor::TensorType> {
                    Ok(this_type(newest::tensor::HostTensor::ty(self, tensor)?))
                }

                fn data(&mut self, tensor: Resource<HostTensor>) -> wasmtime::Result<Vec<u8>> {
                    newest::tensor::HostTensor::data(self, tensor)
                }

                fn drop(&mut self, tensor: Resource<HostTensor>) -> wasmtime::Result<()> {
                    newest::tensor::HostTensor::drop(self, tensor)
                }
            }

            impl errors::Host for NnView<'_> {}

            impl errors::HostError for NnView<'_> {
                $(
                    /// Guests of this version may make errors, which only they see.
                    fn new(
                        &mut self,
                        code: errors::ErrorCode,
                        data: String,
                    ) -> wasmtime::Result<Resource<GuestError>> {
                        same!(newest_code: errors::ErrorCode => newest::errors::ErrorCode {
                            InvalidArgument, InvalidEncoding, Timeout, RuntimeError,
                            UnsupportedOperation, TooLarge, NotFound, Security, Unknown
                        });
                        self.$make_error(newest_code(code), &data)
                    }
                )?

                fn code(&mut self, error: Resource<GuestError>) -> wasmtime::Result<errors::ErrorCode> {
                    Ok(this_code(newest::errors::HostError::code(self, error)?))
                }

                fn data(&mut self, error: Resource<GuestError>) -> wasmtime::Result<String> {
                    newest::errors::HostError::data(self, error)
                }

                fn drop(&mut self, error: Resource<GuestError>) -> wasmtime::Result<()> {
                    newest::errors::HostError::drop(self, error)
                }
            }
        }
    };
}

version!(of_june, "wit/wasi-nn-2024-06-25.wit", make_error);
version!(of_august, "wit/wasi-nn-2024-08-19.wit");

pub(super) fn add_to_linker(linker: &mut Linker<ComponentState>) -> wasmtime::Result<()> {
    of_june::Ml::add_to_linker::<ComponentState, HasNn>(linker, ComponentState::nn)?;
    of_august::Ml::add_to_linker::<ComponentState, HasNn>(linker, ComponentState::nn)
}
