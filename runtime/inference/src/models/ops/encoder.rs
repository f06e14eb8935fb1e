//! The operations of an encoder, in both forms.

use std::sync::Arc;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Bytes, DType, Shape, Tensor, TensorData, activation, module};
use burn_flex::{FlexTensor, Layout};
use emberbox_kernels::dense::{self, Activation, Bias, Finish};
use emberbox_kernels::full::{self, Full};
use emberbox_kernels::map::{self, Binary, Operand};
use emberbox_kernels::rows::{self, Norm};
use emberbox_kernels::{Level, int8, pool};

use super::Path;
use super::linear::{Form, Packing};

/// What attention does in one layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seeing {
    pub(crate) heads: usize,
    pub(crate) dims: usize,
    /// `[heads, 2 longest - 1]`, and the longest.
    pub(crate) distances: Option<(Vec<f32>, usize)>,
    pub(crate) window: Option<usize>,
    /// `[positions, dims / 2]` each.
    pub(crate) angles: Option<(Vec<f32>, Vec<f32>)>,
}

impl Seeing {
    fn scale(&self) -> f32 {
        1.0 / (self.dims as f32).sqrt()
    }
}

#[backend_extension(Flex)]
pub(crate) trait EncoderOps: Backend {
    fn affine(
        x: FloatTensor<Self>,
        w: IntTensor<Self>,
        bias: FloatTensor<Self>,
        plan: (Arc<Packing>, Activation),
    ) -> FloatTensor<Self>;
    fn function(x: FloatTensor<Self>, function: Activation) -> FloatTensor<Self>;
    fn see(qkv: FloatTensor<Self>, plan: (Arc<Seeing>, Arc<Vec<usize>>)) -> FloatTensor<Self>;
    fn centred_norm(
        x: FloatTensor<Self>,
        sum: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;
}

fn tensor(shape: [usize; 2], values: Vec<f32>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::from(shape)), DType::F32)
}

fn floats(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().unwrap_or_default()
}

impl EncoderOps for Flex {
    fn affine(
        x: FlexTensor,
        w: FlexTensor,
        bias: FlexTensor,
        (packing, activation): (Arc<Packing>, Activation),
    ) -> FlexTensor {
        let tokens = x.layout().shape()[0];
        let (x, level, rows) = (x.to_contiguous(), Level::detect(), packing.rows());
        let bias = floats(&bias);
        let one = packing.parts(w.bytes()).next().filter(|(part, _)| part.rows == rows);
        if let Some((part, packed)) = one
            && !matches!(part.form, Form::Blocks(_))
        {
            let columns = packing.columns;
            let finish = Finish { bias: Bias::Columns(bias), activation, ..Finish::default() };
            let mut y = vec![0.0; tokens * rows];
            pool::current(|pool| match part.form {
                Form::Dense(kind) => {
                    let w = dense::Weights { kind, packed, rows, columns };
                    dense::finished_linear((level, pool), floats(&x), &w, finish, &mut y);
                }
                _ => {
                    let w = int8::Weights { packed, rows, columns };
                    int8::linear((level, pool), floats(&x), &w, finish, &mut y);
                }
            });
            return tensor([tokens, rows], y);
        }
        let product = <Flex as super::DecoderOps>::linear(x, w, packing);
        let mut y = vec![0.0; tokens * rows];
        let mut sum = vec![0.0; tokens * rows];
        pool::current(|pool| {
            let at = (level, pool);
            map::binary(at, Binary::Add, floats(&product), Operand::Channels(bias, 1), &mut sum);
            map::unary(at, activation, &sum, &mut y);
        });
        tensor([tokens, rows], y)
    }

    fn function(x: FlexTensor, function: Activation) -> FlexTensor {
        let shape = [x.layout().shape()[0], x.layout().shape()[1]];
        let x = x.to_contiguous();
        let mut y = vec![0.0; floats(&x).len()];
        pool::current(|pool| map::unary((Level::detect(), pool), function, floats(&x), &mut y));
        tensor(shape, y)
    }

    fn see(qkv: FlexTensor, (plan, lengths): (Arc<Seeing>, Arc<Vec<usize>>)) -> FlexTensor {
        let (tokens, width) = (qkv.layout().shape()[0], plan.heads * plan.dims);
        let qkv = qkv.to_contiguous();
        let full = Full {
            heads: plan.heads,
            dims: plan.dims,
            scale: plan.scale(),
            distances: plan.distances.as_ref().map(|(bias, longest)| (bias.as_slice(), *longest)),
            window: plan.window,
            angles: plan.angles.as_ref().map(|(cos, sin)| (cos.as_slice(), sin.as_slice())),
        };
        let mut y = vec![0.0; tokens * width];
        pool::current(|pool| {
            full::attend((Level::detect(), pool), &full, floats(&qkv), &lengths, &mut y);
        });
        tensor([tokens, width], y)
    }

