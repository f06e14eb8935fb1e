"""Writes what llama.cpp and tokenizers make of nasty texts, to fixtures/tokenizers.

Needs llama-cpp-python, gguf and tokenizers; it is run by hand and never in CI:

    python scripts/vocabularies.py fixtures fixtures/tokenizers
    python scripts/vocabularies.py real FOLDER

The first makes small vocabularies and the answers of both. Merges of the byte-level one cross every
place where some family cuts, so that a wrong cut shows in the tokens. The second takes real GGUF
files (vocabularies alone will do, such as the models/ggml-vocab-*.gguf of llama.cpp's sources) and
writes llama.cpp's answers beside each; the ignored test `real_vocabularies` reads them from the
folder that EMBERBOX_VOCABULARIES names.
"""

import ctypes
import json
import pathlib
import sys
import tempfile

import gguf
import llama_cpp
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre
from tokenizers import processors, trainers

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

TEXTS = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\n\n\n", "\t\n", "\r\n", " \r\n \r\n", "\r\r\n",
    "the fox", " the fox", "  the  fox ", "The Fox\n", "\n the\n\n  fox\t \n", "a" * 300, "ab" * 150,
    " " * 70, "\n" * 40, "x" + " " * 33 + "y", "\t\t\tif (a[i] != b) {\n\t\t\t\treturn -1;\n\t\t\t}\n",
    "def f(x):\n    return x**2  # squared\n\n\n", "<div class=\"a\">&amp;</div>", "https://a.b/c?d=1&e=%20#f",
    *["1234567890123"[:n] for n in range(1, 14)], "3.14159", "-1,234,567.89e+10", "０１２３", "٣٤٥", "½ ² Ⅷ 四",
    "it's I'm we're they've he'll I'd don't", "IT'S I'M WE'RE THEY'VE HE'LL I'D DON'T", "'s'S 'll'LL 'tt",
    "it\u2019s \u2018quoted\u2019", "it'\u017f 'K", "camelCase XMLHttpRequest iPhone HTTPServer aB Ab AB",
    "Äpfel STRASSE straße ÉTÉ Été naïve", "e\u0301te\u0301 n\u0303 a\u0300\u0301\u0302", "Привет, мир! ПРИВЕТ",
    "你好，世界。中文没有空格123个", "日本語のテキスト カタカナ ひらがな", "한국어 텍스트", "مرحبا بالعالم ١٢٣",
    "שָׁלוֹם עולם", "हिन्दी नमस्ते", "ไทยไม่เว้นวรรค", "កាន់តែពិសេស", "🦊", "👩‍👩‍👧‍👦 👍🏽 🏴‍☠️ 🇩🇪 ☝️ 1️⃣",
    "a🦊b 🦊🦊 c", "\u0000", "a\u0000b", "\u0001\u001b[31m\u007f", "\u0085\u00a0\u00ad\u1680\u2003\u2028\u3000x",
    "a\u00a0b\u2003c\u3000d", "\u200b\u200c\u200d\u200e\u2060\ufeff", "\ufeffthe fox", "\ufffd\ufffe\ue000\U000f0000",
    "\U0001d54f \U0001f9ea\U0010ffff", "\u00b5 \u2126 \u212a ﬁ ǆ ǅ", "Ġ Ċ ▁ ▁▁a <0x0A> Ã©", "<0x41><0xFF>",
    "</s><s><unk>", "<|end|><|user|>not a turn", "<|end|", "<|im_start|>system\n<|im_end|>", "[INST] x [/INST]",
    "<start_of_turn>user\n", "<tool>x</tool> <tool>", "  <tool>  ", "$100 €5 £3 ¥ +-*/=<>^~|`", "!!!??? ... --- ___ ***",
    "(a) [b] {c} «d» “e” —f", "a,b;c:d", "#hash @user e@mail.org", "\\n \\t \\u0041 \"q\" 'q'", "x=1;y=2//z\n/*c*/\n",
    "   indented\n\ttabbed\n \t mixed", "word\u0301\u0301 1\u0301 !\u0301 \u0301", "a\u0308\u0304b ử", "zebra ZEBRA  zebra",
    "foo\n\nbar\n \nbaz \n", "end ", "end  ", " \n", "\n ", "A", "É", "\u01c5ungla \u1f88 \u02b0a ªº",
    "the quick brown fox jumps over the lazy dog " * 4,
]
# What a template writes: control tokens count.
RENDERED = [
    "<s>the fox</s>", "<|user|>\nthe fox<|end|>\n<|assistant|>\n", "<|end|><|end|>", " <|end|>  the <|end|> ",
    "<|user|>  \n\n the  <|end|>", "the<unk>fox", "a<|user|><tool>b</tool> <tool>\n<|end|>x", "", " ", "<s> ", "<s>",
]

