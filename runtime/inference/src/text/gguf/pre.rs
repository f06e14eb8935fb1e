//! Sources: the names of llama.cpp's pre-tokenizers, and the patterns that the families publish.

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// GPT-4's: numbers of up to three digits, endings in either case.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Qwen 2's with marks as part of words.
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r"[!\x22#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
/// Words are cut where capitals begin.
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How a vocabulary's text is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pre {
    /// They cut one after the other; what a pattern does not match is a piece too.
    pub(super) patterns: &'static [&'static str],
    /// A piece that is a token is taken whole, whatever merges would make of it.
    pub(super) whole_words: bool,
    /// The beginning of a sequence is added where the file does not say.
    pub(super) begins: bool,
}

const fn cut(patterns: &'static [&'static str]) -> Pre {
    Pre { patterns, whole_words: false, begins: false }
}

const fn whole(patterns: &'static [&'static str]) -> Pre {
    Pre { patterns, whole_words: true, begins: false }
}

/// The cut of a name. `None` for one that is not known: a wrong guess would give wrong tokens
/// without a word.
pub(super) fn of(name: &str) -> Option<Pre> {
    Some(match name {
        "gpt-2" | "phi-2" | "olmo" | "mpt" | "jais" | "gigachat" | "a.x-4.0" | "mellum"
        | "exaone4" | "trillion" | "granite-docling" => cut(&[GPT2]),
        // What llama.cpp takes for a file that does not say.
        "default" => cut(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"]),
        "falcon" => cut(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"]),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b"
        | "mellum2" => cut(&[r"\p{N}", GPT2]),
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0"
        | "lfm2" => Pre { begins: true, ..whole(&[LLAMA3]) },
        // OLMo 2 and Phi 4 are among those that have GPT-4's cut.
        "dbrx" | "smaug-bpe" => cut(&[LLAMA3]),
        "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "megrez" | "stablelm2" => {
            cut(&[QWEN2])
        }
        "qwen35" => cut(&[QWEN35]),
        "gpt-4o" | "llama4" | "kanana2" => cut(&[GPT4O]),
        "tekken" => Pre { begins: true, ..whole(&[TEKKEN]) },
        "seed-coder" => cut(&[SEED_CODER]),
        "deepseek-coder" => {
            cut(&[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}"])
        }
        "deepseek-v3" => cut(&[r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3]),
        "viking" => cut(&[BLOOM, r"\p{N}"]),
        "poro-chat" | "bloom" | "gpt3-finnish" => cut(&[BLOOM]),
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
        for pattern in super::of(name).unwrap().patterns {
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
        assert!(super::of("kimi-k2").is_none());
    }
}
