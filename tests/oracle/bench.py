"""What `cargo xtask bench predict` compares with: a case of the size of a head, and nnU-Net's own resampling of it.

usage: bench.py case OUTPUT_FOLDER     writes OUTPUT_FOLDER/bench as make.py writes its cases
       bench.py resampling             prints the seconds of nnU-Net's resampling, as JSON
       bench.py peak                   prints the GFLOP/s of torch's product of two matrices, as JSON
"""

import json
import os
import sys
import tempfile
import time
import pathlib

import numpy as np
import torch

import make


def write_case(output: pathlib.Path) -> None:
    """181 x 217 x 181 voxels of 1 mm, a patch of 96^3, a PlainConvUNet of 1.4 million parameters.

    No voxel is zero, so that nothing is cropped away and 36 tiles are seen.
    """
    drawn = make.draw_channel
    make.draw_channel = lambda *arguments: drawn(*arguments) + 1
    case = make.Case("bench", "a head at 1 mm", shape=(181, 217, 181), patch=(96, 96, 96))
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {f"nnUNet_{name}": f"{scratch}/{name}" for name in ("raw", "preprocessed", "results")}
        make.write_case(case, make.Size(1, 1, 16, 128, 4, []), output)


def resampling() -> dict[str, float]:
    """An image of 320 x 384 x 384 voxels at 0.5 mm to 0.7 mm, and logits of two classes back."""
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape as resample

    fine, coarse = (320, 384, 384), (229, 274, 274)
    image = np.random.default_rng(1).standard_normal((1, *fine), dtype=np.float32)
    arguments = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    begun = time.perf_counter()
    resample(image, coarse, [0.5] * 3, [0.7] * 3, order=3, **arguments)
    there = time.perf_counter() - begun
    logits = np.random.default_rng(2).standard_normal((2, *coarse), dtype=np.float32)
    begun = time.perf_counter()
    back = resample(logits, fine, [0.7] * 3, [0.5] * 3, order=1, **arguments)
    back.argmax(0)
    return {"image": there, "logits": time.perf_counter() - begun}


def peak() -> float:
    """The most that this machine does in float32: the best of ten products of two 4096 x 4096 matrices."""
    side = 4096
    one, other = torch.rand(side, side), torch.rand(side, side)
    seconds = []
    for _ in range(10):
        begun = time.perf_counter()
        one @ other
        seconds.append(time.perf_counter() - begun)
    return 2 * side**3 / min(seconds) / 1e9


def main() -> None:
    match sys.argv[1:]:
        case ["case", output]:
            torch.set_num_threads(os.cpu_count() or 1)
            write_case(pathlib.Path(output))
        case ["peak"]:
            print(json.dumps(peak()))
        case ["resampling"]:
            print(json.dumps(resampling()))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
