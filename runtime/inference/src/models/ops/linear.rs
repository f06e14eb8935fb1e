//! Weights stay in the format of their file: their rows are rearranged for the kernels piece by
//! piece as they are read, so that loading takes hardly more memory than the model.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::Dispatch;
use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberbox_kernels::dense::{Activation, Kind};
use emberbox_kernels::linear::Matrix;
use emberbox_kernels::quant::Format;
use emberbox_kernels::{int8, memory};

use super::encoder::{self, EncoderOps};
use super::{DecoderOps, Path, bytes};
use crate::formats::weights::{Rows, Storage};
use crate::models::place::Place;
use crate::{EncoderWeights, InferenceError};

/// Rows of a panel.
const PANEL: usize = 16;
/// What is read of a file at once.
const PIECE_BYTES: usize = 1 << 20;

/// How weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Dense(Kind),
    Blocks(Format),
    /// Rounded when it was loaded.
    Int8,
}

impl Form {
    fn of(storage: Storage) -> Self {
        match storage {
            Storage::F32 => Self::Dense(Kind::F32),
            Storage::F16 => Self::Dense(Kind::F16),
            Storage::Bf16 => Self::Dense(Kind::Bf16),
            Storage::Blocks(format) => Self::Blocks(format),
        }
    }

    fn bytes(self, rows: usize, columns: usize) -> usize {
        match self {
            Self::Dense(kind) => kind.packed_bytes(rows, columns),
            Self::Blocks(format) => format.packed_bytes(rows, columns),
            Self::Int8 => int8::packed_bytes(rows, columns),
        }
    }

    fn pack(
        self,
        matrix: &Rows<'_>,
        rows: Range<usize>,
        packed: &mut [u8],
    ) -> Result<(), InferenceError> {
        let (count, columns) = (rows.len(), matrix.columns());
        match self {
            Self::Dense(kind) => kind.pack(&matrix.bytes(rows)?, count, columns, packed),
            Self::Blocks(format) => format.pack(&matrix.bytes(rows)?, count, columns, packed),
            Self::Int8 => int8::pack(&matrix.values(rows)?, count, columns, packed),
        }
        Ok(())
    }
}

/// One of the matrices of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) form: Form,
    pub(crate) rows: usize,
}

/// What the bytes of a packed layer are: matrices of one input, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    pub(crate) columns: usize,
    parts: Vec<Part>,
}

impl Packing {
    /// Outputs of all parts.
    pub(crate) fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// The parts with their bytes.
    pub(crate) fn parts<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (Part, &'a [u8])> {
        let mut rest = bytes;
        self.parts.iter().map(move |part| {
            let (own, after) = rest.split_at(part.form.bytes(part.rows, self.columns));
            rest = after;
            (*part, own)
        })
    }

    /// All parts for one pass of the quantised kernel; `None` when one of them is dense.
    pub(crate) fn quantised<'a>(&'a self, bytes: &'a [u8]) -> Option<Vec<Matrix<'a>>> {
        let matrix = |(part, packed): (Part, &'a [u8])| match part.form {
            Form::Dense(_) | Form::Int8 => None,
            Form::Blocks(format) => {
                Some(Matrix { format, packed, rows: part.rows, columns: self.columns })
            }
        };
        self.parts(bytes).map(matrix).collect()
    }

    /// Parts of one kind, not in blocks, whose panels are full are one, for their panels lie in a row.
    fn joined(self) -> Self {
        let Some((first, others)) = self.parts.split_first() else { return self };
        let full = self.parts[..others.len()].iter().all(|part| part.rows.is_multiple_of(PANEL));
        let same = others.iter().all(|part| part.form == first.form);
        match first.form {
            Form::Dense(_) | Form::Int8 if full && same => {
                let whole = Part { form: first.form, rows: self.rows() };
                Self { columns: self.columns, parts: vec![whole] }
            }
            _ => self,
        }
    }

    fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.form.bytes(part.rows, self.columns)).sum()
    }
}

/// Matrices of weights with one input: a linear layer, several of one input, an embedding.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    weights: Weights,
    bias: Option<Param<Tensor<1>>>,
}

#[derive(Module, Debug)]
enum Weights {
    /// `[rows, columns]`, for burn's own operations.
    Dense(Param<Tensor<2>>),
    /// For the kernels.
    Packed(Packed),
}