# Names with the patterns of their tokenizer.json, where they are not llama.cpp's: it writes some in
# a way that differs for letters beyond ASCII, and for marks.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
WORDS = r"[^\r\n\p{L}\p{N}]?%s*%s+{E}|[^\r\n\p{L}\p{N}]?%s+%s*{E}" % (UPPER, LOWER, UPPER, LOWER)
SLASH = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL],
    "dbrx": [ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL],
    "qwen2": [ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL],
    "gpt-4o": [WORDS.replace("{E}", ENDINGS + "?") + r"|\p{N}{1,3}" + SLASH],
    "tekken": [WORDS.replace("{E}", "") + r"|\p{N}" + SLASH],
}
NAMES = """gpt-2 phi-2 olmo mpt jais gigachat a.x-4.0 mellum exaone4 trillion granite-docling default falcon
smollm starcoder refact command-r codeshell exaone minerva-7b mellum2 llama-bpe llama3 llama-v3 falcon3 falcon-h1
pixtral midm-2.0 lfm2 dbrx smaug-bpe qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 qwen35 gpt-4o llama4
kanana2 tekken seed-coder deepseek-coder deepseek-v3 viking poro-chat bloom gpt3-finnish""".split()
WHOLE = {"llama-bpe", "tekken"}


class Model:
    """A vocabulary in llama.cpp. The Python class would cut texts at their first zero byte."""

    def __init__(self, path):
        self.llama = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
        self.vocab = llama_cpp.llama_model_get_vocab(self.llama.model)

    def encode(self, text, first=False, special=False):
        data = text.encode()
        room = (llama_cpp.llama_token * (2 * len(data) + 8))()
        count = llama_cpp.llama_tokenize(self.vocab, data, len(data), room, len(room), first, special)
        assert count >= 0
        return list(room[:count])

    def piece(self, token):
        room = ctypes.create_string_buffer(1024)
        count = llama_cpp.llama_token_to_piece(self.vocab, token, room, len(room), 0, False)
        assert count >= 0
        return room.raw[:count]


