use std::cell::RefCell;
use std::sync::atomic::AtomicUsize;

use crate::Level;
use crate::pool::Pool;
use crate::shared::Shared;
use crate::simd::{Line, with_values};

mod cache;
mod rows;
mod plan;
mod tile;
mod products;

pub use cache::{CacheKind, cache_bytes};

use cache::Layout;
use plan::{Plan, plan};
use rows::{Prepare, Slot, prepare};
use tile::{Job, attend_tile};

/// Tokens in one block of the KV cache.
pub const BLOCK_TOKENS: usize = 32;

/// Tokens of the past that are summed together before they meet the others. It is fixed, and
/// pieces start at its multiples, so that a result does not depend on who computes which piece.
const PIECE_TOKENS: usize = 256;

/// Values of new rows that one thread prepares at once.
const PREPARE_VALUES: usize = 1 << 14;

/// Sizes of an attention layer. Query heads share key heads in groups of `heads / kv_heads`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads.
    pub kv: usize,
    /// Values of one head.
    pub dims: usize,
}

impl Heads {
    /// Values in one row of queries, keys and values together.
    pub fn row(self) -> usize {
        (self.query + 2 * self.kv) * self.dims
    }

    /// Query heads of one key head.
    fn group(self) -> usize {
        self.query / self.kv
    }
}

/// The rows of one sequence in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Position in its sequence of the first row.
    pub position: usize,
    /// Number of rows.
    pub rows: usize,
    /// The sequence's blocks in the cache, enough for `position + rows` tokens.
    pub blocks: Vec<u32>,
}

/// Angles of the rotary embedding, each `[positions, dims / 2]`.
///
/// The first `dims` values of a head turn, its first half paired with its second (the convention
/// of Hugging Face); the others pass. Source: Su et al. 2021.
#[derive(Clone, Copy, Debug)]
pub struct Rope<'a> {
    /// Values of a head that turn: even, and at most all.
    pub dims: usize,
    /// Cosines.
    pub cos: &'a [f32],
    /// Sines.
    pub sin: &'a [f32],
}

/// What attention does in one layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Sizes.
    pub heads: Heads,
    /// Factor of the products of queries and keys; mostly `1 / sqrt(dims)`.
    pub scale: f32,
    /// A token sees this many tokens, itself among them; `None` sees all before it.
    pub window: Option<usize>,
    /// A score `s` becomes `softcap * tanh(s / softcap)` (Gemma 2).
    pub softcap: Option<f32>,
    /// Rotary embedding, where the layer has one.
    pub rope: Option<Rope<'a>>,
    /// Weights of the RMS norm of queries before they turn: `[dims]` for each head alone
    /// (Qwen 3), or `[query * dims]` for all heads of a row together (OLMo 2).
    pub query_norm: Option<&'a [f32]>,
    /// As `query_norm`, for keys: `[dims]` or `[kv * dims]`.
    pub key_norm: Option<&'a [f32]>,
    /// Added to the mean square in both norms.
    pub norm_epsilon: f32,
}

/// One layer's keys and values, each of [`cache_bytes`]. Fastest on a boundary of 64 bytes.
#[derive(Debug)]
pub struct KvCache<'a> {
    /// How values are stored.
    pub kind: CacheKind,
    /// Rotated keys.
    pub keys: &'a mut [u8],
    /// Values.
    pub values: &'a mut [u8],
}

/// A batch for one layer.
#[derive(Debug)]
pub struct Rows<'a> {
    /// `[rows, query + key + value]`; normalised and turned in place.
    pub qkv: &'a mut [f32],
    /// Whose the rows are, in order.
    pub spans: &'a [Span],
    /// `[rows, query * dims]`.
    pub out: &'a mut [f32],
}

