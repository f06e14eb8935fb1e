//! Sources: the names of llama.cpp's pre-tokenizers, and the patterns that the families publish.

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// GPT-4's: numbers of up to three digits, endings in either case.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words are cut where capitals begin.
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The patterns that cut a text, one after the other, and whether a piece that is a token is taken
/// whole, whatever merges would make of it. `None` for a name that is not known: a wrong guess
/// would give wrong tokens without a word.
pub(super) fn patterns(name: &str) -> Option<(&'static [&'static str], bool)> {
    Some(match name {
        "gpt-2" | "gpt2" | "olmo" | "mpt" | "jais" | "phi-2" => (&[GPT2], false),
        // What llama.cpp takes for a file that does not say.
        "default" => (&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"], false),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => (&[r"\p{N}", GPT2], false),
        "llama-bpe" | "llama3" | "llama-v3" => (&[LLAMA3], true),
        // OLMo 2 and Phi 4 are among those that have GPT-4's cut.
        "dbrx" | "smaug-bpe" => (&[LLAMA3], false),
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" => (&[QWEN2], false),
        "gpt-4o" | "llama4" => (&[GPT4O], false),
        "tekken" => (&[TEKKEN], true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use tokenizers::tokenizer::pattern::Pattern;
    use tokenizers::utils::SysRegex;

    /// What a name's patterns make of a text.
    fn cut(name: &str, text: &str) -> Vec<String> {
        let mut pieces = vec![text.to_owned()];
        for pattern in super::patterns(name).unwrap().0 {
            let regex = SysRegex::new(pattern).unwrap();
            let part = |piece: String| {
                let found = (&regex).find_matches(&piece).unwrap();
                found.into_iter().map(|((a, b), _)| piece[a..b].to_owned()).collect::<Vec<_>>()
            };
            pieces = pieces.into_iter().flat_map(part).collect();
        }
        pieces
    }

    #[test]
    fn families_cut_words_numbers_and_space_in_their_ways() {
        for (name, text, expect) in [
            ("gpt-2", "It's 12345  x", "It|'s| 12345| | x"),
            ("gpt-2", "IT'S", "IT|'|S"),
            ("llama-bpe", "IT'S 12345\n\n x", "IT|'S| |123|45|\n\n| x"),
            ("qwen2", "IT'S 123", "IT|'S| |1|2|3"),
            ("smollm", "a 12b", "a| |1|2|b"),
            ("default", "a, 1234", "a|,| |123|4"),
            ("gpt-4o", "helloWorld's a/b/\n", "hello|World's| a|/b|/\n"),
            ("tekken", "helloWorld's 12", "hello|World|'s| |1|2"),
            ("dbrx", "x  🦊🦊 中文", "x| | 🦊🦊| 中文"),
        ] {
            assert_eq!(cut(name, text).join("|"), expect, "{name} {text}");
        }
        assert!(super::patterns("bloom").is_none());
    }
}