def write_gguf(path, model, tokens, kinds, **rest):
    w = gguf.GGUFWriter(str(path), "llama")
    for key, value in [("context_length", 64), ("embedding_length", 32), ("block_count", 1), ("feed_forward_length", 32),
                       ("attention.head_count", 1)]:
        w.add_uint32(f"llama.{key}", value)
    w.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    w.add_tokenizer_model(model)
    w.add_token_list(tokens)
    w.add_token_types(kinds)
    for key, value in rest.items():
        {"name": w.add_name, "pre": w.add_tokenizer_pre, "merges": w.add_token_merges, "scores": w.add_token_scores,
         "space": w.add_add_space_prefix, "bos": w.add_bos_token_id, "eos": w.add_eos_token_id}[key](value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def answers(path):
    """All that is compared, of a file."""
    model = Model(path)
    return {
        "texts": [model.encode(t) for t in TEXTS],
        "first": model.encode("the fox", first=True),
        "rendered": [model.encode(t, special=True) for t in RENDERED],
    }


CONTROLS = ["<unk>", "<s>", "</s>", "<|end|>", "<|user|>", "<|assistant|>", "<|endoftext|>"]


def byte_level():
    """Trained without cuts, then a few words that no merges lead to."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=256 + 900, show_progress=False, initial_alphabet=pre.ByteLevel.alphabet())
    t.train_from_iterator([x for x in TEXTS for _ in range(2)], trainer)
    model = json.loads(t.to_str())["model"]
    words = sorted(model["vocab"], key=model["vocab"].get) + ["Ġzebra", "ĠZEBRA", "fox", "ĠI"]
    words = [w for w in dict.fromkeys(words) if w not in CONTROLS + ["<tool>"]]
    merges = [" ".join(m) if isinstance(m, list) else m for m in model["merges"]]
    left = set(words) - {"fox", "ĠI"}
    merges = [m for m in merges if {*m.split(" "), m.replace(" ", "")} <= left]
    return CONTROLS + words + ["<tool>", "   "], merges


def library(tokens, merges, kinds, patterns, whole):
    vocab = {t: i for i, t in enumerate(tokens) if kinds[i] not in (CONTROL, UNKNOWN)}
    t = Tokenizer(models.BPE(vocab, [tuple(m.split(" ")) for m in merges], ignore_merges=whole))
    steps = [pre.Split(Regex(p), "isolated") for p in patterns]
    t.pre_tokenizer = pre.Sequence(steps + [pre.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.add_tokens([AddedToken(x, normalized=False) for i, x in enumerate(tokens) if kinds[i] == USER_DEFINED])
    return t


def byte_level_fixture(folder):
    tokens, merges = byte_level()
    kinds = [UNKNOWN] + [CONTROL] * 6 + [NORMAL] * (len(tokens) - 9) + [USER_DEFINED] * 2
    groups, base = [], None
    for name in NAMES:
        with tempfile.TemporaryDirectory() as scratch:
            path = pathlib.Path(scratch) / "v.gguf"
            write_gguf(path, "gpt2", tokens, kinds, pre=name, merges=merges, bos=1, eos=2)
            found = answers(path)
        if name in PATTERNS:
            t = library(tokens, merges, kinds, PATTERNS[name], name in WHOLE)
            theirs = [t.encode(x).ids for x in TEXTS]
            off = [i for i in range(len(TEXTS)) if theirs[i] != found["texts"][i]]
            for i in off:
                print(f"{name}: llama.cpp differs from tokenizers in {TEXTS[i]!r}")
            found["texts"] = theirs
        elif base and (same := next((g for g in groups if similar(g, found, name)), None)):
            same["names"].append(name)
            continue
        base = base or found
        changed = {str(i): ids for i, ids in enumerate(found["texts"]) if ids != base["texts"][i]}
        groups.append({"names": [name], "all": found["texts"], "changed": changed,
                       "first": found["first"], "rendered": found["rendered"]})
    for group in groups[1:]:
        del group["all"]
    del groups[0]["changed"]
    write(folder / "byte-level.json", {"tokens": tokens, "kinds": kinds, "merges": merges, "groups": groups})


def similar(group, found, name):
    """As good as the same: where a published pattern was taken, llama.cpp's may differ from it."""
    off = sum(a != b for a, b in zip(group["all"], found["texts"]))
    alike = group["first"] == found["first"] and group["rendered"] == found["rendered"]
    aliases = {"llama4": "gpt-4o", "kanana2": "gpt-4o"}
    return alike and (off == 0 or aliases.get(name) == group["names"][0])


def sentence_piece():
    """Many tokens of equal scores, each reached in several ways; the scores follow no order."""
    t = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=900, show_progress=False)
    t.train_from_iterator([x.replace(" ", "▁") for x in TEXTS if "\0" not in x for _ in range(2)], trainer)
    words = sorted(t.get_vocab(), key=t.get_vocab().get)
    words = [w for w in words if "<" not in w and len(w) <= 24 and w != "\n\n"]
    # A character that is only part of a token, and one that is not there at all.
    words = [w for w in words if w not in ("q", "🦊", "\n")]
    scores = [-float((i * 7919) % 97 // 3) if len(w) > 1 else -1000.0 - i for i, w in enumerate(words)]
    tokens = CONTROLS + [f"<0x{b:02X}>" for b in range(256)] + words
    kinds = [UNKNOWN] + [CONTROL] * 6 + [BYTE] * 256 + [NORMAL] * len(words)
    return tokens, kinds, [0.0] * 263 + scores


def sentence_piece_fixture(folder):
    tokens, kinds, scores = sentence_piece()
    added = ["<tool>", "   ", "\n\n", "the fox"]
    more = dict(tokens=tokens + added, kinds=kinds + [USER_DEFINED] * len(added), scores=scores + [0.0] * len(added))
    plain = dict(tokens=tokens, kinds=kinds, scores=scores)
    variants = {
        "plain": plain,
        "no-space": dict(plain, space=False),
        "added": more,
        "phi3": dict(plain, name="Phi-3 mini"),
    }
    out = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, variant in variants.items():
            path = pathlib.Path(scratch) / "v.gguf"
            write_gguf(path, "llama", **variant)
            out[name] = answers(path)
    write(folder / "sentencepiece.json", dict(plain, added=added, variants=out))


def hugging_face_fixtures(folder):
    """Whole tokenizer.json files; text with and without the meaning of its special tokens."""
    words = [x.replace(" ", "▁") for x in TEXTS for _ in range(2)]
    bpe = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=500, show_progress=False)
    bpe.train_from_iterator(words, trainer)
    model = json.loads(bpe.to_str())["model"]
    base = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    vocab = {t: i for i, t in enumerate(base + [w for w in model["vocab"] if w not in base])}
    merges = [tuple(m if isinstance(m, list) else m.split(" ")) for m in model["merges"]]
    special = [AddedToken(x, special=True, normalized=False) for x in base[:3]]
    plain = lambda: Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made = {}

    t = plain()
    t.pre_tokenizer = pre.Metaspace(prepend_scheme="first", split=False)
    made["metaspace-first"] = t
    t = plain()
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made["prepend"] = t
    for t in made.values():
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        t.add_special_tokens(special)
        t.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])

    tokens, merges = byte_level()
    tokens = [x for x in tokens if x not in CONTROLS and x not in ("<tool>", "   ")][:700]
    vocab = {x: i for i, x in enumerate(tokens)}
    merges = [tuple(m.split(" ")) for m in merges]
    merges = [m for m in merges if all(x in vocab for x in (*m, "".join(m)))]
    t = Tokenizer(models.BPE(vocab, merges))
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre.Sequence([pre.Split(Regex(PATTERNS["qwen2"][0]), "isolated"),
                                    pre.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    strip = dict(special=True, normalized=False)
    t.add_special_tokens([AddedToken("<|end|>", **strip), AddedToken("<|user|>", rstrip=True, **strip),
                          AddedToken("<|assistant|>", lstrip=True, rstrip=True, **strip)])
    t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("</tool>", normalized=False, rstrip=True)])
    made["byte-level"] = t

    for name, t in made.items():
        t.encode_special_tokens = False
        rendered = [t.encode(x, add_special_tokens=False).ids for x in RENDERED]
        t.encode_special_tokens = True
        texts = [t.encode(x, add_special_tokens=True).ids for x in TEXTS]
        t.encode_special_tokens = False
        write(folder / f"library-{name}.json", {"tokenizer": json.loads(t.to_str()), "rows": t.get_vocab_size(),
                                                "texts": texts, "rendered": rendered})


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")
    print(f"{path.name}: {path.stat().st_size} bytes")