thread_local! {
    /// Sums of pieces until they meet; kept, for fresh memory would cost a page fault a page.
    static PARTIALS: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    /// What one thread needs for one tile.
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Normalises and turns queries and keys, stores keys and values in the cache, and attends
/// causally.
///
/// Each row's result depends on its sequence alone, bit for bit: not on its neighbours in the
/// batch, on how its sequence came in steps, or on the number of threads.
/// Sources: Kwon et al. 2023 (paged cache), Dao 2023 (tiles, and pieces of the past).
///
/// # Panics
/// When sizes do not agree, a span needs more blocks than it has, a block or position is outside
/// the cache or the angles, or two spans would write one block.
pub fn forward(level: Level, pool: &Pool, layer: &Layer<'_>, rows: Rows<'_>, cache: KvCache<'_>) {
    let Rows { qkv, spans, out } = rows;
    let heads = layer.heads;
    let layout = Layout { kind: cache.kind, heads };
    let slots = check(layer, layout, spans, &cache);
    assert_eq!(qkv.len(), slots.len() * heads.row(), "qkv has the wrong size");
    assert_eq!(out.len(), slots.len() * heads.query * heads.dims, "out has the wrong size");
    if slots.is_empty() {
        return;
    }
    let KvCache { keys, values, .. } = cache;
    store_rows(
        (level, pool),
        &Prepare {
            layer,
            layout,
            slots: &slots,
            qkv: Shared::new(qkv),
            keys: Shared::new(keys),
            values: Shared::new(values),
        },
    );
    let Plan { items, groups, partials } = plan(layer, spans);
    let lefts: Vec<_> = groups.iter().map(|g| AtomicUsize::new(g.pieces)).collect();
    let row = tile::state_row(heads);
    with_values(&PARTIALS, partials * row, |partials| {
        let partials = Shared::new(partials);
        let out = Shared::new(out);
        let (items, groups, lefts) = (&items[..], &groups[..], &lefts[..]);
        let job =
            Job { layer, layout, qkv, keys, values, spans, items, groups, lefts, partials, out };
        pool.run(items.len(), &|item| {
            let len = tile::scratch_values(heads, items[item].rows * heads.group());
            with_values(&SCRATCH, len, |scratch| {
                // SAFETY: `check` has checked all sizes, and each item runs once.
                unsafe { attend_tile(level, &job, item, scratch) };
            });
        });
    });
}

/// Writes the new rows to the cache, by several threads when there are many.
fn store_rows((level, pool): (Level, &Pool), job: &Prepare<'_>) {
    let rows = job.slots.len();
    let step = PREPARE_VALUES.div_ceil(job.layer.heads.row());
    pool.run(rows.div_ceil(step), &|i| {
        let rows = i * step..rows.min((i + 1) * step);
        // SAFETY: `check` has checked all sizes and that no slot is written twice; each row is
        // prepared once.
        unsafe { prepare(level, job, rows) };
    });
}

/// Checks everything that the kernels rely on, and finds each row's slot in the cache.
fn check(layer: &Layer<'_>, layout: Layout, spans: &[Span], cache: &KvCache<'_>) -> Vec<Slot> {
    let heads = layer.heads;
    assert!(heads.dims > 0 && heads.kv > 0 && heads.query > 0, "a layer without heads");
    assert_eq!(heads.query % heads.kv, 0, "query heads do not share key heads evenly");
    assert!(layer.window != Some(0), "a window of nothing");
    assert_eq!(cache.keys.len(), cache.values.len(), "keys and values differ in size");
    for (norm, count) in [(layer.query_norm, heads.query), (layer.key_norm, heads.kv)] {
        let width = norm.map_or(heads.dims, <[f32]>::len);
        assert!(width == heads.dims || width == count * heads.dims, "a norm has the wrong size");
    }
    let blocks = cache.keys.len() / layout.block_bytes();
    let mut slots = Vec::with_capacity(spans.iter().map(|s| s.rows).sum());
    let mut written = Vec::new();
    for span in spans.iter().filter(|s| s.rows > 0) {
        let end = span.position + span.rows;
        assert!(end <= span.blocks.len() * BLOCK_TOKENS, "too few blocks");
        let used = &span.blocks[..end.div_ceil(BLOCK_TOKENS)];
        assert!(used.iter().all(|b| (*b as usize) < blocks), "a block outside the cache");
        if let Some(rope) = layer.rope {
            assert!(rope.dims % 2 == 0 && rope.dims <= heads.dims, "wrong rotary dimensions");
            let angles = rope.cos.len().min(rope.sin.len());
            assert!(end * rope.dims / 2 <= angles, "a position outside the angles");
        }
        written.extend_from_slice(&used[span.position / BLOCK_TOKENS..]);
        for position in span.position..end {
            slots.push(Slot { position, block: span.blocks[position / BLOCK_TOKENS] as usize });
        }
    }
    written.sort_unstable();
    assert!(written.windows(2).all(|w| w[0] != w[1]), "two spans would write one block");
    slots
}

#[cfg(test)]
mod tests;
