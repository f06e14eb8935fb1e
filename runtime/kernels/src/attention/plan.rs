//! Who computes what.

use std::ops::Range;

use super::{Layer, PIECE_TOKENS, Span};

/// Queries (rows times heads of a group) that pass together over keys and values.
const TILE_QUERIES: usize = 64;

/// Some rows of a span, all query heads of one key head, over some pieces of the past.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) span: usize,
    /// First row in the batch, and its position in its sequence.
    pub(super) row: usize,
    pub(super) position: usize,
    pub(super) rows: usize,
    pub(super) kv_head: usize,
    pub(super) pieces: Range<usize>,
    /// Where other items have the other pieces: the group, and the place of this one's sums.
    pub(super) part: Option<(usize, usize)>,
}

/// Items whose sums meet at the end.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Place of the first one's sums, in rows; the others follow.
    pub(super) first: usize,
    /// How many there are.
    pub(super) pieces: usize,
}

/// All items of a batch.
pub(super) struct Plan {
    pub(super) items: Vec<Item>,
    pub(super) groups: Vec<Group>,
    /// Rows of sums that wait.
    pub(super) partials: usize,
}

/// Positions that rows from `position` on see.
pub(super) fn visible(layer: &Layer<'_>, position: usize, rows: usize) -> Range<usize> {
    let first = layer.window.map_or(0, |window| (position + 1).saturating_sub(window));
    first..position + rows
}

/// Cuts a batch into items. Neighbouring items read neighbouring memory: key heads are next to
/// each other in a block. A few rows, as in decoding, are cut along the past; many rows along
/// themselves, those with the longest past first, so that the last items are short.
pub(super) fn plan(layer: &Layer<'_>, spans: &[Span]) -> Plan {
    let group = layer.heads.group();
    let tile_rows = (TILE_QUERIES / group).max(1);
    let mut plan = Plan { items: Vec::new(), groups: Vec::new(), partials: 0 };
    let mut row = 0;
    for (index, span) in spans.iter().enumerate() {
        let mut tiles: Vec<_> = (0..span.rows).step_by(tile_rows).collect();
        let alone = tiles.len() == 1;
        while let Some(first) = tiles.pop() {
            let rows = tile_rows.min(span.rows - first);
            let seen = visible(layer, span.position + first, rows);
            let pieces = seen.start / PIECE_TOKENS..seen.end.div_ceil(PIECE_TOKENS);
            let item = Item {
                span: index,
                row: row + first,
                position: span.position + first,
                rows,
                kv_head: 0,
                pieces,
                part: None,
            };
            if alone && item.pieces.len() > 1 {
                plan.split(layer, &item, rows * group);
            } else {
                let heads = (0..layer.heads.kv).map(|kv_head| Item { kv_head, ..item.clone() });
                plan.items.extend(heads);
            }
        }
        row += span.rows;
    }
    plan
}

impl Plan {
    /// One item for each piece and key head.
    fn split(&mut self, layer: &Layer<'_>, item: &Item, queries: usize) {
        let (groups, partials) = (self.groups.len(), self.partials);
        let (heads, count) = (layer.heads.kv, item.pieces.len());
        for (i, piece) in item.pieces.clone().enumerate() {
            for kv_head in 0..heads {
                let place = partials + (kv_head * count + i) * queries;
                let part = Some((groups + kv_head, place));
                let pieces = piece..piece + 1;
                self.items.push(Item { kv_head, pieces, part, ..item.clone() });
            }
        }
        let first = |kv_head| partials + kv_head * count * queries;
        self.groups.extend((0..heads).map(|h| Group { first: first(h), pieces: count }));
        self.partials += heads * count * queries;
    }
}
