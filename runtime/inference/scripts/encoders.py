"""Writes the reference answers of tiny encoders, one file for each, to fixtures/encoders.

Needs PyTorch and transformers; it is run by hand and never in CI:

    python scripts/encoders.py fixtures/encoders

A fixture has a configuration, the names and shapes of its tensors, texts as tokens, and what the network
answers to each: the mean of its states, probabilities of classes, of each token, or a score. The weights
are not in it: each value follows from its tensor's name and its place, as in `value` here and in
src/models/encoder/references.rs.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from decoders import noise

SIZES = dict(vocab_size=64, max_position_embeddings=40)
USUAL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, **SIZES)
CONFIGS = {
    "bert": transformers.BertConfig(**USUAL),
    "distilbert": transformers.DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=48, **SIZES),
    "roberta": transformers.RobertaConfig(**USUAL, type_vocab_size=1, pad_token_id=1),
    "xlm-roberta": transformers.XLMRobertaConfig(**USUAL, type_vocab_size=1, pad_token_id=1),
    "mpnet": transformers.MPNetConfig(**USUAL),
    "modernbert": transformers.ModernBertConfig(
        **{**USUAL, "num_hidden_layers": 4}, local_attention=8, global_attn_every_n_layers=3,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    ),
}
CLASSES = {
    "embed": transformers.AutoModel,
    "classify": transformers.AutoModelForSequenceClassification,
    "tokens": transformers.AutoModelForTokenClassification,
    "compare": transformers.AutoModelForSequenceClassification,
}
# Without 0 and 1, which are padding in one family or another.
TEXTS = [[5], [3, 17, 60, 4, 2], [(7 * i * i + 3 * i + 11) % 60 + 2 for i in range(37)]]


def value(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    x = noise(name, int(np.prod(shape)))
    if len(shape) == 1 and "norm" in name.lower() and name.endswith("weight"):
        x = np.float32(1) + x * np.float32(0.25)
    else:
        x = x * np.float32(0.5 if len(shape) > 1 else 0.25)
    return torch.from_numpy(x.reshape(shape))


def answer(kind: str, output) -> list[float]:
    if kind == "embed":
        return output.last_hidden_state[0].mean(0).tolist()
    if kind == "compare":
        return output.logits[0].sigmoid().tolist()
    return output.logits[0].softmax(-1).flatten().tolist()


def write(folder: pathlib.Path, family: str, kind: str) -> None:
    config = type(CONFIGS[family]).from_dict(CONFIGS[family].to_dict())
    config.num_labels = 1 if kind == "compare" else 3
    model = CLASSES[kind].from_config(config, attn_implementation="eager").eval()
    tensors = {}
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            tensors[name] = list(tensor.shape)
            tensor.copy_(value(name, tuple(tensor.shape)))
        answers = []
        for text in TEXTS:
            ids = torch.tensor([text])
            more = {}
            if family == "bert":
                # The second half is another segment.
                more["token_type_ids"] = (torch.arange(len(text)) * 2 >= len(text)).long()[None]
            answers.append(answer(kind, model(ids, attention_mask=torch.ones_like(ids), **more)))
    stored = json.loads(config.to_json_string(use_diff=False))
    stored["architectures"] = [type(model).__name__]
    known = ["architectures", "model_type", "id2label", "problem_type", "classifier_pooling", "rope_parameters"]
    kept = {k: v for k, v in stored.items() if k in known or isinstance(v, int | float) or "act" in k}
    fixture = {"config": kept, "tensors": tensors, "texts": TEXTS, "answers": answers}
    (folder / f"{family}-{kind}.json").write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    for family in CONFIGS:
        for kind in CLASSES:
            write(pathlib.Path(sys.argv[1]), family, kind)
