"""Trains a small convolutional network on scikit-learn's handwritten digits and writes it as ONNX.

    pip install -r requirements.txt && python train.py

Writes ../model/digits.onnx, and of the fifth of the digits that training never sees: all of them, in
hexadecimal, with their labels (../heldout.json), and one as a picture (../seven.png).
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).resolve().parent
EPOCHS = 60


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, 10),
    )


def shifted(batch: torch.Tensor) -> torch.Tensor:
    """Each picture moved by up to one pixel."""
    padded = nn.functional.pad(batch, (1, 1, 1, 1))
    places = torch.randint(0, 3, (len(batch), 2))
    return torch.stack([p[:, y : y + 8, x : x + 8] for p, (y, x) in zip(padded, places.tolist())])


def train(model: nn.Sequential, x: torch.Tensor, y: torch.Tensor) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    for _ in range(EPOCHS):
        for at in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(shifted(x[at])), y[at]).backward()
            optimiser.step()
        schedule.step()


def exported(model: nn.Sequential) -> onnx.ModelProto:
    """The network as a graph, layer by layer."""
    nodes, weights, value = [], [], "image"

    def constant(name: str, tensor: torch.Tensor) -> str:
        weights.append(numpy_helper.from_array(tensor.detach().numpy().astype(np.float32), name))
        return name

    for at, layer in enumerate(model):
        name = f"layer{at}"
        out = "logits" if at == len(model) - 1 else name
        of = lambda part, tensor: constant(f"{name}.{part}", tensor)
        if isinstance(layer, nn.Conv2d):
            node = helper.make_node("Conv", [value, of("weight", layer.weight)], [out], pads=[1] * 4)
        elif isinstance(layer, nn.BatchNorm2d):
            parts = [of("weight", layer.weight), of("bias", layer.bias),
                     of("mean", layer.running_mean), of("variance", layer.running_var)]
            node = helper.make_node("BatchNormalization", [value, *parts], [out], epsilon=layer.eps)
        elif isinstance(layer, nn.MaxPool2d):
            node = helper.make_node("MaxPool", [value], [out], kernel_shape=[2, 2], strides=[2, 2])
        elif isinstance(layer, nn.Linear):
            parts = [of("weight", layer.weight), of("bias", layer.bias)]
            node = helper.make_node("Gemm", [value, *parts], [out], transB=1)
        else:
            node = helper.make_node({nn.ReLU: "Relu", nn.Flatten: "Flatten"}[type(layer)], [value], [out])
        nodes.append(node)
        value = out
    graph = helper.make_graph(
        nodes, "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        weights,
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(built)
    return built


def bytes_of(image: np.ndarray) -> np.ndarray:
    """Grey values of 0 to 255."""
    return np.round(image * 255).astype(np.uint8)


def main() -> None:
    torch.manual_seed(7)
    torch.set_num_threads(2)
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    x, held, y, labels = train_test_split(
        images, digits.target, test_size=0.2, random_state=7, stratify=digits.target
    )
    model = network()
    train(model, torch.from_numpy(x)[:, None], torch.from_numpy(y))
    model.eval()
    path = HERE.parent / "model" / "digits.onnx"
    onnx.save(exported(model), path)
    # What the example sees are bytes of a picture.
    seen = np.round(held * 255).astype(np.float32)[:, None] / 255
    ours = model(torch.from_numpy(seen)).detach().numpy()
    theirs = onnxruntime.InferenceSession(path).run(None, {"image": seen})[0]
    assert np.abs(ours - theirs).max() < 1e-3
    pixels = [bytes_of(image).tobytes().hex() for image in held]
    (HERE.parent / "heldout.json").write_text(
        json.dumps({"labels": labels.tolist(), "pixels": pixels}) + "\n"
    )
    seven = held[labels.tolist().index(7)]
    Image.fromarray(bytes_of(seven)).save(HERE.parent / "seven.png")
    accuracy = (theirs.argmax(1) == labels).mean()
    print(f"held out: {accuracy:.4f} of {len(labels)}; {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
