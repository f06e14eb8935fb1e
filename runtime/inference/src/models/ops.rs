//! Each operation twice: a kernel attached to burn's Flex backend, and burn's own operations,
//! which are the reference in tests and the way on any other backend.

use std::sync::Arc;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::module::{Module, Param, ParamId};
use burn::tensor::{Bytes, DType, Device, Int, Shape, Tensor, TensorData, activation};
use burn_flex::{FlexTensor, Layout};
use emberbox_kernels::attention::{self, Angles, BLOCK_TOKENS, Batch, Heads, Span};
use emberbox_kernels::{Level, dense, pointwise, q8_0};

use crate::formats::weights::Matrix;

/// Which form of the operations a model uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// Ours, on Flex.
    Kernels,
    /// burn's.
    Reference,
}

/// One forward pass over rows of several sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) heads: Heads,
    /// Whose the rows are, in order.
    pub(crate) spans: Vec<Span>,
}

#[backend_extension(Flex)]
pub(crate) trait DecoderOps: Backend {
    fn linear_q8(x: FloatTensor<Self>, w: IntTensor<Self>, rows: usize) -> FloatTensor<Self>;
    fn linear_dense(x: FloatTensor<Self>, w: FloatTensor<Self>) -> FloatTensor<Self>;
    fn rows_q8(w: IntTensor<Self>, ids: IntTensor<Self>, columns: usize) -> FloatTensor<Self>;
    fn norm(x: FloatTensor<Self>, w: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self>;
    fn gate(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn smooth_gate(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn attend(
        qkv: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        angles: FloatTensor<Self>,
        step: Arc<Step>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
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

impl DecoderOps for Flex {
    fn linear_q8(x: FlexTensor, w: FlexTensor, rows: usize) -> FlexTensor {
        let [tokens, columns] = dims2(&x);
        let x = x.to_contiguous();
        let level = Level::detect();
        let quantised = q8_0::Activations::new(level, floats(&x), columns);
        let mut y = vec![0.0; tokens * rows];
        q8_0::linear(level, &quantised, w.bytes(), rows, &mut y);
        tensor([tokens, rows], y)
    }

    fn linear_dense(x: FlexTensor, w: FlexTensor) -> FlexTensor {
        let [tokens, columns] = dims2(&x);
        let [rows, _] = dims2(&w);
        let x = x.to_contiguous();
        let mut y = vec![0.0; tokens * rows];
        dense::linear(Level::detect(), floats(&x), floats(&w), columns, &mut y);
        tensor([tokens, rows], y)
    }

    fn rows_q8(w: FlexTensor, ids: FlexTensor, columns: usize) -> FlexTensor {
        let ids: &[i32] = ids.as_slice().unwrap_or_default();
        let mut y = vec![0.0; ids.len() * columns];
        for (id, row) in ids.iter().zip(y.chunks_exact_mut(columns)) {
            q8_0::unpack_row(w.bytes(), id.cast_unsigned() as usize, row);
        }
        tensor([ids.len(), columns], y)
    }

    fn norm(x: FlexTensor, w: FlexTensor, epsilon: f32) -> FlexTensor {
        let x = x.to_contiguous();
        let mut y = vec![0.0; floats(&x).len()];
        pointwise::rms_norm(Level::detect(), floats(&x), floats(&w), epsilon, &mut y);
        tensor(dims2(&x), y)
    }

    fn gate(x: FlexTensor) -> FlexTensor {
        let [tokens, both] = dims2(&x);
        let x = x.to_contiguous();
        let mut y = vec![0.0; tokens * both / 2];
        pointwise::silu_mul(Level::detect(), floats(&x), both / 2, &mut y);
        tensor([tokens, both / 2], y)
    }

    fn smooth_gate(x: FlexTensor) -> FlexTensor {
        let x = x.to_contiguous();
        let mut y = vec![0.0; floats(&x).len()];
        pointwise::gelu(Level::detect(), floats(&x), &mut y);
        tensor(dims2(&x), y)
    }

    fn attend(
        qkv: FlexTensor,
        mut keys: FlexTensor,
        mut values: FlexTensor,
        angles: FlexTensor,
        step: Arc<Step>,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let [tokens, _] = dims2(&qkv);
        let width = step.heads.query * step.heads.dims;
        let mut qkv = qkv.to_contiguous();
        let (cos, sin) = floats(&angles).split_at(floats(&angles).len() / 2);
        let batch = Batch {
            heads: step.heads,
            qkv: qkv.storage_mut(),
            angles: Angles { cos, sin },
            spans: &step.spans,
        };
        let cache = attention::Cache { keys: keys.storage_mut(), values: values.storage_mut() };
        let mut y = vec![0.0; tokens * width];
        attention::attend(Level::detect(), batch, cache, &mut y);
        (tensor([tokens, width], y), keys, values)
    }
}

/// A matrix of weights: a linear layer, an embedding, or both.
#[derive(Module, Debug)]
pub(crate) enum Linear {
    /// `[rows, columns]`.
    Dense(Param<Tensor<2>>),
    /// Packed by `q8_0::pack`.
    Q8(Packed),
}

/// Packed Q8_0 weights.
#[derive(Module, Debug)]
pub(crate) struct Packed {
    bytes: Param<Tensor<1, Int>>,
    rows: usize,
    columns: usize,
}

impl Linear {
    /// `shape` is `[rows, columns]`. On the reference path weights become f32.
    pub(crate) fn new(matrix: Matrix, shape: [usize; 2], path: Path, device: &Device) -> Self {
        match (matrix, path) {
            (Matrix::Q8_0(blocks), Path::Kernels) => {
                let bytes = q8_0::pack(&blocks, shape[0]);
                let len = bytes.len();
                let data = TensorData::from_bytes_vec(bytes, [len], DType::U8);
                let bytes = Tensor::from_data(data, (device, DType::U8));
                let [rows, columns] = shape;
                Self::Q8(Packed { bytes: Param::initialized(ParamId::new(), bytes), rows, columns })
            }
            (matrix, _) => {
                let data = TensorData::new(matrix.into_f32(), shape);
                Self::Dense(Param::from_tensor(Tensor::from_data(data, device)))
            }
        }
    }

    /// `x` is `[tokens, columns]`; gives `[tokens, rows]`.
    pub(crate) fn forward(&self, x: Tensor<2>, path: Path) -> Tensor<2> {
        match (self, path) {
            (Self::Q8(w), _) => Tensor::from_dispatch(Dispatch::linear_q8(
                x.into_dispatch(),
                w.bytes.val().into_dispatch(),
                w.rows,
            )),
            (Self::Dense(w), Path::Kernels) => Tensor::from_dispatch(Dispatch::linear_dense(
                x.into_dispatch(),
                w.val().into_dispatch(),
            )),
            (Self::Dense(w), Path::Reference) => x.matmul(w.val().transpose()),
        }
    }

    /// Rows by number: `ids` is `[tokens]`; gives `[tokens, columns]`.
    pub(crate) fn rows(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        match self {
            Self::Dense(w) => w.val().select(0, ids),
            Self::Q8(w) => Tensor::from_dispatch(Dispatch::rows_q8(
                w.bytes.val().into_dispatch(),
                ids.into_dispatch(),
                w.columns,
            )),
        }
    }
}

/// Root-mean-square normalisation of `[tokens, width]`.
pub(crate) fn norm(x: Tensor<2>, w: &Param<Tensor<1>>, epsilon: f32, path: Path) -> Tensor<2> {
    match path {
        Path::Kernels => Tensor::from_dispatch(Dispatch::norm(
            x.into_dispatch(),
            w.val().into_dispatch(),
            epsilon,
        )),
        Path::Reference => {
            let scale = x.clone().square().mean_dim(1).add_scalar(epsilon).sqrt();
            x.div(scale).mul(w.val().unsqueeze())
        }
    }
}

/// `[tokens, 2 width]`, gate before up, to `[tokens, width]`.
pub(crate) fn gate(x: Tensor<2>, path: Path) -> Tensor<2> {
    match path {
        Path::Kernels => Tensor::from_dispatch(Dispatch::gate(x.into_dispatch())),
        Path::Reference => {
            let width = x.dims()[1] / 2;
            activation::silu(x.clone().narrow(1, 0, width)).mul(x.narrow(1, width, width))
        }
    }
}

/// The Gaussian error linear unit.
pub(crate) fn gelu(x: Tensor<2>, path: Path) -> Tensor<2> {
    match path {
        Path::Kernels => Tensor::from_dispatch(Dispatch::smooth_gate(x.into_dispatch())),
        Path::Reference => activation::gelu(x),
    }
}

/// One layer's keys and values. The two paths lay keys out differently inside a block.
pub(crate) type LayerCache = (Tensor<4>, Tensor<4>);

/// Rotary attention over the cache. `qkv` is `[tokens, (query + 2 kv) dims]`, `angles` is
/// `[2, positions, dims / 2]`, cosines first; gives `[tokens, query dims]`.
pub(crate) fn attend(
    qkv: Tensor<2>,
    (keys, values): LayerCache,
    angles: Tensor<3>,
    step: &Arc<Step>,
    path: Path,
) -> (Tensor<2>, LayerCache) {
    if path == Path::Reference {
        return reference_attend(&qkv, (keys, values), &angles, step);
    }
    let (out, keys, values) = Dispatch::attend(
        qkv.into_dispatch(),
        keys.into_dispatch(),
        values.into_dispatch(),
        angles.into_dispatch(),
        Arc::clone(step),
    );
    let cache = (Tensor::from_dispatch(keys), Tensor::from_dispatch(values));
    (Tensor::from_dispatch(out), cache)
}

fn reference_attend(
    qkv: &Tensor<2>,
    mut cache: LayerCache,
    angles: &Tensor<3>,
    step: &Step,
) -> (Tensor<2>, LayerCache) {
    let Heads { query, kv, dims } = step.heads;
    let mut out = Vec::new();
    let mut first = 0;
    for span in &step.spans {
        let rows = qkv.clone().narrow(0, first, span.rows);
        first += span.rows;
        let head = |start: usize, heads: usize| {
            rows.clone().narrow(1, start * dims, heads * dims).reshape([span.rows, heads, dims])
        };
        let queries = rotate(head(0, query), angles, span.position);
        let keys = rotate(head(query, kv), angles, span.position);
        let values = head(query + kv, kv);
        let keys = extend(&mut cache.0, keys, span);
        let values = extend(&mut cache.1, values, span);
        out.push(softmax_attend(queries, keys, values, span.position));
    }
    (Tensor::cat(out, 0), cache)
}

/// `[rows, heads, dims]`, the first half of a head paired with its second.
fn rotate(x: Tensor<3>, angles: &Tensor<3>, position: usize) -> Tensor<3> {
    let [rows, _, dims] = x.dims();
    let half = dims / 2;
    let table = |which: usize| {
        let table = angles.clone().slice([which..which + 1, position..position + rows, 0..half]);
        table.reshape([rows, 1, half])
    };
    let (cos, sin) = (table(0), table(1));
    let (a, b) = (x.clone().narrow(2, 0, half), x.narrow(2, half, half));
    let first = a.clone().mul(cos.clone()).sub(b.clone().mul(sin.clone()));
    Tensor::cat(vec![first, b.mul(cos).add(a.mul(sin))], 2)
}

/// Writes `[rows, kv, dims]` to the span's blocks; gives all of its tokens, `[tokens, kv, dims]`.
fn extend(cache: &mut Tensor<4>, rows: Tensor<3>, span: &Span) -> Tensor<3> {
    let [count, kv, dims] = rows.dims();
    let tokens = span.position + count;
    let used = tokens.div_ceil(BLOCK_TOKENS);
    let slots = used * BLOCK_TOKENS;
    let ids: Vec<i32> = span.blocks[..used].iter().map(|b| b.cast_signed()).collect();
    let ids = Tensor::from_data(TensorData::new(ids, [used]), &rows.device());
    let blocks = cache.clone().select(0, ids).swap_dims(1, 2).reshape([slots, kv, dims]);
    let all = blocks.slice_assign([span.position..tokens, 0..kv, 0..dims], rows);
    let by_block = all.clone().reshape([used, BLOCK_TOKENS, kv, dims]).swap_dims(1, 2);
    for (i, block) in span.blocks[..used].iter().enumerate() {
        let at = *block as usize;
        let value = by_block.clone().narrow(0, i, 1);
        *cache = cache.clone().slice_assign([at..at + 1, 0..kv, 0..BLOCK_TOKENS, 0..dims], value);
    }
    all.narrow(0, 0, tokens)
}

fn softmax_attend(
    queries: Tensor<3>,
    keys: Tensor<3>,
    values: Tensor<3>,
    position: usize,
) -> Tensor<2> {
    let [rows, heads, dims] = queries.dims();
    let [tokens, kv, _] = keys.dims();
    let repeat = |x: Tensor<3>| {
        let x = x.swap_dims(0, 1).reshape([kv, 1, tokens, dims]).repeat_dim(1, heads / kv);
        x.reshape([heads, tokens, dims])
    };
    let mut mask = vec![0f32; rows * tokens];
    for (row, mask) in mask.chunks_exact_mut(tokens).enumerate() {
        mask[position + row + 1..].fill(f32::NEG_INFINITY);
    }
    let mask = Tensor::<3>::from_data(TensorData::new(mask, [1, rows, tokens]), &keys.device());
    let scores = queries.swap_dims(0, 1).matmul(repeat(keys).swap_dims(1, 2));
    let scores = scores.div_scalar((dims as f32).sqrt()).add(mask);
    let out = activation::softmax(scores, 2).matmul(repeat(values));
    out.swap_dims(0, 1).reshape([rows, heads * dims])
}
