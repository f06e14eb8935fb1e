//! The model as named matrices in the shape of a GGUF file, and the Q8_0 block format.

use crate::config::{D_FF, D_MODEL, LAYERS, VOCAB};
use crate::model::{Block, Model};
use anyhow::{Result, ensure};
use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use half::f16;
use rayon::prelude::*;

/// Tensors of one transformer block in the file.
pub(crate) const BLOCK_TENSORS: usize = 9;
/// Values per Q8_0 block.
pub(crate) const BLOCK: usize = 32;
/// Bytes per Q8_0 block: an f16 scale and 32 signed bytes.
pub(crate) const BLOCK_BYTES: usize = 34;

/// A tensor of the file; `rows` is 1 for norms.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix {
    /// The name by llama.cpp's conventions.
    pub(crate) name: String,
    /// Outputs.
    pub(crate) rows: usize,
    /// Inputs.
    pub(crate) columns: usize,
    /// `[rows, columns]`.
    pub(crate) values: Vec<f32>,
}

impl Matrix {
    /// Whether the file stores it as F32 rather than as Q8_0.
    pub(crate) fn is_norm(&self) -> bool {
        self.rows == 1
    }
}

/// All tensors, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weights {
    /// See [`layout`].
    pub(crate) matrices: Vec<Matrix>,
}

/// Every tensor's name, rows and columns, in the order of the file.
pub(crate) fn layout() -> Vec<(String, usize, usize)> {
    let mut all = vec![("token_embd.weight".to_owned(), VOCAB, D_MODEL)];
    for block in 0..LAYERS {
        let parts = [
            ("attn_norm", 1, D_MODEL),
            ("attn_q", D_MODEL, D_MODEL),
            ("attn_k", D_MODEL, D_MODEL),
            ("attn_v", D_MODEL, D_MODEL),
            ("attn_output", D_MODEL, D_MODEL),
            ("ffn_norm", 1, D_MODEL),
            ("ffn_gate", D_FF, D_MODEL),
            ("ffn_up", D_FF, D_MODEL),
            ("ffn_down", D_MODEL, D_FF),
        ];
        all.extend(
            parts
                .map(|(part, rows, columns)| (format!("blk.{block}.{part}.weight"), rows, columns)),
        );
    }
    all.push(("output_norm.weight".to_owned(), 1, D_MODEL));
    all
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// `[out, in]` rows of some columns of an `[in, out]` matrix.
fn transposed(tensor: &Tensor<2>, columns: std::ops::Range<usize>) -> Vec<f32> {
    let rows = tensor.dims()[0];
    values(tensor.clone().slice([0..rows, columns]).transpose())
}

fn parameter<const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &Device,
) -> Param<Tensor<D>> {
    let tensor = Tensor::from_data(TensorData::new(values, shape), device);
    Param::initialized(ParamId::new(), tensor.require_grad())
}

fn vector(matrix: &Matrix, device: &Device) -> Param<Tensor<1>> {
    parameter(matrix.values.clone(), [matrix.columns], device)
}

/// The `[in, out]` matrix whose columns are the rows of all `parts`: undoes [`transposed`].
fn joined(parts: &[Matrix], device: &Device) -> Param<Tensor<2>> {
    let columns = parts.first().map_or(0, |part| part.columns);
    let rows: Vec<&[f32]> =
        parts.iter().flat_map(|part| part.values.chunks_exact(part.columns)).collect();
    let values = (0..columns).flat_map(|input| rows.iter().map(move |row| row[input])).collect();
    parameter(values, [columns, rows.len()], device)
}