#[derive(Module, Debug)]
struct Packed {
    bytes: Param<Tensor<1, Int>>,
    #[module(skip)]
    packing: Arc<Packing>,
}

impl Linear {
    /// Reads matrices of one input. On the reference path weights become f32.
    pub(crate) fn load(
        matrices: &[Rows<'_>],
        bias: Option<Vec<f32>>,
        place: &Place,
    ) -> Result<Self, InferenceError> {
        Self::load_as(matrices, bias, place, EncoderWeights::Stored)
    }

    /// As [`Linear::load`], and for the kernels weights in this form.
    pub(crate) fn load_as(
        matrices: &[Rows<'_>],
        bias: Option<Vec<f32>>,
        place: &Place,
        kept: EncoderWeights,
    ) -> Result<Self, InferenceError> {
        let Place { device, path, .. } = place;
        let weights = match path {
            Path::Kernels => Weights::Packed(pack(matrices, kept, device)?),
            Path::Reference => Weights::Dense(dense(matrices, device)?),
        };
        let bias = bias.map(|values| {
            let len = values.len();
            Param::from_tensor(Tensor::from_data(TensorData::new(values, [len]), device))
        });
        Ok(Self { weights, bias })
    }

    /// `x` is `[tokens, columns]`; gives `[tokens, rows]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let y = match &self.weights {
            Weights::Packed(w) => Tensor::from_dispatch(Dispatch::linear(
                x.into_dispatch(),
                w.bytes.val().into_dispatch(),
                Arc::clone(&w.packing),
            )),
            Weights::Dense(w) => x.matmul(w.val().transpose()),
        };
        match &self.bias {
            Some(bias) => y.add(bias.val().unsqueeze()),
            None => y,
        }
    }

    /// As [`Linear::forward`], and a function of the result.
    pub(crate) fn finished(&self, x: Tensor<2>, function: Activation) -> Tensor<2> {
        let (Weights::Packed(w), Some(bias)) = (&self.weights, &self.bias) else {
            return encoder::activated(self.forward(x), function);
        };
        Tensor::from_dispatch(Dispatch::affine(
            x.into_dispatch(),
            w.bytes.val().into_dispatch(),
            bias.val().into_dispatch(),
            (Arc::clone(&w.packing), function),
        ))
    }

    /// Rows of the first matrix by number: `ids` is `[tokens]`; gives `[tokens, columns]`.
    pub(crate) fn rows(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        match &self.weights {
            Weights::Dense(w) => w.val().select(0, ids),
            Weights::Packed(w) => Tensor::from_dispatch(Dispatch::rows(
                w.bytes.val().into_dispatch(),
                ids.into_dispatch(),
                Arc::clone(&w.packing),
            )),
        }
    }
}

fn dense(matrices: &[Rows<'_>], device: &Device) -> Result<Param<Tensor<2>>, InferenceError> {
    let columns = matrices.first().map_or(0, Rows::columns);
    let mut values = Vec::new();
    for matrix in matrices {
        values.extend(matrix.values(0..matrix.rows())?);
    }
    let shape = [values.len() / columns.max(1), columns];
    Ok(Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device)))
}

fn pack(
    matrices: &[Rows<'_>],
    kept: EncoderWeights,
    device: &Device,
) -> Result<Packed, InferenceError> {
    let form = |m: &Rows<'_>| match kept {
        EncoderWeights::Stored => Form::of(m.storage()),
        EncoderWeights::Int8 => Form::Int8,
    };
    let part = |m: &Rows<'_>| Part { form: form(m), rows: m.rows() };
    let columns = matrices.first().map_or(0, Rows::columns);
    let packing = Packing { columns, parts: matrices.iter().map(part).collect() };
    let mut words = memory::zeroed(packing.bytes());
    let mut rest = memory::bytes(&mut words);
    for matrix in matrices {
        let form = form(matrix);
        let unit = lcm(PANEL, matrix.unit());
        let step = (PIECE_BYTES / matrix.row_bytes().max(1) / unit).max(1) * unit;
        for first in (0..matrix.rows()).step_by(step) {
            let rows = first..matrix.rows().min(first + step);
            let (own, after) = rest.split_at_mut(form.bytes(rows.len(), columns));
            form.pack(matrix, rows, own)?;
            rest = after;
        }
    }
    let bytes = Param::initialized(ParamId::new(), bytes(words, device));
    Ok(Packed { bytes, packing: Arc::new(packing.joined()) })
}

/// The least common multiple.
fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}
