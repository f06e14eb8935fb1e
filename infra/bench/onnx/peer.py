"""ONNX Runtime and sentence-transformers, as the benchmarks' peers.

    pip install onnx onnxruntime numpy            # onnx-vision, onnx-load
    pip install torch sentence-transformers       # embed
    peer.py make FOLDER                           # writes resnet50.onnx, mobilenetv2.onnx
    peer.py export MODEL_FOLDER OUT.onnx          # an encoder in Hugging Face layout as ONNX, fp32
    peer.py load MODEL                            # prints seconds to a session that can run
    peer.py vision MODEL THREADS                  # for each line of input one run, prints its seconds
    peer.py embed ENGINE MODEL THREADS            # ENGINE is onnxruntime or sentence-transformers; reads a
                                                  # JSON list of lists of tokens a line, prints seconds
"""

import json
import sys
import time

import numpy as np


class Builder:
    """A graph with random weights, layer by layer."""

    def __init__(self) -> None:
        self.nodes, self.weights = [], []
        self.random = np.random.default_rng(0)

    def constant(self, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def op(self, kind: str, inputs: list[str], **attributes) -> str:
        from onnx import helper

        out = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def conv(self, x: str, size: tuple[int, int, int], stride: int = 1, groups: int = 1) -> str:
        inputs, outputs, kernel = size
        shape = (outputs, inputs // groups, kernel, kernel)
        scale = (2 / np.prod(shape[1:])) ** 0.5
        weights = self.constant(self.random.standard_normal(shape) * scale)
        pads = [kernel // 2] * 4
        y = self.op("Conv", [x, weights], strides=[stride] * 2, pads=pads, group=groups)
        one, zero = self.constant(np.ones(outputs)), self.constant(np.zeros(outputs))
        return self.op("BatchNormalization", [y, one, zero, zero, one])

    def model(self, x: str, channels: int):
        from onnx import TensorProto, helper

        y = self.op("Flatten", [self.op("GlobalAveragePool", [x])])
        weights = self.constant(self.random.standard_normal((1000, channels)) * channels**-0.5)
        y = self.op("Gemm", [y, weights, self.constant(np.zeros(1000))], transB=1)
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes, "vision", [value("x", TensorProto.FLOAT, ["n", 3, 224, 224])],
            [value(y, TensorProto.FLOAT, ["n", 1000])], self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def resnet50():
    """He et al. 2015."""
    b = Builder()
    x = b.op("Relu", [b.conv("x", (3, 64, 7), 2)])
    x = b.op("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for stage, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)]):
        for block in range(blocks):
            stride = 2 if block == 0 and stage > 0 else 1
            y = b.op("Relu", [b.conv(x, (channels, width, 1))])
            y = b.op("Relu", [b.conv(y, (width, width, 3), stride)])
            y = b.conv(y, (width, 4 * width, 1))
            way = b.conv(x, (channels, 4 * width, 1), stride) if block == 0 else x
            x = b.op("Relu", [b.op("Add", [y, way])])
            channels = 4 * width
    return b.model(x, channels)


def mobilenetv2():
    """Sandler et al. 2018."""
    b = Builder()
    zero, six = b.constant(np.array(0)), b.constant(np.array(6))
    relu6 = lambda x: b.op("Clip", [x, zero, six])
    x, channels = relu6(b.conv("x", (3, 32, 3), 2)), 32
    for factor, outputs, blocks, first in [
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ]:
        for block in range(blocks):
            stride, wide = first if block == 0 else 1, channels * factor
            y = relu6(b.conv(x, (channels, wide, 1))) if factor > 1 else x
            y = relu6(b.conv(y, (wide, wide, 3), stride, wide))
            y = b.conv(y, (wide, outputs, 1))
            x = b.op("Add", [x, y]) if stride == 1 and channels == outputs else y
            channels = outputs
    return b.model(relu6(b.conv(x, (channels, 1280, 1))), 1280)


def session(path: str, threads: int):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def answer_lines(work) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        work(line)
        print(time.perf_counter() - began, flush=True)


def padded(texts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    longest = max(map(len, texts))
    ids = np.zeros((len(texts), longest), np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    return ids, mask


def embed(engine: str, path: str, threads: int) -> None:
    if engine == "onnxruntime":
        ready = session(path, threads)

        def work(line: str) -> None:
            ids, mask = padded(json.loads(line))
            inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            states = ready.run(None, inputs)[0] * mask[:, :, None]
            mean = states.sum(1) / mask.sum(1, keepdims=True)
            mean / np.linalg.norm(mean, axis=1, keepdims=True)

        return answer_lines(work)
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(path, device="cpu")

    def run(line: str) -> None:
        ids, mask = map(torch.from_numpy, padded(json.loads(line)))
        with torch.inference_mode():
            model({"input_ids": ids, "attention_mask": mask})["sentence_embedding"]

    answer_lines(run)


def export(folder: str, out: str) -> None:
    import torch
    from transformers import AutoModel

    class States(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

        def forward(self, ids, mask, types):
            return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    model = States()
    ids = torch.ones((2, 8), dtype=torch.long)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch", 1: "length"} for name in [*names, "states"]}
    torch.onnx.export(
        model, (ids, ids, ids * 0), out, input_names=names, output_names=["states"],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )


def main() -> None:
    match sys.argv[1:]:
        case ["make", folder]:
            import onnx

            onnx.save(resnet50(), f"{folder}/resnet50.onnx")
            onnx.save(mobilenetv2(), f"{folder}/mobilenetv2.onnx")
        case ["export", folder, out]:
            export(folder, out)
        case ["load", path]:
            began = time.perf_counter()
            session(path, 1)
            print(time.perf_counter() - began)
        case ["vision", path, threads]:
            ready = session(path, int(threads))
            x = (np.arange(3 * 224 * 224) % 255 / 127 - 1).astype(np.float32)
            x = x.reshape(1, 3, 224, 224)
            answer_lines(lambda _: ready.run(None, {"x": x}))
        case ["embed", engine, path, threads]:
            embed(engine, path, int(threads))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
