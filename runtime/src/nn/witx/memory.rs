//! The guest's memory, through pointers that are checked.

use wasmtime::Extern;

use super::exports::Caller;
use super::{CoreNn, Errno, Refused};
use crate::LimitKind;
use crate::meter::Shared;

/// Memory, and what the call may still copy out of it.
pub(super) struct Memory<'m> {
    data: &'m mut [u8],
    copy_bytes_left: usize,
    shared: &'m Shared,
}

impl<'m> Memory<'m> {
    pub(super) fn of(caller: &'m mut Caller<'_>) -> Result<Self, Refused> {
        Ok(Self::with_state(caller)?.0)
    }

    /// Together with what the host keeps, to write the one into the other.
    pub(super) fn with_state(caller: &'m mut Caller<'_>) -> Result<(Self, &'m CoreNn), Refused> {
        let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
            return Err(Refused::new(Errno::MissingMemory, "the module exports no `memory`"));
        };
        let (data, state) = memory.data_and_store_mut(caller);
        let nn = &*state.nn();
        let (copy_bytes_left, shared) = (nn.copy_bytes_max, &*nn.ctx.reach.shared);
        Ok((Self { data, copy_bytes_left, shared }, nn))
    }

    fn place(&mut self, pointer: u32, bytes: usize) -> Result<&mut [u8], Refused> {
        let all = self.data.len();
        let start = pointer as usize;
        let end = start.checked_add(bytes).filter(|end| *end <= all);
        let found = end.and_then(|end| self.data.get_mut(start..end));
        found.ok_or_else(|| {
            let why = format!("{bytes} bytes at {pointer} are outside its memory of {all}");
            Refused::new(Errno::MissingMemory, why)
        })
    }

    /// A copy, counted.
    pub(super) fn bytes(&mut self, pointer: u32, bytes: u32) -> Result<Vec<u8>, Refused> {
        let bytes = bytes as usize;
        let Some(left) = self.copy_bytes_left.checked_sub(bytes) else {
            self.shared.refuse(LimitKind::HostCall);
            let why = format!("{bytes} bytes are more than one call of the host may copy");
            return Err(Refused::new(Errno::TooLarge, why));
        };
        let copy = self.place(pointer, bytes)?.to_vec();
        self.copy_bytes_left = left;
        Ok(copy)
    }

    pub(super) fn text(&mut self, pointer: u32, bytes: u32) -> Result<String, Refused> {
        String::from_utf8(self.bytes(pointer, bytes)?).map_err(|error| {
            Refused::new(Errno::InvalidEncoding, format!("a text is not UTF-8: {error}"))
        })
    }

    /// Words of four bytes, little-endian.
    pub(super) fn words<const N: usize>(&mut self, pointer: u32) -> Result<[u32; N], Refused> {
        let mut words = [0; N];
        let data = self.place(pointer, N * 4)?;
        for (word, bytes) in words.iter_mut().zip(data.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Ok(words)
    }

    /// Whether a word can be written there, before something is made whose handle it will be.
    pub(super) fn reserve_word(&mut self, pointer: u32) -> Result<(), Refused> {
        self.place(pointer, 4).map(|_| ())
    }

    pub(super) fn write_word(&mut self, pointer: u32, word: u32) -> Result<(), Refused> {
        self.write(pointer, &word.to_le_bytes())
    }

    pub(super) fn write(&mut self, pointer: u32, bytes: &[u8]) -> Result<(), Refused> {
        self.place(pointer, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }
}
