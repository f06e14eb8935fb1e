use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use emberbox_onnx::{Bounds, Model as OnnxModel, OnnxError, Tensor, Value};

use super::fair::Fair;
use super::inbox::Inbox;
use super::prepare::Prepared;
use super::queue::Queue;
use super::session::{Fate, Job, Ticket};
use crate::api::{Answer, Event, FinishReason, NamedTensor, Plan, Usage};
use crate::models::load::graph::{kind_in, kind_out};
use crate::{InferenceError, InferenceOptions};

/// Operations that count as one token.
pub(crate) const OPERATIONS_A_TOKEN: u64 = 1_000_000;

/// A run of a graph whose inputs are checked.
#[derive(Debug)]
pub(crate) struct GraphRun {
    inputs: HashMap<String, Value>,
    /// What it may take.
    operations: u64,
}

impl GraphRun {
    /// Checks the inputs, and says what running on them can cost at most: what shapes tell, or all
    /// that a run may take where they do not tell everything.
    pub(crate) fn new(
        model: &OnnxModel,
        inputs: Vec<NamedTensor>,
        options: &InferenceOptions,
    ) -> Result<Self, InferenceError> {
        let invalid = |reason: String| InferenceError::invalid("inputs", reason);
        let mut values = HashMap::with_capacity(inputs.len());
        for NamedTensor { name, kind, shape, data } in inputs {
            let shape = shape.into_iter().map(|size| size as usize).collect();
            let tensor = Tensor::from_bytes(kind_in(kind), shape, &data)
                .map_err(|reason| invalid(format!("`{name}`: {reason}")))?;
            if let Some(_before) = values.insert(name.clone(), Value::Tensor(tensor)) {
                return Err(invalid(format!("`{name}` is given twice")));
            }
        }
        model.check(&values).map_err(|error| invalid(error.to_string()))?;
        let (cost, max) = (model.cost(&values), options.graph_operations_max);
        if cost.operations > max {
            let reason = format!("takes {} operations; at most {max} are allowed", cost.operations);
            return Err(invalid(reason));
        }
        if cost.bytes > options.graph_bytes_max {
            let (bytes, max) = (cost.bytes, options.graph_bytes_max);
            return Err(invalid(format!(
                "its values take {bytes} bytes; at most {max} are allowed"
            )));
        }
        let operations = if cost.exact { cost.operations } else { max };
        Ok(Self { inputs: values, operations })
    }

    pub(crate) fn plan(&self) -> Plan {
        Plan { input_tokens: tokens(self.operations), output_tokens_max: 0 }
    }
}

fn tokens(operations: u64) -> u32 {
    u32::try_from(operations.div_ceil(OPERATIONS_A_TOKEN)).unwrap_or(u32::MAX)
}

/// A graph's thread: one run after the other, of one payer after the other.
pub(crate) struct Runner {
    model: Arc<OnnxModel>,
    queue: Queue,
    fair: Fair,
    options: Arc<InferenceOptions>,
}

impl Runner {
    pub(crate) fn new(
        model: Arc<OnnxModel>,
        inbox: Arc<Inbox<Job>>,
        options: Arc<InferenceOptions>,
    ) -> Self {
        Self { model, queue: Queue::new(inbox), fair: Fair::default(), options }
    }

    /// Works until it is stopped.
    pub(crate) fn run(&mut self) {
        while self.queue.open() {
            self.queue.refresh(Instant::now(), self.options.session_idle_max);
            let candidates: Vec<_> = self.queue.payers().map(Arc::clone).collect();
            let job = self.fair.next(&candidates).and_then(|payer| {
                let job = self.queue.pop(&payer)?;
                self.fair.charge(&payer, job.prepared.plan().input_tokens as usize);
                Some(job)
            });
            let queue = &self.queue;
            self.fair.forget(|payer| queue.has(payer));
            match job {
                Some(Job { ticket, prepared: Prepared::Graph(run) }) => self.one(&ticket, *run),
                Some(_) => {}
                None => self.queue.wait(None),
            }
        }
    }

    fn one(&self, ticket: &Ticket, run: GraphRun) {
        let idle_max = self.options.session_idle_max;
        let stop = || ticket.fate(Instant::now(), idle_max) != Fate::Wanted;
        let (operations, bytes) = (run.operations, self.options.graph_bytes_max);
        let bounds = Bounds { operations, bytes, stop: Some(&stop), ..Bounds::default() };
        let planned = run.plan().input_tokens;
        match self.model.run(run.inputs, &bounds) {
            Ok((outputs, operations)) => {
                ticket.computed(tokens(operations).min(planned) as usize, 0);
                match self.named(outputs) {
                    Ok(tensors) => {
                        let answer = Answer::Tensors(tensors);
                        let event = Event::Answer { answer, usage: Usage::default() };
                        ticket.finish(vec![event], FinishReason::Stop);
                    }
                    Err(error) => ticket.fail(error),
                }
            }
            Err(OnnxError::Stopped) => ticket.finish(Vec::new(), FinishReason::Deadline),
            Err(error) => ticket.fail(InferenceError::invalid("inputs", error.to_string())),
        }
    }

    fn named(&self, outputs: Vec<Value>) -> Result<Vec<NamedTensor>, InferenceError> {
        let specs = self.model.outputs().iter();
        let named = specs.zip(outputs).map(|(spec, value)| {
            let invalid = |reason: String| {
                InferenceError::invalid("inputs", format!("output `{}`: {reason}", spec.name))
            };
            let Value::Tensor(tensor) = value else {
                return Err(invalid("is no tensor".to_owned()));
            };
            let size = |size: &usize| u32::try_from(*size).ok();
            let shape: Option<Vec<u32>> = tensor.shape().iter().map(size).collect();
            match (kind_out(tensor.kind()), shape, tensor.to_bytes()) {
                (Some(kind), Some(shape), Some(data)) => {
                    Ok(NamedTensor { name: spec.name.clone(), kind, shape, data })
                }
                _ => Err(invalid(format!("cannot be passed on: {:?}", tensor.kind()))),
            }
        });
        named.collect()
    }
}
