"""Classify rows on a device with an exported model: onnxruntime and NumPy, nothing of edgefed.

python classify.py model.onnx rows.csv
"""

import csv
import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
told = session.get_modelmeta().custom_metadata_map
features, categories = json.loads(told["features"]), json.loads(told["categories"])
with open(sys.argv[2], newline="") as file:  # noqa: PTH123
    cells = list(csv.DictReader(file))
for row in cells:
    for column, values in categories.items():
        if (cell := row[column].strip()) and cell not in values:
            sys.exit(f"{column} is {cell}, and the model knows {', '.join(values)}")
        row |= {f"{column}={value}": cell and str(int(cell == value)) for value in values}
rows = [[float(row[name] or "nan") for name in features] for row in cells]
print(*session.run(["label"], {"features": np.array(rows, np.float32)})[0], sep="\n")
