//! A file without its large tensors, which are most of it.

use std::ops::Range;

use crate::PARTS_MAX;
use crate::error::Outcome;
use crate::source::Source;

/// Bytes of a tensor that are worth being left in the file.
const LATER_MIN: u64 = 1 << 16;
/// Bytes that are read at a time.
const WINDOW: u64 = 1 << 16;

/// Messages that are looked into.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Model,
    Graph,
    Tensor,
}

/// The fields that hold them, and a tensor's bytes.
const GRAPH: u64 = 7;
const INITIALIZER: u64 = 5;
const RAW_DATA: u64 = 9;

/// What is left of a file.
pub(crate) struct Skeleton {
    /// A file of the same messages.
    pub(crate) bytes: Vec<u8>,
    /// For each initializer of the outermost graph where its bytes are, if they were left out.
    pub(crate) left_out: Vec<Option<Range<u64>>>,
}

impl Skeleton {
    /// Reads all but the bytes of large initializers.
    pub(crate) fn read(source: &dyn Source) -> Outcome<Self> {
        let mut walk = Walk { source, window: Vec::new(), at: 0, left_out: Vec::new() };
        let mut bytes = Vec::new();
        walk.message(0..source.len(), Kind::Model, &mut bytes)?;
        Ok(Self { bytes, left_out: walk.left_out })
    }
}

struct Walk<'s> {
    source: &'s dyn Source,
    /// Some bytes, and where they are.
    window: Vec<u8>,
    at: u64,
    left_out: Vec<Option<Range<u64>>>,
}

impl Walk<'_> {
    fn message(&mut self, range: Range<u64>, kind: Kind, out: &mut Vec<u8>) -> Outcome<()> {
        let mut at = range.start;
        while at < range.end {
            at = self.field(at..range.end, kind, out)?;
        }
        Ok(())
    }

    /// The first field of what is left of a message; gives its end.
    fn field(&mut self, range: Range<u64>, kind: Kind, out: &mut Vec<u8>) -> Outcome<u64> {
        let mut at = range.start;
        let key = self.number(&mut at, range.end)?;
        let skipped = match key & 7 {
            0 => {
                self.number(&mut at, range.end)?;
                0
            }
            1 => 8,
            2 => self.number(&mut at, range.end)?,
            5 => 4,
            other => return Err(format!("fields of the type {other} are not known")),
        };
        let end = at.checked_add(skipped).filter(|end| *end <= range.end);
        let end = end.ok_or_else(|| "a field is longer than what it is in".to_owned())?;
        match (kind, key >> 3, key & 7) {
            (Kind::Model, GRAPH, 2) => self.within(key, at..end, Kind::Graph, out)?,
            (Kind::Graph, INITIALIZER, 2) => {
                self.left_out.push(None);
                if self.left_out.len() > PARTS_MAX {
                    return Err(format!("it has more than {PARTS_MAX} initializers"));
                }
                self.within(key, at..end, Kind::Tensor, out)?;
            }
            (Kind::Tensor, RAW_DATA, 2) => {
                // Of two the last is the one.
                let place = (skipped >= LATER_MIN).then_some(at..end);
                if place.is_none() {
                    self.copy(range.start..end, out)?;
                }
                self.left_out.last_mut().into_iter().for_each(|last| last.clone_from(&place));
            }
            _ => self.copy(range.start..end, out)?,
        }
        Ok(end)
    }

    fn within(
        &mut self,
        key: u64,
        range: Range<u64>,
        kind: Kind,
        out: &mut Vec<u8>,
    ) -> Outcome<()> {
        let mut inner = Vec::new();
        self.message(range, kind, &mut inner)?;
        put(key, out);
        put(inner.len() as u64, out);
        out.extend(inner);
        Ok(())
    }

    /// A number of seven bits in each byte.
    fn number(&mut self, at: &mut u64, end: u64) -> Outcome<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            if *at >= end {
                break;
            }
            let byte = self.byte(*at)?;
            *at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number does not end".to_owned())
    }

    fn byte(&mut self, at: u64) -> Outcome<u8> {
        let own = at.checked_sub(self.at).and_then(|own| self.window.get(own as usize));
        if let Some(byte) = own {
            return Ok(*byte);
        }
        let len = WINDOW.min(self.source.len().saturating_sub(at));
        (self.window, self.at) = (self.source.read(at, len as usize)?, at);
        self.window.first().copied().ok_or_else(|| "it ends too early".to_owned())
    }

    fn copy(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Outcome<()> {
        let len = (range.end - range.start) as usize;
        let own = range.start.checked_sub(self.at).map(|own| own as usize);
        match own.and_then(|own| self.window.get(own..own + len)) {
            Some(bytes) => out.extend(bytes),
            None => out.extend(self.source.read(range.start, len)?),
        }
        Ok(())
    }
}

fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
