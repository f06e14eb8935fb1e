//! Where a file's bytes come from, and tensors that stay there until they are needed.

use std::cell::OnceCell;
use std::ops::Range;

use crate::error::Outcome;
use crate::tensor::{Kind, Tensor, count};

/// A file, or bytes in memory, read in parts.
pub trait Source {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes `at..at + len`.
    ///
    /// # Errors
    /// Says why they cannot be read.
    fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, String>;
}

impl Source for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, String> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..));
        let bytes = rest.and_then(|rest| rest.get(..len));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| format!("there are no {len} bytes at {at}"))
    }
}

/// A large tensor of f32 that is still in its file: what is laid out for a layer need not be in memory
/// as it was, too.
pub(crate) struct Later<'s> {
    source: &'s dyn Source,
    shape: Vec<usize>,
    at: u64,
    read: OnceCell<Option<Tensor>>,
}

impl<'s> Later<'s> {
    /// A tensor of f32 at its place in the file; its shape must be that of its bytes.
    pub(crate) fn new(
        source: &'s dyn Source,
        shape: Vec<usize>,
        place: &Range<u64>,
    ) -> Outcome<Self> {
        let (there, wanted) = (place.end - place.start, count(&shape)? as u64 * Kind::F32.bytes());
        if there != wanted {
            return Err(format!("{there} bytes are there of the shape {shape:?}"));
        }
        Ok(Self { source, shape, at: place.start, read: OnceCell::new() })
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * Kind::F32.bytes()
    }

    /// The tensor; nothing where it cannot be read.
    pub(crate) fn tensor(&self) -> Option<&Tensor> {
        self.read.get_or_init(|| self.take().ok()).as_ref()
    }

    /// Reads it, and keeps nothing of it.
    pub(crate) fn take(&self) -> Outcome<Tensor> {
        let bytes = self.source.read(self.at, self.bytes() as usize)?;
        Tensor::from_bytes(Kind::F32, self.shape.clone(), &bytes)
    }

    /// Leaves it in the file again.
    pub(crate) fn forget(&mut self) {
        self.read.take();
    }
}
