use burn::tensor::{Device, Tensor, TensorData};
use emberbox_kernels::attention::{BLOCK_TOKENS, Heads};

/// Keys and values of every layer, each `[blocks, kv heads, BLOCK_TOKENS, head dims]`.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) layers: Vec<(Tensor<4>, Tensor<4>)>,
}

impl Cache {
    /// Room for `blocks`. The system gives the memory when a block is first written.
    pub(crate) fn new(layers: usize, blocks: usize, heads: Heads, device: &Device) -> Self {
        let zeros = || {
            let shape = [blocks, heads.kv, BLOCK_TOKENS, heads.dims];
            Tensor::from_data(TensorData::new(vec![0f32; blocks * heads.block()], shape), device)
        };
        Self { layers: (0..layers).map(|_| (zeros(), zeros())).collect() }
    }
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
