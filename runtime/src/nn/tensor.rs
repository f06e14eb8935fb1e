use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bindings::wasi::nn::tensor::TensorType;
use super::error::{GuestError, short};
use crate::LimitKind;
use crate::meter::Shared;

const DIMENSIONS_MAX: usize = 16;

/// Bytes of tensors that a call may hold at the same time.
#[derive(Clone)]
pub(super) struct TensorBudget {
    bytes_max: u64,
    held: Arc<AtomicU64>,
    shared: Arc<Shared>,
}

/// A part of the budget, given back when its tensor is dropped.
struct Share {
    bytes: u64,
    held: Arc<AtomicU64>,
}

impl TensorBudget {
    pub(super) fn new(bytes_max: u64, shared: Arc<Shared>) -> Self {
        Self { bytes_max, held: Arc::new(AtomicU64::new(0)), shared }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.load(Ordering::Relaxed) == 0
    }

    fn take(&self, bytes: usize) -> Option<Share> {
        // One store is used by one task at a time, so reading before adding is no race.
        let bytes = bytes as u64;
        let held = self.held.load(Ordering::Relaxed);
        if held.saturating_add(bytes) > self.bytes_max {
            self.shared.refuse(LimitKind::Tensors);
            return None;
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Some(Share { bytes, held: Arc::clone(&self.held) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why a tensor cannot be used. Its constructor has no way to fail, so it is kept until the
/// tensor is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Dimensions(usize),
    Overflow,
    Length { expected: u64 },
    TooLarge { bytes: usize, bytes_max: u64 },
}

/// A dense tensor: row-major, little-endian.
#[expect(unreachable_pub, reason = "the generated bindings export it")]
pub struct HostTensor {
    dimensions: Vec<u32>,
    ty: TensorType,
    data: Vec<u8>,
    fault: Option<Fault>,
    _share: Option<Share>,
}

impl HostTensor {
    /// A guest's tensor. One that is over the budget keeps no data.
    pub(super) fn from_guest(
        mut dimensions: Vec<u32>,
        ty: TensorType,
        mut data: Vec<u8>,
        budget: &TensorBudget,
    ) -> Self {
        let mut fault = check(&dimensions, ty, data.len());
        let share = budget.take(data.len());
        if share.is_none() {
            fault = Some(Fault::TooLarge { bytes: data.len(), bytes_max: budget.bytes_max });
            data = Vec::new();
        }
        if dimensions.len() > DIMENSIONS_MAX {
            // Cutting it short would keep the memory of the whole list, which nothing counts.
            dimensions = dimensions[..DIMENSIONS_MAX].to_vec();
        }
        Self { dimensions, ty, data, fault, _share: share }
    }

    /// A tensor for the guest.
    pub(super) fn for_guest(
        dimensions: Vec<u32>,
        ty: TensorType,
        data: Vec<u8>,
        budget: &TensorBudget,
    ) -> Result<Self, GuestError> {
        let tensor = Self::from_guest(dimensions, ty, data, budget);
        match &tensor.fault {
            None => Ok(tensor),
            Some(fault) => Err(fault.explain("output", &tensor)),
        }
    }

    /// The same once more, within the budget.
    pub(super) fn copy(&self, budget: &TensorBudget) -> Result<Self, GuestError> {
        Self::for_guest(self.dimensions.clone(), self.ty, self.data.clone(), budget)
    }

    pub(super) fn dimensions(&self) -> &[u32] {
        &self.dimensions
    }

    pub(super) fn ty(&self) -> TensorType {
        self.ty
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Refuses a tensor whose shape, type and data do not agree.
    pub(super) fn sound(&self, name: &str) -> Result<(), GuestError> {
        match &self.fault {
            None => Ok(()),
            Some(fault) => Err(fault.explain(name, self)),
        }
    }

    /// The tensor as UTF-8.
    pub(super) fn text(&self, name: &str) -> Result<&str, GuestError> {
        if self.ty != TensorType::U8 {
            let prose = format!("tensor `{name}` must be U8 (UTF-8), not {}", name_of(self.ty));
            return Err(GuestError::wrong_shape(&prose));
        }
        std::str::from_utf8(&self.data)
            .map_err(|error| GuestError::invalid(&format!("tensor `{name}` is not UTF-8: {error}")))
    }

    /// The tensor as token ids.
    pub(super) fn tokens(&self, name: &str) -> Result<Vec<u32>, GuestError> {
        let ids: Vec<i64> = match self.ty {
            TensorType::I64 => {
                self.data.chunks_exact(8).map(|b| i64::from_le_bytes(array(b))).collect()
            }
            TensorType::I32 => {
                self.data.chunks_exact(4).map(|b| i64::from(i32::from_le_bytes(array(b)))).collect()
            }
            other => {
                let prose = format!("tensor `{name}` must be I64, not {}", name_of(other));
                return Err(GuestError::wrong_shape(&prose));
            }
        };
        let token = |(at, id): (usize, &i64)| {
            u32::try_from(*id).map_err(|_out_of_range| {
                GuestError::invalid(&format!("`{name}`[{at}]: {id} is not a token id"))
            })
        };
        ids.iter().enumerate().map(token).collect()
    }
}

/// A chunk of `chunks_exact(N)` as an array.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

fn check(dimensions: &[u32], ty: TensorType, bytes: usize) -> Option<Fault> {
    if dimensions.len() > DIMENSIONS_MAX {
        return Some(Fault::Dimensions(dimensions.len()));
    }
    let product = dimensions
        .iter()
        .try_fold(size_of(ty), |product, dimension| product.checked_mul(u64::from(*dimension)));
    match product {
        None => Some(Fault::Overflow),
        Some(expected) if expected != bytes as u64 => Some(Fault::Length { expected }),
        Some(_) => None,
    }
}

fn size_of(ty: TensorType) -> u64 {
    match ty {
        TensorType::U8 => 1,
        TensorType::Fp16 | TensorType::Bf16 => 2,
        TensorType::Fp32 | TensorType::I32 => 4,
        TensorType::Fp64 | TensorType::I64 => 8,
    }
}

fn name_of(ty: TensorType) -> &'static str {
    match ty {
        TensorType::Fp16 => "FP16",
        TensorType::Fp32 => "FP32",
        TensorType::Fp64 => "FP64",
        TensorType::Bf16 => "BF16",
        TensorType::U8 => "U8",
        TensorType::I32 => "I32",
        TensorType::I64 => "I64",
    }
}

impl Fault {
    fn explain(&self, name: &str, tensor: &HostTensor) -> GuestError {
        let name = short(name);
        let shape = format!("{:?} of {}", tensor.dimensions, name_of(tensor.ty));
        match self {
            Self::Dimensions(count) => GuestError::wrong_shape(&format!(
                "tensor `{name}` has {count} dimensions; at most {DIMENSIONS_MAX} are allowed"
            )),
            Self::Overflow => GuestError::wrong_shape(&format!(
                "tensor `{name}`: the product of its dimensions {shape} overflows"
            )),
            Self::Length { expected } => GuestError::wrong_shape(&format!(
                "tensor `{name}` has {} bytes of data, but its dimensions {shape} take {expected}",
                tensor.data.len()
            )),
            Self::TooLarge { bytes, bytes_max } => GuestError::too_large(&format!(
                "tensor `{name}` has {bytes} bytes, and a call may hold {bytes_max} bytes of \
                 tensors at the same time"
            )),
        }
    }
}

#[cfg(test)]
mod tests;
