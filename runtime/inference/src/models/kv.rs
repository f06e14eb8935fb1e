use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use emberbox_kernels::attention::{BLOCK_TOKENS, CacheKind, Heads, cache_bytes};

use super::ops::Path;

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
            let data = TensorData::from_bytes_vec(vec![0; len], [len], DType::U8);
            Tensor::from_data(data, (device, DType::U8))
        };
        let plain = || {
            let shape = [blocks, heads.kv, BLOCK_TOKENS, heads.dims];
            Tensor::from_data(TensorData::new(vec![0f32; blocks * heads.block()], shape), device)
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

/// Which blocks are free.
#[derive(Debug)]
pub(crate) struct Blocks {
    free: Vec<u32>,
}

impl Blocks {
    pub(crate) fn new(count: usize) -> Self {
        Self { free: (0..count as u32).rev().collect() }
    }

    /// Blocks for so many tokens.
    pub(crate) fn needed(tokens: usize) -> usize {
        tokens.div_ceil(BLOCK_TOKENS)
    }

    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Moves `count` free blocks to `blocks`; false when there are not so many.
    pub(crate) fn take(&mut self, count: usize, blocks: &mut Vec<u32>) -> bool {
        let Some(rest) = self.free.len().checked_sub(count) else { return false };
        blocks.extend(self.free.drain(rest..).rev());
        true
    }

    pub(crate) fn give(&mut self, blocks: impl IntoIterator<Item = u32>) {
        self.free.extend(blocks);
    }
}
