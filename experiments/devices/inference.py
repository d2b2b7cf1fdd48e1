"""Latency and memory of an exported model on this machine, beside torch's.

    python experiments/devices/inference.py model.onnx RUN

Prints JSON: microseconds a row (median of 2,000 single rows after 200) and what a process holds in memory by then.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def resident() -> float:
    """Return this process's megabytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def timed(answer, row) -> dict[str, float]:
    """Return the median microseconds of one row, and the memory held."""
    seconds = []
    for turn in range(2200):
        begun = time.perf_counter()
        answer(row)
        if turn >= 200:
            seconds.append(time.perf_counter() - begun)
    return {"microseconds": round(1e6 * statistics.median(seconds), 1), "megabytes": round(resident(), 1)}


def onnx(model: str) -> dict[str, float]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    width = session.get_inputs()[0].shape[1]
    return timed(lambda row: session.run(["label"], {"features": row}), np.ones((1, width), np.float32))


def torch(run: str) -> dict[str, float]:
    import torch as package

    import edgefed

    package.set_num_threads(1)
    module = edgefed.load_model(run)
    width = module[0].in_features
    with package.no_grad():
        return timed(module, package.ones(1, width))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps({"onnx": onnx, "torch": torch}[sys.argv[1]](sys.argv[2])))
    else:
        model, run = sys.argv[1:]
        # Each in a process of its own: neither holds the other's imports.
        told = {
            name: json.loads(subprocess.check_output([sys.executable, __file__, name, path, "-"]))
            for name, path in (("onnx", model), ("torch", run))
        }
        print(json.dumps(told, indent=2))
