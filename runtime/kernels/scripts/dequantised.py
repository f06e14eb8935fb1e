"""Writes fixtures/FORMAT.bin: random blocks of each GGUF format, and what the gguf package makes of them.

Each file is the number of blocks (u32), the blocks, and their values (f32), little-endian.
Needs `pip install gguf numpy`; run it from the crate's folder when a format is added.
"""

import struct
from pathlib import Path

import gguf
import numpy as np

# Where each format keeps its f16 scales: random bytes there must not be infinite or NaN.
HALVES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}


def blocks_of(name, random):
    values, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    count = 16 if values == 32 else 3
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    for at in HALVES[name]:
        blocks[:, at + 1] &= 0xBF  # not the largest exponent, so finite
        blocks[0, at + 1] &= 0x83  # a subnormal scale, or a negative one
        blocks[1, at : at + 2] = 0
    blocks[2, :] |= np.uint8(0x0F)
    for at in HALVES[name]:
        blocks[2, at + 1] = 0x3C
    return blocks


def main():
    random = np.random.default_rng(4)
    for name in HALVES:
        blocks = blocks_of(name, random)
        kind = gguf.GGMLQuantizationType[name]
        values = gguf.quants.dequantize(blocks.reshape(-1), kind).astype("<f4")
        assert np.isfinite(values).all()
        data = struct.pack("<I", len(blocks)) + blocks.tobytes() + values.tobytes()
        Path("fixtures", f"{name}.bin").write_bytes(data)


if __name__ == "__main__":
    main()
