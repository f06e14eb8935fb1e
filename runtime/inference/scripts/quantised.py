"""Writes llama.cpp's logits of small networks in each block type to fixtures/quantised.json.

Needs llama-cpp-python and gguf; it is run by hand and never in CI:

    python scripts/quantised.py fixtures/quantised.json

The networks are not kept: their blocks are noise from the tensor's name, every bit of it, but for
the scales, which are small. `blocks` here and in src/models/decoder/quantised.rs must agree bit for
bit, so both engines run the same file.
"""

import json
import pathlib
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np

HIDDEN, LAYERS, HEADS, KV_HEADS, DIMS, FEED_FORWARD, VOCABULARY = 256, 2, 4, 2, 64, 512, 264
PROMPTS = [[17], [(7 * i * i + 3 * i + 11) % VOCABULARY for i in range(40)]]
MASK = (1 << 64) - 1
# Values and bytes of a block, where its f16 scale is and how large, and of its offset likewise.
TYPES = {
    "Q4_0": (32, 18, [(0, 0.013)]),
    "Q4_1": (32, 20, [(0, 0.013), (2, -0.0975)]),
    "Q5_0": (32, 22, [(0, 0.0065)]),
    "Q5_1": (32, 24, [(0, 0.0065), (2, -0.1)]),
    "Q8_0": (32, 34, [(0, 0.0008)]),
    "Q2_K": (256, 84, [(80, 0.005), (82, 0.0075)]),
    "Q3_K": (256, 110, [(108, 0.0014)]),
    "Q4_K": (256, 144, [(0, 0.0003), (2, 0.00225)]),
    "Q5_K": (256, 176, [(0, 0.00015), (2, 0.0023)]),
    "Q6_K": (256, 210, [(208, 0.00005)]),
}


def words(name, count):
    """splitmix64 of the name's FNV-1a hash and the index."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & MASK
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def noise(name, count):
    return (words(name, count) >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)


def blocks(name, kind, shape):
    """Bytes of a matrix, `[rows, bytes of a row]`."""
    values, size, scales = TYPES[kind]
    count = shape[0] * shape[1] // values
    data = (words(name, count * size) >> np.uint64(56)).astype(np.uint8).reshape(count, size)
    for i, (at, scale) in enumerate(scales):
        factor = np.float32(1) + np.float32(0.25) * noise(f"{name}.{i}", count)
        halves = (np.float32(scale) * factor).astype(np.float16)
        data[:, at : at + 2] = halves.view(np.uint8).reshape(count, 2)
    return data.reshape(shape[0], -1)


def tensors():
    yield "token_embd", (VOCABULARY, HIDDEN)
    for i in range(LAYERS):
        yield f"blk.{i}.attn_q", (HEADS * DIMS, HIDDEN)
        yield f"blk.{i}.attn_k", (KV_HEADS * DIMS, HIDDEN)
        yield f"blk.{i}.attn_v", (KV_HEADS * DIMS, HIDDEN)
        yield f"blk.{i}.attn_output", (HIDDEN, HEADS * DIMS)
        yield f"blk.{i}.ffn_gate", (FEED_FORWARD, HIDDEN)
        yield f"blk.{i}.ffn_up", (FEED_FORWARD, HIDDEN)
        yield f"blk.{i}.ffn_down", (HIDDEN, FEED_FORWARD)
        yield f"blk.{i}.attn_norm", (HIDDEN,)
        yield f"blk.{i}.ffn_norm", (HIDDEN,)
    yield "output_norm", (HIDDEN,)
    yield "output", (VOCABULARY, HIDDEN)


def write(path, kind):
    w = gguf.GGUFWriter(str(path), "llama")
    for key, value in [("context_length", 256), ("embedding_length", HIDDEN), ("block_count", LAYERS),
                       ("feed_forward_length", FEED_FORWARD), ("attention.head_count", HEADS),
                       ("attention.head_count_kv", KV_HEADS), ("rope.dimension_count", DIMS)]:
        w.add_uint32(f"llama.{key}", value)
    w.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    w.add_float32("llama.rope.freq_base", 10000.0)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list([f"t{i}" for i in range(VOCABULARY)])
    w.add_token_merges(["t 0"])
    for name, shape in tensors():
        if len(shape) == 1:
            w.add_tensor(f"{name}.weight", np.float32(1) + np.float32(0.25) * noise(name, shape[0]))
        else:
            kind_number = gguf.GGMLQuantizationType[kind]
            w.add_tensor(f"{name}.weight", blocks(name, kind, shape), raw_dtype=kind_number)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def logits(path, prompt):
    llama = llama_cpp.Llama(str(path), n_ctx=256, n_threads=1, logits_all=True, type_k=0, type_v=0,
                            flash_attn=False, verbose=False)
    llama.eval(prompt)
    return llama.scores[len(prompt) - 1]


def main(out):
    found = {}
    for kind in TYPES:
        with tempfile.TemporaryDirectory() as scratch:
            path = pathlib.Path(scratch) / "m.gguf"
            write(path, kind)
            rows = [logits(path, prompt) for prompt in PROMPTS]
        print(f"{kind}: spread {[round(float(np.std(r)), 3) for r in rows]}")
        found[kind] = [[float(f"{v:.5g}") for v in row] for row in rows]
    text = json.dumps({"prompts": PROMPTS, "logits": found}, separators=(",", ":")) + "\n"
    pathlib.Path(out).write_text(text)
    print(len(text), "bytes")


if __name__ == "__main__":
    main(sys.argv[1])
