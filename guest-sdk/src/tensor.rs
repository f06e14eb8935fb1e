//! The arrays that go in and out of a model.

use crate::{Error, View};

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorType {
    /// IEEE 754 half precision.
    F16,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision.
    F64,
    /// The upper half of an `f32`.
    Bf16,
    /// Bytes; text too.
    U8,
    /// Signed 32-bit integers.
    I32,
    /// Signed 64-bit integers.
    I64,
}

impl TensorType {
    /// Bytes of one element.
    #[must_use]
    pub fn size_bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }
}

/// A dense array, row-major and little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    dimensions: Vec<u32>,
    ty: TensorType,
    data: Vec<u8>,
}

impl Tensor {
    /// A tensor of these dimensions over these bytes. The host checks that they agree.
    #[must_use]
    pub fn new(dimensions: Vec<u32>, ty: TensorType, data: Vec<u8>) -> Self {
        Self { dimensions, ty, data }
    }

    /// Text as U8 `[bytes]`.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::new(vec![length(text.len())], TensorType::U8, text.into())
    }

    /// Integers as I64 `[n]`.
    #[must_use]
    pub fn i64(values: &[i64]) -> Self {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::new(vec![length(values.len())], TensorType::I64, data)
    }

    /// Numbers as F32 of these dimensions.
    #[must_use]
    pub fn f32(dimensions: &[u32], values: &[f32]) -> Self {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::new(dimensions.into(), TensorType::F32, data)
    }

    /// The length of every axis.
    #[must_use]
    pub fn dimensions(&self) -> &[u32] {
        &self.dimensions
    }

    /// The type of the elements.
    #[must_use]
    pub fn ty(&self) -> TensorType {
        self.ty
    }

    /// The elements' bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// A U8 tensor as text.
    ///
    /// # Errors
    /// [`Error::Model`] if it is of another type or not UTF-8.
    pub fn to_text(&self) -> Result<&str, Error> {
        self.expect_type(TensorType::U8)?;
        std::str::from_utf8(&self.data).map_err(|e| Error::Model(format!("text is not UTF-8: {e}")))
    }

    /// An F32 tensor's elements.
    ///
    /// # Errors
    /// [`Error::Model`] if it is of another type or its data is cut off.
    pub fn to_f32(&self) -> Result<Vec<f32>, Error> {
        self.expect_type(TensorType::F32)?;
        Ok(elements(&self.data)?.map(f32::from_le_bytes).collect())
    }

    /// The elements of an I64 or I32 tensor.
    ///
    /// # Errors
    /// [`Error::Model`] if it is of another type or its data is cut off.
    pub fn to_i64(&self) -> Result<Vec<i64>, Error> {
        if self.ty == TensorType::I32 {
            return Ok(elements(&self.data)?.map(|e| i64::from(i32::from_le_bytes(e))).collect());
        }
        self.expect_type(TensorType::I64)?;
        Ok(elements(&self.data)?.map(i64::from_le_bytes).collect())
    }

    /// An F32 tensor's elements with their shape.
    ///
    /// # Errors
    /// As [`Tensor::to_f32`]; [`Error::Model`] too if shape and elements do not agree.
    pub fn view(&self) -> Result<View, Error> {
        let shape: Vec<usize> = self.dimensions.iter().map(|size| *size as usize).collect();
        View::new(shape, self.to_f32()?)
    }

    fn expect_type(&self, ty: TensorType) -> Result<(), Error> {
        if self.ty == ty {
            return Ok(());
        }
        Err(Error::Model(format!("a tensor is {:?} where {ty:?} was expected", self.ty)))
    }
}

/// The elements of `N` bytes each.
fn elements<const N: usize>(data: &[u8]) -> Result<impl Iterator<Item = [u8; N]>, Error> {
    let (elements, rest) = data.as_chunks::<N>();
    if rest.is_empty() {
        return Ok(elements.iter().copied());
    }
    Err(Error::Model(format!("{} bytes are not whole elements of {N} bytes", data.len())))
}

/// A length as a dimension. A component's memory is 32-bit, so it always fits there.
fn length(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_trip_through_bytes() {
        assert_eq!(Tensor::f32(&[1, 2], &[1.5, -0.25]).to_f32(), Ok(vec![1.5, -0.25]));
        assert_eq!(Tensor::i64(&[1, -2]).to_i64(), Ok(vec![1, -2]));
        assert_eq!(Tensor::text("grün").to_text(), Ok("grün"));
        let i32s = Tensor::new(vec![1], TensorType::I32, vec![0xfe, 0xff, 0xff, 0xff]);
        assert_eq!(i32s.to_i64(), Ok(vec![-2]));
    }

    #[test]
    fn a_tensor_is_not_read_as_what_it_is_not() {
        assert!(Tensor::text("abcd").to_f32().is_err());
        assert!(Tensor::f32(&[1], &[1.0]).to_i64().is_err());
        assert!(Tensor::new(vec![1], TensorType::F32, vec![0; 3]).to_f32().is_err());
        assert!(Tensor::new(vec![1], TensorType::U8, vec![0xff]).to_text().is_err());
    }
}
