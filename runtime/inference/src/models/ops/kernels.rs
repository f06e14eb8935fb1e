use std::cell::RefCell;
use std::sync::Arc;

use burn::backend::Flex;
use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};
use emberbox_kernels::attention::{self, KvCache, Layer, Rope, Span};
use emberbox_kernels::dense::Finish;
use emberbox_kernels::linear::{self, Activations, Matrix};
use emberbox_kernels::pool::{self, Pool};
use emberbox_kernels::rows::{self, Norm};
use emberbox_kernels::{Level, dense, int8};

use super::linear::{Form, Packing, Part};
use super::{Attention, DecoderOps};
use crate::models::config::Activation;

thread_local! {
    /// The input of a quantised layer; kept, for fresh memory would cost a page fault a page.
    static ACTIVATIONS: RefCell<Activations> = RefCell::default();
}

fn tensor(shape: [usize; 2], values: Vec<f32>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape)), DType::F32)
}

/// The values of a contiguous tensor; the kernels refuse the wrong length that others give.
fn floats(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().unwrap_or_default()
}

fn dims2(tensor: &FlexTensor) -> [usize; 2] {
    let shape = tensor.layout().shape();
    [shape[0], shape[1]]
}

/// All matrices in one pass.
fn quantised((level, pool): (Level, &Pool), x: &[f32], matrices: &[Matrix<'_>]) -> Vec<f32> {
    let columns = matrices.first().map_or(0, |matrix| matrix.columns);
    ACTIVATIONS.with_borrow_mut(|activations| {
        activations.quantise(level, pool, x, columns);
        linear::linear(level, pool, activations, matrices)
    })
}

/// One matrix after the other, as some of them are dense.
fn by_parts<'a>(
    (level, pool): (Level, &Pool),
    x: &[f32],
    parts: impl Iterator<Item = (Part, &'a [u8])>,
    (columns, width): (usize, usize),
) -> Vec<f32> {
    let tokens = x.len().checked_div(columns).unwrap_or(0);
    let mut y = vec![0.0; tokens * width];
    let mut first = 0;
    for (Part { form, rows }, packed) in parts {
        let own = match form {
            Form::Dense(kind) => {
                let mut own = vec![0.0; tokens * rows];
                let w = dense::Weights { kind, packed, rows, columns };
                dense::packed_linear(level, pool, x, &w, &mut own);
                own
            }
            Form::Int8 => {
                let mut own = vec![0.0; tokens * rows];
                let w = int8::Weights { packed, rows, columns };
                int8::linear((level, pool), x, &w, Finish::default(), &mut own);
                own
            }
            Form::Blocks(format) => {
                let matrix = Matrix { format, packed, rows, columns };
                quantised((level, pool), x, &[matrix])
            }
        };
        if rows == width {
            return own;
        }
        for (y, own) in y.chunks_exact_mut(width).zip(own.chunks_exact(rows)) {
            y[first..first + rows].copy_from_slice(own);
        }
        first += rows;
    }
    y
}

impl DecoderOps for Flex {
    fn linear(x: FlexTensor, w: FlexTensor, p: Arc<Packing>) -> FlexTensor {
        let [tokens, _] = dims2(&x);
        let x = x.to_contiguous();
        let width = p.rows();
        let level = Level::detect();
        let y = pool::current(|pool| match p.quantised(w.bytes()) {
            Some(matrices) => quantised((level, pool), floats(&x), &matrices),
            None => by_parts((level, pool), floats(&x), p.parts(w.bytes()), (p.columns, width)),
        });
        tensor([tokens, width], y)
    }

    fn rows(w: FlexTensor, ids: FlexTensor, p: Arc<Packing>) -> FlexTensor {
        let ids: &[i32] = ids.as_slice().unwrap_or_default();
        let mut y = vec![0.0; ids.len() * p.columns];
        if let Some((part, packed)) = p.parts(w.bytes()).next() {
            for (id, row) in ids.iter().zip(y.chunks_exact_mut(p.columns)) {
                let id = id.cast_unsigned() as usize;
                match part.form {
                    Form::Dense(kind) => kind.unpack_row(packed, p.columns, id, row),
                    Form::Int8 => int8::unpack_row(packed, p.columns, id, row),
                    Form::Blocks(format) => format.unpack_row(packed, p.columns, id, row),
                }
            }
        }
        tensor([ids.len(), p.columns], y)
    }

    fn norm(x: FlexTensor, w: FlexTensor, epsilon: f32) -> FlexTensor {
        let x = x.to_contiguous();
        let mut y = vec![0.0; floats(&x).len()];
        let norm = Norm { weight: floats(&w), bias: None, epsilon };
        pool::current(|pool| rows::rms_norm(Level::detect(), pool, floats(&x), norm, &mut y));
        tensor(dims2(&x), y)
    }

    fn gate(x: FlexTensor, activation: Activation) -> FlexTensor {
        let [tokens, both] = dims2(&x);
        let x = x.to_contiguous();
        let mut y = vec![0.0; tokens * both / 2];
        let gate = match activation {
            Activation::Silu => rows::silu_mul,
            Activation::GeluTanh => rows::gelu_tanh_mul,
        };
        pool::current(|pool| gate(Level::detect(), pool, floats(&x), both / 2, &mut y));
        tensor([tokens, both / 2], y)
    }

    fn attend(
        qkv: FlexTensor,
        mut cache: FlexTensor,
        angles: FlexTensor,
        norms: FlexTensor,
        (plan, spans): (Attention, Arc<Vec<Span>>),
    ) -> (FlexTensor, FlexTensor) {
        let [tokens, _] = dims2(&qkv);
        let width = plan.heads.query * plan.heads.dims;
        let mut qkv = qkv.to_contiguous();
        let (cos, sin) = floats(&angles).split_at(floats(&angles).len() / 2);
        let dims = 2 * angles.layout().shape()[2];
        let (query, key) = floats(&norms).split_at(plan.norms[0].min(floats(&norms).len()));
        let layer = Layer {
            heads: plan.heads,
            scale: plan.scale,
            window: plan.window,
            softcap: plan.softcap,
            rope: plan.rotary.then_some(Rope { dims, cos, sin }),
            query_norm: (plan.norms[0] > 0).then_some(query),
            key_norm: (plan.norms[1] > 0).then_some(key),
            norm_epsilon: plan.epsilon,
        };
        let mut y = vec![0.0; tokens * width];
        let rows = attention::Rows { qkv: qkv.storage_mut(), spans: spans.as_slice(), out: &mut y };
        let bytes: &mut [u8] = cache.storage_mut();
        let half = bytes.len() / 2;
        let (keys, values) = bytes.split_at_mut(half);
        let both = KvCache { kind: plan.cache, keys, values };
        pool::current(|pool| attention::forward(Level::detect(), pool, &layer, rows, both));
        (tensor([tokens, width], y), cache)
    }
}