    fn centred_norm(
        x: FlexTensor,
        sum: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        epsilon: f32,
    ) -> FlexTensor {
        let shape = [x.layout().shape()[0], x.layout().shape()[1]];
        let (x, sum) = (x.to_contiguous(), sum.to_contiguous());
        let norm = Norm { weight: floats(&weight), bias: Some(floats(&bias)), epsilon };
        let (mut y, mut both) = (vec![0.0; floats(&x).len()], floats(&sum).to_vec());
        pool::current(|pool| {
            rows::add_layer_norm(Level::detect(), pool, (floats(&x), &mut both), norm, &mut y);
        });
        tensor(shape, y)
    }
}

/// The norm of `x + sum`, by row.
pub(crate) fn norm_of_sum(
    (x, sum): (Tensor<2>, Tensor<2>),
    (weight, bias): (Tensor<1>, Tensor<1>),
    epsilon: f64,
    path: Path,
) -> Tensor<2> {
    match path {
        Path::Kernels => Tensor::from_dispatch(Dispatch::centred_norm(
            x.into_dispatch(),
            sum.into_dispatch(),
            weight.into_dispatch(),
            bias.into_dispatch(),
            epsilon as f32,
        )),
        Path::Reference => module::layer_norm(x.add(sum), weight, Some(bias), epsilon),
    }
}

/// A function of each value.
pub(crate) fn function(x: Tensor<2>, function: Activation, path: Path) -> Tensor<2> {
    match path {
        Path::Kernels => Tensor::from_dispatch(Dispatch::function(x.into_dispatch(), function)),
        Path::Reference => activated(x, function),
    }
}

/// An activation by burn's own operations.
pub(crate) fn activated(x: Tensor<2>, function: Activation) -> Tensor<2> {
    match function {
        Activation::Relu => activation::relu(x),
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => {
            let cube = x.clone().mul(x.clone()).mul(x.clone()).mul_scalar(0.044_715);
            let inner = x.clone().add(cube).mul_scalar((2.0 / std::f64::consts::PI).sqrt());
            x.mul_scalar(0.5).mul(inner.tanh().add_scalar(1.0))
        }
        _ => x,
    }
}

/// Full attention inside each text.
pub(crate) fn see(
    qkv: Tensor<2>,
    plan: &Arc<Seeing>,
    lengths: &Arc<Vec<usize>>,
    path: Path,
) -> Tensor<2> {
    if path == Path::Kernels {
        let plan = (Arc::clone(plan), Arc::clone(lengths));
        return Tensor::from_dispatch(Dispatch::see(qkv.into_dispatch(), plan));
    }
    let (heads, dims) = (plan.heads, plan.dims);
    let hidden = heads * dims;
    let mut first = 0;
    let mut out = Vec::with_capacity(lengths.len());
    for len in lengths.iter().copied() {
        let part = |i: usize| {
            let rows = qkv.clone().narrow(0, first, len).narrow(1, i * hidden, hidden);
            let rows = rows.reshape([len, heads, dims]).swap_dims(0, 1);
            if i < 2 { turned(rows, plan, len) } else { rows }
        };
        let scores = part(0).matmul(part(1).swap_dims(1, 2)).mul_scalar(plan.scale());
        let scores = match added(plan, len) {
            None => scores,
            Some(values) => {
                let bias = TensorData::new(values, [heads, len, len]);
                scores.add(Tensor::from_data(bias, &qkv.device()))
            }
        };
        let h = activation::softmax(scores, 2).matmul(part(2));
        out.push(h.swap_dims(0, 1).reshape([len, hidden]));
        first += len;
    }
    Tensor::cat(out, 0)
}

/// Queries or keys, `[heads, len, dims]`, turned by their positions.
fn turned(x: Tensor<3>, plan: &Seeing, len: usize) -> Tensor<3> {
    let Some((cos, sin)) = &plan.angles else { return x };
    let half = plan.dims / 2;
    let angles = |values: &[f32]| {
        let values = TensorData::new(values[..len * half].to_vec(), [1, len, half]);
        Tensor::<3>::from_data(values, &x.device())
    };
    let (cos, sin) = (angles(cos), angles(sin));
    let (low, high) = (x.clone().narrow(2, 0, half), x.narrow(2, half, half));
    let first = low.clone().mul(cos.clone()).sub(high.clone().mul(sin.clone()));
    Tensor::cat(vec![first, high.mul(cos).add(low.mul(sin))], 2)
}

/// What is added to the scores of a text, `[heads, len, len]`.
fn added(plan: &Seeing, len: usize) -> Option<Vec<f32>> {
    if plan.distances.is_none() && plan.window.is_none() {
        return None;
    }
    let mut all = Vec::with_capacity(plan.heads * len * len);
    for head in 0..plan.heads {
        for (query, key) in (0..len).flat_map(|q| (0..len).map(move |k| (q, k))) {
            let far = plan.window.is_some_and(|window| query.abs_diff(key) > window);
            let by = plan.distances.as_ref().map_or(0.0, |(bias, longest)| {
                bias[head * (2 * longest - 1) + longest - 1 + key - query]
            });
            all.push(if far { -1e30 } else { by });
        }
    }
    Some(all)
}
