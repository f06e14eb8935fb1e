"""Trains a classifier of short texts on the descriptions of Debian's packages, and writes it as ONNX.

    apt-get update && pip install -r requirements.txt && python train.py

A text is its words, hashed into a vector, and the model is one layer: what the function in ../src does
with a text has to be what `vector` does here. Writes ../model/topics.onnx, ../model/labels.json, and
../heldout.jsonl, a hundred of the texts that training never sees.
"""

import json
import re
import subprocess
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).resolve().parent
WIDTH = 8192
# Sections of the archive whose packages are about something.
TOPICS = {
    "games": "games", "science": "science", "math": "science", "electronics": "science",
    "sound": "sound and video", "video": "sound and video", "graphics": "graphics",
    "net": "network", "web": "network", "httpd": "network", "mail": "mail",
    "database": "databases", "text": "text", "editors": "text", "tex": "text", "fonts": "fonts",
}


def fnv(word: str) -> int:
    """FNV-1a of 32 bits."""
    value = 0x811C9DC5
    for byte in word.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def vector(text: str) -> dict[int, float]:
    """The hashed words of a text: the logarithm of one more than how often each is there, scaled to
    length one."""
    counts = Counter(fnv(word) % WIDTH for word in re.findall("[a-z]{2,}", text.lower()))
    weights = {at: np.log1p(count) for at, count in counts.items()}
    length = np.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
    return {at: weight / length for at, weight in weights.items()}


def packages() -> list[tuple[str, str, str]]:
    """Source package, topic and description of what `apt` knows."""
    known = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True)
    found = {}
    for entry in known.stdout.split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", entry, re.M))
        topic = TOPICS.get(fields.get("Section", "").split("/")[-1])
        short = re.search(r"^Description(?:-en)?: (.*(?:\n .*)*)", entry, re.M)
        if topic is None or short is None or "transitional" in short[1]:
            continue
        text = re.sub(r"\n \.?", " ", short[1]).strip()
        source = fields.get("Source", fields["Package"]).split(" ")[0]
        # A package's own name would tell too much, and is no help for other texts.
        text = re.sub(re.escape(fields["Package"]), "", text, flags=re.I)
        found[text] = (source, topic, text)
    return list(found.values())


def matrix(texts: list[str]) -> csr_matrix:
    rows, columns, values = [], [], []
    for row, text in enumerate(texts):
        for at, weight in vector(text).items():
            rows.append(row), columns.append(at), values.append(weight)
    return csr_matrix((values, (rows, columns)), shape=(len(texts), WIDTH), dtype=np.float32)


def exported(weights: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["stored"], ["weights"], to=TensorProto.FLOAT),
            helper.make_node("Gemm", ["words", "weights", "bias"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
        ],
        "topics",
        [helper.make_tensor_value_info("words", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(bias)])],
        [
            numpy_helper.from_array(weights.astype(np.float16), "stored"),
            numpy_helper.from_array(bias.astype(np.float32), "bias"),
        ],
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(built)
    return built


def main() -> None:
    all_texts = sorted(packages())
    # All packages of one source are on the same side.
    held = [p for p in all_texts if zlib.crc32(p[0].encode()) % 5 == 0]
    kept = [p for p in all_texts if zlib.crc32(p[0].encode()) % 5 != 0]
    model = LogisticRegression(C=20, max_iter=300, class_weight="balanced")
    model.fit(matrix([p[2] for p in kept]), [p[1] for p in kept])
    right = model.predict(matrix([p[2] for p in held])) == np.array([p[1] for p in held])
    labels = model.classes_.tolist()
    onnx.save(exported(model.coef_.T, model.intercept_), HERE.parent / "model" / "topics.onnx")
    (HERE.parent / "model" / "labels.json").write_text(json.dumps(labels) + "\n")
    chosen = np.random.default_rng(7).choice(len(held), 100, replace=False)
    lines = [json.dumps({"text": held[at][2][:600], "label": held[at][1]}) for at in chosen]
    (HERE.parent / "heldout.jsonl").write_text("\n".join(lines) + "\n")
    some = model.predict(matrix([json.loads(line)["text"] for line in lines]))
    share = np.mean(some == np.array([json.loads(line)["label"] for line in lines]))
    print(f"{len(kept)} texts to learn from; held out: {right.mean():.4f} of {len(held)}, {share} of 100")
    print(labels)


if __name__ == "__main__":
    main()
