"""Writes the files that the fuzz targets start from, to fuzz/seeds.

Needs gguf and tokenizers; it is run by hand and never in CI:

    python scripts/seeds.py fuzz/seeds
"""

import json
import pathlib
import sys
import tempfile

import gguf
import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

HERE = pathlib.Path(__file__).parent
BYTES = [f"<0x{b:02X}>" for b in range(256)]
SHAPES = {"token_embd": None, "output_norm": (8,), "blk.0.attn_norm": (8,), "blk.0.ffn_norm": (8,),
          "blk.0.attn_q": (8, 8), "blk.0.attn_k": (8, 8), "blk.0.attn_v": (8, 8), "blk.0.attn_output": (8, 8),
          "blk.0.ffn_gate": (8, 8), "blk.0.ffn_up": (8, 8), "blk.0.ffn_down": (8, 8)}
TEMPLATE = ("{%- for m in messages -%}<s>{{ m['role'] | upper }}: {{ m.content.strip() }}</s>{%- endfor -%}"
            "{%- if tools is defined and tools -%}{{ tools | tojson(indent=2) }}{%- endif -%}"
            "{%- set ns = namespace(n=0) -%}{%- for i in range(3) -%}{%- set ns.n = ns.n + i -%}{%- endfor -%}"
            "{%- if add_generation_prompt -%}{{ ns.n }}{{ strftime_now('%d %b %Y') }}{%- endif -%}")


def write_gguf(path, model):
    w = gguf.GGUFWriter(str(path), "llama")
    for key, value in [("context_length", 16), ("embedding_length", 8), ("block_count", 1), ("feed_forward_length", 8),
                       ("attention.head_count", 2), ("attention.sliding_window", 4)]:
        w.add_uint32(f"llama.{key}", value)
    w.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    w.add_float32("llama.rope.scaling.factor", 2.0)
    w.add_tokenizer_model(model)
    if model == "llama":
        tokens = ["<unk>", "<s>", "</s>", "▁", "a", "b", "▁a", "ab", "▁ab", "  "] + BYTES[:16]
        kinds = [2, 3, 3, 1, 1, 1, 1, 1, 1, 4] + [6] * 16
        w.add_token_scores([float(s) for s in [0, 0, 0, -5, -6, -7, -2, -1, -3, 0] + [0] * 16])
    else:
        tokens = ["<|end|>", "a", "b", "Ġ", "Ċ", "1", "ab", "Ġab", "<tool>"]
        kinds = [3, 1, 1, 1, 1, 1, 1, 1, 4]
        w.add_token_merges(["a b", "Ġ ab"])
        w.add_tokenizer_pre("llama-bpe")
        w.add_bos_token_id(0)
    w.add_token_list(tokens)
    w.add_token_types(kinds)
    w.add_chat_template(TEMPLATE)
    for name, shape in SHAPES.items():
        w.add_tensor(f"{name}.weight", np.ones(shape or (len(tokens), 8), dtype=np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def safetensors(index):
    header = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
              "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}, "__metadata__": {"format": "pt"}}
    header = json.dumps(header).encode()
    return len(index).to_bytes(2, "little") + index + len(header).to_bytes(8, "little") + header + bytes(32)


def tokenizers():
    words = ["<unk>", "<s>", "</s>", "▁", "a", "b", "▁a", "ab", "▁ab"] + BYTES[:16]
    t = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [("▁", "a"), ("a", "b"), ("▁a", "b")],
                             unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    t.add_special_tokens([AddedToken("<s>", rstrip=True), AddedToken("</s>", lstrip=True)])
    t.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    yield "metaspace", t
    t = Tokenizer(models.BPE({w: i for i, w in enumerate(["a", "b", "Ġ", "ab", "Ġab"])}, [("a", "b"), ("Ġ", "ab")]))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace("x", "y")])
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(["<|end|>"])
    t.add_tokens([AddedToken("<tool>", normalized=True)])
    yield "byte-level", t
    t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(["[UNK]", "[CLS]", "[SEP]", "a", "##b"])}))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    yield "word-piece", t


MESSAGES = '[{"role":"user","content":"a </s> b"},{"role":"assistant","content":[{"type":"text","text":"x"}]}]'
BERT = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 99,
        "intermediate_size": 64, "max_position_embeddings": 16, "type_vocab_size": 2, "hidden_act": "gelu"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}, "b": {"enum": ["x", None]},
          "c": {"type": "array", "items": {"$ref": "#/$defs/d"}, "maxItems": 2}}, "$defs": {"d": {"type": "string",
          "pattern": "^[a-z]{2,3}$"}}, "required": ["a"], "additionalProperties": False}


def main(folder):
    folder = pathlib.Path(folder)

    def put(target, name, data):
        path = folder / target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())

    for model in ["llama", "gpt2"]:
        with tempfile.TemporaryDirectory() as scratch:
            path = pathlib.Path(scratch) / "m.gguf"
            write_gguf(path, model)
            put("gguf", f"{model}.gguf", path.read_bytes())
    put("safetensors", "alone", safetensors(b""))
    put("safetensors", "indexed", safetensors(b'{"weight_map":{"a":"model.safetensors","b":"model.safetensors"}}'))
    for name, t in tokenizers():
        put("tokenizer", f"{name}.json", json.dumps(json.loads(t.to_str()), ensure_ascii=False))
    for name in ["llama3", "gemma3", "phi3-long", "qwen3-moe", "smollm3"]:
        fixture = json.loads((HERE / f"../fixtures/decoders/{name}.json").read_text())
        put("config", f"{name}.json", json.dumps(fixture["config"]))
    put("config", "bert.json", json.dumps(BERT))
    put("template", "whole", TEMPLATE + "\0" + MESSAGES)
    put("template", "raises", "{{ raise_exception('no') }}{% macro f(x) %}{{ x.split(',')[0] }}{% endmacro %}{{ f('a,b') }}")
    put("grammar", "regex", b"\0\0" + rb"(a|bc?)*[^\d]{2,5}\p{Lu}+")
    put("grammar", "lark", b"\1\3" + b'start: (A | "b"i)+ x?\nx: /[0-9]+/ "," start | %json {"type":"boolean"}\nA: "a".."f"\n')
    put("grammar", "schema", b"\2\7" + json.dumps(SCHEMA).encode())


if __name__ == "__main__":
    main(sys.argv[1])
