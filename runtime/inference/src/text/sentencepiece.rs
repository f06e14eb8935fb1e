//! SentencePiece's byte-pair encoding as GGUF files describe it: of all neighbours that are a token
//! together, the pair with the best score joins first, and of equal ones the leftmost.
//!
//! Source: Kudo and Richardson 2018. Ranks of merges cannot express it: one token may come from
//! several pairs, and all of them have its score.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

/// What a space is inside of tokens.
pub(crate) const SPACE: char = '▁';

/// A vocabulary with scores.
#[derive(Debug)]
pub(crate) struct SentencePiece {
    pieces: HashMap<String, (u32, f32)>,
    /// Length of the longest piece.
    piece_bytes_max: usize,
    /// The tokens of single bytes, for characters that are no token.
    bytes: Vec<Option<u32>>,
    unknown: u32,
    added: Added,
    /// Whether a space comes before each text.
    space_first: bool,
}

/// What a vocabulary with scores is made from.
#[derive(Debug)]
pub(crate) struct Pieces<'a> {
    /// Tokens that text may become: number, text, score.
    pub(crate) pieces: Vec<(u32, &'a str, f32)>,
    /// Tokens of single bytes.
    pub(crate) bytes: Vec<(u32, u8)>,
    /// Tokens that are found in a text before anything else.
    pub(crate) added: Vec<(u32, &'a str)>,
    pub(crate) unknown: u32,
    pub(crate) space_first: bool,
}

/// Texts that are tokens as a whole wherever they stand: the first one counts, and of those that
/// start at one place the longest.
#[derive(Debug, Default)]
struct Added {
    tokens: HashMap<String, u32>,
    /// All their lengths, the largest first.
    lengths: Vec<usize>,
}

/// Characters that have joined, as a range of the text. Empty once they are part of another.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that are a token together.
#[derive(Clone, Copy, Debug)]
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Length of both when they were found: another one says that a symbol has changed since.
    bytes: usize,
}

impl Ord for Pair {
    /// The greatest joins first.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl SentencePiece {
    pub(crate) fn new(parts: &Pieces<'_>) -> Self {
        let mut bytes = vec![None; 256];
        for (id, byte) in &parts.bytes {
            bytes[usize::from(*byte)] = Some(*id);
        }
        let pieces = parts.pieces.iter().filter(|(_, text, _)| !text.is_empty());
        let pieces: HashMap<String, (u32, f32)> =
            pieces.map(|(id, text, score)| ((*text).to_owned(), (*id, *score))).collect();
        Self {
            piece_bytes_max: pieces.keys().map(String::len).max().unwrap_or(0),
            pieces,
            bytes,
            unknown: parts.unknown,
            added: Added::new(&parts.added),
            space_first: parts.space_first,
        }
    }

    /// Adds a text's tokens.
    pub(crate) fn encode(&self, text: &str, tokens: &mut Vec<u32>) {
        let mut rest = text;
        while let Some((at, len, id)) = self.added.find(rest) {
            self.encode_plain(&rest[..at], tokens);
            tokens.push(id);
            rest = &rest[at + len..];
        }
        self.encode_plain(rest, tokens);
    }

    fn encode_plain(&self, text: &str, tokens: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        let mut escaped = String::with_capacity(text.len() + 8);
        if self.space_first {
            escaped.push(SPACE);
        }
        escaped.extend(text.chars().map(|c| if c == ' ' { SPACE } else { c }));
        let symbols = self.join(&escaped);
        let mut unknown = false;
        let mut at = (!symbols.is_empty()).then_some(0);
        while let Some(Symbol { start, end, next, .. }) = at.map(|at: usize| symbols[at]) {
            self.name(&escaped[start..end], &mut unknown, tokens);
            at = next;
        }
    }

    /// A symbol's token, or those of its bytes; what is unknown is so once in a row.
    fn name(&self, symbol: &str, unknown: &mut bool, tokens: &mut Vec<u32>) {
        if let Some((id, _)) = self.pieces.get(symbol) {
            tokens.push(*id);
            *unknown = false;
            return;
        }
        for byte in symbol.bytes() {
            match self.bytes[usize::from(byte)] {
                Some(id) => tokens.push(id),
                None if *unknown => {}
                None => tokens.push(self.unknown),
            }
            *unknown = self.bytes[usize::from(byte)].is_none();
        }
    }

    /// Joins characters until no neighbours are a token together.
    fn join(&self, text: &str) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(i, (start, c))| {
                let end = start + c.len_utf8();
                let next = (end < text.len()).then_some(i + 1);
                Symbol { start, end, previous: i.checked_sub(1), next }
            })
            .collect();
        let mut pairs: BinaryHeap<Pair> =
            (1..symbols.len()).filter_map(|i| self.pair(text, &symbols, (i - 1, i))).collect();
        while let Some(Pair { left, right, bytes, .. }) = pairs.pop() {
            let (first, second) = (symbols[left], symbols[right]);
            let gone = |symbol: Symbol| symbol.start == symbol.end;
            if gone(first) || gone(second) || second.end - first.start != bytes {
                continue;
            }
            symbols[left].end = second.end;
            symbols[left].next = second.next;
            symbols[right].start = second.end;
            if let Some(next) = second.next {
                symbols[next].previous = Some(left);
                pairs.extend(self.pair(text, &symbols, (left, next)));
            }
            if let Some(previous) = first.previous {
                pairs.extend(self.pair(text, &symbols, (previous, left)));
            }
        }
        symbols
    }

    fn pair(&self, text: &str, symbols: &[Symbol], (left, right): (usize, usize)) -> Option<Pair> {
        let (start, end) = (symbols[left].start, symbols[right].end);
        if end - start > self.piece_bytes_max {
            return None;
        }
        let (_, score) = self.pieces.get(&text[start..end])?;
        Some(Pair { score: *score, left, right, bytes: end - start })
    }
}

impl Added {
    fn new(added: &[(u32, &str)]) -> Self {
        let some = added.iter().filter(|(_, text)| !text.is_empty());
        let tokens: HashMap<String, u32> =
            some.map(|(id, text)| ((*text).to_owned(), *id)).collect();
        let mut lengths: Vec<usize> = tokens.keys().map(String::len).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        Self { tokens, lengths }
    }

    /// Place, length and number of the first one in a text.
    fn find(&self, text: &str) -> Option<(usize, usize, u32)> {
        if self.tokens.is_empty() {
            return None;
        }
        text.char_indices().find_map(|(at, _)| {
            let longest = self.lengths.iter().find_map(|len| {
                let id = self.tokens.get(text.get(at..at + len)?)?;
                Some((*len, *id))
            });
            longest.map(|(len, id)| (at, len, id))
        })
    }
}
