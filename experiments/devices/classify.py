"""Classify rows on a device with an exported model: onnxruntime and NumPy, nothing of edgefed.

python classify.py model.onnx rows.csv
"""

import csv
import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
features = json.loads(session.get_modelmeta().custom_metadata_map["features"])
with open(sys.argv[2], newline="") as file:  # noqa: PTH123
    rows = [[float(row[name] or "nan") for name in features] for row in csv.DictReader(file)]
print(*session.run(["label"], {"features": np.array(rows, np.float32)})[0], sep="\n")