def fixtures(folder):
    write(folder / "texts.json", {"texts": TEXTS, "rendered": RENDERED})
    byte_level_fixture(folder)
    sentence_piece_fixture(folder)
    hugging_face_fixtures(folder)


def real(folder):
    for path in sorted(folder.glob("*.gguf")):
        known = pathlib.Path(f"{path}.inp")
        more = known.read_text().split("\n__ggml_vocab_test__\n") if known.exists() else []
        try:
            model = Model(path)
        except Exception as error:
            print(f"{path.name}: llama.cpp refuses it: {error}")
            continue
        texts = TEXTS + more
        rows = [{"text": t, "ids": model.encode(t)} for t in texts]
        rendered = [{"text": t, "ids": model.encode(t, special=True)} for t in RENDERED]
        count = llama_cpp.llama_vocab_n_tokens(model.vocab)
        pieces = [[i, list(model.piece(i))] for i in range(0, count, 7)]
        first = model.encode("the fox", first=True)
        out = {"texts": rows, "rendered": rendered, "first": first, "pieces": pieces}
        pathlib.Path(f"{path}.expected.json").write_text(json.dumps(out))
        print(f"{path.name}: {len(rows)} texts, {len(pieces)} pieces")


if __name__ == "__main__":
    {"fixtures": fixtures, "real": real}[sys.argv[1]](pathlib.Path(sys.argv[2]))
