use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use burn::tensor::{Device, Int, Tensor};
use emberbox_kernels::attention::{BLOCK_TOKENS, CacheKind, Heads, cache_bytes};
use emberbox_kernels::memory;

use super::ops::{self, Path};

/// Keys and values of every layer.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) layers: Vec<LayerCache>,
}

/// Keys and values of one layer.
#[derive(Debug)]
pub(crate) enum LayerCache {
    /// Keys, then values, as bytes in the kernels' layout.
    Packed(Box<Tensor<1, Int>>),
    /// Each `[blocks, kv heads, BLOCK_TOKENS, head dims]`.
    Plain(Box<(Tensor<4>, Tensor<4>)>),
}

impl Cache {
    /// Room for `blocks`. The system gives the memory when a block is first written.
    pub(crate) fn new(layers: usize, blocks: usize, shape: Shape, device: &Device) -> Self {
        let Shape { heads, kind, path } = shape;
        let bytes = || {
            let len = 2 * cache_bytes(kind, heads, blocks);
            ops::bytes(memory::zeroed(len), device)
        };
        let plain = || {
            let shape = [blocks, heads.kv, BLOCK_TOKENS, heads.dims];
            Tensor::zeros(shape, device)
        };
        let layer = |_| match path {
            Path::Kernels => LayerCache::Packed(Box::new(bytes())),
            Path::Reference => LayerCache::Plain(Box::new((plain(), plain()))),
        };
        Self { layers: (0..layers).map(layer).collect() }
    }
}

/// What a cache is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) heads: Heads,
    pub(crate) kind: CacheKind,
    pub(crate) path: Path,
}

/// Names what a full block holds: its own tokens and all that stand before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(pub(crate) u128);

/// Who uses which block, and what the others still hold.
///
/// A block without users is free. If it was named it can still be found by its key until it is
/// taken for something else, the one that was given back first before the others.
#[derive(Debug)]
pub(crate) struct Blocks {
    all: Vec<Block>,
    named: HashMap<Key, u32>,
    /// Free, with nothing in them that could be found.
    empty: Vec<u32>,
    /// Free and named, by when they were given back.
    idle: BTreeMap<u64, u32>,
    clock: u64,
}

#[derive(Clone, Debug, Default)]
struct Block {
    users: u32,
    key: Option<Key>,
    /// Its place in `idle`, where it is there.
    given: u64,
}

impl Blocks {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            all: vec![Block::default(); count],
            named: HashMap::new(),
            empty: (0..count as u32).rev().collect(),
            idle: BTreeMap::new(),
            clock: 0,
        }
    }

    /// Blocks for so many tokens.
    pub(crate) fn needed(tokens: usize) -> usize {
        tokens.div_ceil(BLOCK_TOKENS)
    }

    /// How many can be taken.
    pub(crate) fn free(&self) -> usize {
        self.empty.len() + self.idle.len()
    }

    /// Moves `count` free blocks to `blocks`; false when there are not so many.
    pub(crate) fn take(&mut self, count: usize, blocks: &mut Vec<u32>) -> bool {
        if count > self.free() {
            return false;
        }
        for _ in 0..count {
            let Some(id) = self.empty.pop().or_else(|| self.forget()) else { return false };
            self.all[id as usize].users = 1;
            blocks.push(id);
        }
        true
    }

    /// Takes the name from the block that was given back first.
    fn forget(&mut self) -> Option<u32> {
        let (_, id) = self.idle.pop_first()?;
        if let Some(key) = self.all[id as usize].key.take() {
            self.named.remove(&key);
        }
        Some(id)
    }

    /// Gives the blocks of one sequence back, in its order: the last is forgotten first, as those
    /// after a forgotten block can no longer be reached.
    pub(crate) fn give<I>(&mut self, blocks: I)
    where
        I: IntoIterator<Item = u32, IntoIter: DoubleEndedIterator>,
    {
        for id in blocks.into_iter().rev() {
            let block = &mut self.all[id as usize];
            block.users -= 1;
            if block.users > 0 {
                continue;
            }
            if block.key.is_none() {
                self.empty.push(id);
                continue;
            }
            self.clock += 1;
            block.given = self.clock;
            self.idle.insert(self.clock, id);
        }
    }

    /// Names a full block. A second one of the same content stays without a name.
    pub(crate) fn name(&mut self, id: u32, key: Key) {
        if let Entry::Vacant(vacant) = self.named.entry(key) {
            vacant.insert(id);
            self.all[id as usize].key = Some(key);
        }
    }

    /// How many of the keys, from the first on, are there; and how many of those blocks are free.
    pub(crate) fn cached(&self, keys: &[Key]) -> (usize, usize) {
        let found = keys.iter().map_while(|key| self.named.get(key));
        let free = |id: &u32| usize::from(self.all[*id as usize].users == 0);
        found.fold((0, 0), |(count, idle), id| (count + 1, idle + free(id)))
    }

    /// Shares the blocks of the longest prefix of the keys that is there. They are full: whoever
    /// adopts them only reads.
    pub(crate) fn adopt(&mut self, keys: &[Key], blocks: &mut Vec<u32>) {
        for id in keys.iter().map_while(|key| self.named.get(key)) {
            let block = &mut self.all[*id as usize];
            if block.users == 0 {
                self.idle.remove(&block.given);
            }
            block.users += 1;
            blocks.push(*id);
        }
    }
}

#[cfg(test)]
mod tests;
