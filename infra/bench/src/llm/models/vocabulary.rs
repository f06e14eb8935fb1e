//! A vocabulary that every engine loads: byte-level BPE that knows all bytes and next to no words.

/// The tokens that end and frame turns come first.
pub(crate) const CONTROLS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// Ends a sequence, and begins one where an engine insists.
pub(crate) const END: u32 = 0;
/// Ends a turn.
pub(crate) const TURN_END: u32 = 2;
/// Tokens from here on are neither control tokens nor single bytes.
pub(crate) const FIRST_WORD: u32 = CONTROLS.len() as u32 + 256;

const MERGES: [(&str, &str); 4] = [("t", "h"), ("th", "e"), ("Ġ", "a"), ("Ġ", "the")];
/// Values of `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;

/// What a file says of its vocabulary.
pub(crate) struct Vocabulary {
    pub(crate) tokens: Vec<String>,
    pub(crate) kinds: Vec<i32>,
    pub(crate) merges: Vec<String>,
}

/// A vocabulary of this size; words that no text becomes fill it up.
pub(crate) fn vocabulary(size: usize) -> Vocabulary {
    let mut tokens: Vec<String> = CONTROLS.map(str::to_owned).to_vec();
    tokens.extend(bytes().map(String::from));
    tokens.extend(MERGES.map(|(left, right)| format!("{left}{right}")));
    let words = tokens.len()..size;
    tokens.extend(words.map(|id| format!("Ġw{id}")));
    let mut kinds = vec![NORMAL; tokens.len()];
    kinds[..CONTROLS.len()].fill(CONTROL);
    let merges = MERGES.map(|(left, right)| format!("{left} {right}")).to_vec();
    Vocabulary { tokens, kinds, merges }
}

/// GPT-2's characters for the 256 bytes: printable Latin-1 stands for itself, the others follow
/// from U+0100 in order.
fn bytes() -> impl Iterator<Item = char> {
    let mut next = 0x100;
    (0..=255u8).map(move |byte| {
        if matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) {
            return char::from(byte);
        }
        next += 1;
        char::from_u32(next - 1).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_token_is_there_once() {
        let Vocabulary { tokens, kinds, merges } = vocabulary(1_000);
        assert_eq!(tokens.iter().collect::<BTreeSet<_>>().len(), 1_000);
        assert_eq!((tokens.len(), kinds.len(), merges.len()), (1_000, 1_000, 4));
        assert_eq!(tokens[FIRST_WORD as usize], "th");
        assert_eq!(tokens[TURN_END as usize], "<|im_end|>");
        assert!(tokens.contains(&"Ġ".to_owned()) && tokens.contains(&"ÿ".to_owned()));
    }
}