impl Weights {
    /// The weights of a model. Queries and keys need no permutation: the model rotates neighbouring
    /// pairs, which is the order that the format prescribes for the llama architecture.
    pub(crate) fn of(model: &Model) -> Self {
        let mut all = vec![values(model.embedding.val().inner())];
        for block in &model.blocks {
            let qkv = block.qkv.val().inner();
            let gate_up = block.gate_up.val().inner();
            all.push(values(block.attn_norm.val().inner()));
            for part in 0..3 {
                all.push(transposed(&qkv, part * D_MODEL..(part + 1) * D_MODEL));
            }
            all.push(transposed(&block.attn_output.val().inner(), 0..D_MODEL));
            all.push(values(block.ffn_norm.val().inner()));
            for part in 0..2 {
                all.push(transposed(&gate_up, part * D_FF..(part + 1) * D_FF));
            }
            all.push(transposed(&block.down.val().inner(), 0..D_MODEL));
        }
        all.push(values(model.output_norm.val().inner()));
        let matrices = layout().into_iter().zip(all);
        let matrices = matrices
            .map(|((name, rows, columns), values)| Matrix { name, rows, columns, values })
            .collect();
        Self { matrices }
    }

    /// A model with these weights, to train on.
    pub(crate) fn model(&self, device: &Device) -> Model {
        let last = self.matrices.len() - 1;
        let blocks = self.matrices[1..last].chunks_exact(BLOCK_TENSORS);
        let block = |parts: &[Matrix]| Block {
            attn_norm: vector(&parts[0], device),
            qkv: joined(&parts[1..4], device),
            attn_output: joined(&parts[4..5], device),
            ffn_norm: vector(&parts[5], device),
            gate_up: joined(&parts[6..8], device),
            down: joined(&parts[8..9], device),
        };
        let embedding = &self.matrices[0];
        let shape = [embedding.rows, embedding.columns];
        Model {
            embedding: parameter(embedding.values.clone(), shape, device),
            blocks: blocks.map(block).collect(),
            output_norm: vector(&self.matrices[last], device),
        }
    }

    /// The same weights after a round trip through Q8_0: what a reader of the file computes with.
    ///
    /// # Errors
    /// Fails when a matrix does not fill whole blocks.
    pub(crate) fn quantized(&self) -> Result<Self> {
        let matrices = self.matrices.par_iter().map(|matrix| {
            let mut matrix = matrix.clone();
            if !matrix.is_norm() {
                matrix.values = dequantize(&quantize(&matrix.values)?);
            }
            Ok(matrix)
        });
        Ok(Self { matrices: matrices.collect::<Result<_>>()? })
    }

    /// Values in all matrices.
    pub(crate) fn parameters(&self) -> usize {
        self.matrices.iter().map(|matrix| matrix.values.len()).sum()
    }
}

/// Packs values into Q8_0 blocks: each keeps its largest magnitude at 127.
///
/// # Errors
/// Fails when the values do not fill whole blocks or are not finite.
pub(crate) fn quantize(values: &[f32]) -> Result<Vec<u8>> {
    ensure!(values.len().is_multiple_of(BLOCK), "{} values do not fill blocks", values.len());
    ensure!(values.iter().all(|value| value.is_finite()), "a weight is not finite");
    let mut bytes = Vec::with_capacity(values.len() / BLOCK * BLOCK_BYTES);
    for block in values.chunks_exact(BLOCK) {
        let top = block.iter().fold(0.0_f32, |top, value| top.max(value.abs()));
        let scale = f16::from_f32(top / 127.0);
        let inverse = if top > 0.0 { 127.0 / top } else { 0.0 };
        bytes.extend(scale.to_le_bytes());
        bytes.extend(block.iter().map(|value| (value * inverse).round() as i8 as u8));
    }
    Ok(bytes)
}

/// Unpacks Q8_0 blocks.
pub(crate) fn dequantize(bytes: &[u8]) -> Vec<f32> {
    let mut values = Vec::with_capacity(bytes.len() / BLOCK_BYTES * BLOCK);
    for block in bytes.chunks_exact(BLOCK_BYTES) {
        let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
        values.extend(block[2..].iter().map(|q| f32::from(*q as i8) * scale));
    }
    values
}
