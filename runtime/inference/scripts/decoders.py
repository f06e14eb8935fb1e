"""Writes the reference answers of tiny decoders, one file for each, to fixtures/decoders.

Needs PyTorch and transformers; it is run by hand and never in CI:

    python scripts/decoders.py fixtures/decoders [NAME...]

A fixture has a configuration, prompts, the logits after each and 64 greedy tokens. The weights are
not in it: each value follows from its tensor's name and its place, as in `value` here and in
src/models/decoder/references.rs, which must agree bit for bit.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers

VOCABULARY = 128
PROMPTS = [[5], [17, 99, 4, 63, 20, 77, 101], [(7 * i * i + 3 * i + 11) % 128 for i in range(40)]]
GREEDY = 64
MASK = (1 << 64) - 1


def seed(name):
    """FNV-1a, 64 bits."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & MASK
    return state


def noise(name, count):
    """Values in -1..1 with 24 bits: splitmix64 of the name's seed and the index."""
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(seed(name))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)


def value(name, shape, less_one, tied):
    """Matrices within a quarter, norms within a quarter of one, and embeddings within one unless
    they are the output too: there a token would only ever follow itself."""
    x = noise(name, int(np.prod(shape)))
    if len(shape) == 1:
        x = x * np.float32(0.25)
        if "norm" in name and not less_one:
            x = np.float32(1) + x
    elif tied or "embed_tokens" not in name:
        x = x * np.float32(0.25)
    return torch.from_numpy(x.reshape(shape))


BASE = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    intermediate_size=48,
    vocab_size=VOCABULARY,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=3,
)


def rope(kind, **rest):
    return dict(rope_type=kind, rope_theta=10000.0, **rest)


PHI = [1.0, 1.25, 2.0]
MODELS = {
    "llama": ("Llama", dict(rope_parameters=rope("default"))),
    "llama-biases": (
        "Llama",
        dict(
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=True,
            rope_parameters=rope("linear", factor=4.0),
        ),
    ),
    "llama3": (
        "Llama",
        dict(
            rope_parameters=rope(
                "llama3",
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=64,
            )
        ),
    ),
    "llama-yarn": (
        "Llama",
        dict(rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=64)),
    ),
    "mistral": ("Mistral", dict(head_dim=16, sliding_window=12, rope_parameters=rope("default"))),
    "smollm3": (
        "SmolLM3",
        dict(num_hidden_layers=4, no_rope_layer_interval=4, rope_parameters=rope("default")),
    ),
    "qwen2": ("Qwen2", dict(rope_parameters=rope("default"))),
    "qwen3": ("Qwen3", dict(head_dim=16, rope_parameters=rope("default"))),
    "qwen3-moe": (
        "Qwen3Moe",
        dict(
            num_experts=8,
            num_experts_per_tok=3,
            moe_intermediate_size=24,
            norm_topk_prob=True,
            rope_parameters=rope("default"),
        ),
    ),
    "gemma2": (
        "Gemma2",
        dict(
            num_hidden_layers=4,
            sliding_window=12,
            query_pre_attn_scalar=8,
            attn_logit_softcapping=5.0,
            final_logit_softcapping=3.0,
            rope_parameters=rope("default"),
        ),
    ),
    "gemma3": (
        "Gemma3Text",
        dict(
            num_hidden_layers=7,
            sliding_window=12,
            query_pre_attn_scalar=8,
            rope_parameters={
                "full_attention": dict(rope_type="linear", factor=8.0, rope_theta=1000000.0),
                "sliding_attention": rope("default"),
            },
        ),
    ),
    "phi3": (
        "Phi3",
        dict(
            partial_rotary_factor=0.75,
            sliding_window=20,
            rope_parameters=rope("default", partial_rotary_factor=0.75),
        ),
    ),
    "phi3-long": (
        "Phi3",
        dict(
            partial_rotary_factor=0.75,
            original_max_position_embeddings=4,
            rope_parameters=rope(
                "longrope",
                partial_rotary_factor=0.75,
                short_factor=[1.0, 1.0, 1.0],
                long_factor=PHI,
                original_max_position_embeddings=4,
            ),
        ),
    ),
    "olmo2": ("Olmo2", dict(rope_parameters=rope("default"))),
}


def build(kind, settings):
    settings = {**BASE, **settings}
    if kind == "Phi3":
        settings.pop("head_dim")
    config = getattr(transformers, f"{kind}Config" if kind != "Gemma3Text" else "Gemma3TextConfig")
    config = config(**settings)
    config._attn_implementation = "eager"
    if hasattr(config, "_experts_implementation"):
        config._experts_implementation = "eager"
    model = getattr(transformers, f"{kind}ForCausalLM" if kind != "Gemma3Text" else "Gemma3ForCausalLM")
    model = model(config).float().eval()
    fill(model, kind.startswith("Gemma"), config.tie_word_embeddings)
    return config, model


def fill(model, less_one, tied):
    """Experts that this version of the library holds as one tensor are filled by their own names."""
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if ".experts." not in name or parameter.ndim == 2:
            filled = value(name, shape, less_one, tied)
        else:
            stem, part = name.rsplit(".", 1)
            parts = ["gate_proj", "up_proj"] if part == "gate_up_proj" else ["down_proj"]
            rows = (shape[1] // len(parts), shape[2])
            one = lambda e: torch.cat([value(f"{stem}.{e}.{p}.weight", rows, False, tied) for p in parts])
            filled = torch.stack([one(e) for e in range(shape[0])])
        parameter.data.copy_(filled)


@torch.no_grad()
def greedy(model, prompt):
    """Each step computes all tokens afresh. Also gives the least distance of the best two."""
    tokens, gap = list(prompt), float("inf")
    for _ in range(GREEDY):
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0, -1]
        best = torch.topk(logits, 2)
        gap = min(gap, float(best.values[0] - best.values[1]))
        tokens.append(int(best.indices[0]))
    return tokens[len(prompt) :], gap


def main(folder, *names):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or MODELS:
        kind, settings = MODELS[name]
        config, model = build(kind, settings)
        prompts = PROMPTS if name != "phi3-long" else [p for p in PROMPTS if len(p) > 4]
        with torch.no_grad():
            last = [model(torch.tensor([p]), use_cache=False).logits[0, -1] for p in prompts]
        tokens, gap = greedy(model, prompts[1 if name != "phi3-long" else 0])
        kept = {k: v for k, v in config.to_dict().items() if v is not None}
        drop = ["_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures"]
        for key in drop + [k for k in kept if k.startswith(("output_", "return_", "id2", "label2"))]:
            kept.pop(key, None)
        if kind == "Phi3":
            kept.pop("head_dim", None)
        fixture = {
            "config": kept,
            "prompts": prompts,
            "logits": [[float(f"{v:.6g}") for v in row.tolist()] for row in last],
            "greedy_of": 1 if name != "phi3-long" else 0,
            "greedy": tokens,
        }
        (folder / f"{name}.json").write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
        spread = float(torch.stack(last).std())
        print(f"{name}: {len(set(tokens))} different tokens, least gap {gap:.2e}, spread {spread:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
