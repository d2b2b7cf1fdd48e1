"""Classify rows on a device with an exported model: onnxruntime and NumPy, nothing of edgefed.

pip install onnxruntime numpy
python classify.py model.onnx rows.csv
"""

import csv
import json
import sys

import numpy as np
import onnxruntime

if len(sys.argv) != 3:
    sys.exit("python classify.py model.onnx rows.csv")
session = onnxruntime.InferenceSession(sys.argv[1])
told = session.get_modelmeta().custom_metadata_map
features, categories = json.loads(told["features"]), json.loads(told["categories"])
with open(sys.argv[2], newline="") as file:  # noqa: PTH123
    cells = [{name: (text or "").strip() for name, text in row.items()} for row in csv.DictReader(file)]
empty = {"", "na", "nan", "null", "none", "?"}  # counts as the feature's mean
for row in cells:
    for column, values in categories.items():
        if column not in row:
            sys.exit(f"{sys.argv[2]} has no column {column}")
        if (cell := row[column]) not in values and cell.lower() not in empty:
            sys.exit(f"{column} is {cell}, and the model knows {', '.join(values)}")
        row |= {f"{column}={value}": str(int(cell == value)) if cell in values else "" for value in values}
if lacking := [name for name in features if cells and name not in cells[0]]:
    sys.exit(f"{sys.argv[2]} has no column {lacking[0]}")
rows = [["nan" if row[name].lower() in empty else row[name] for name in features] for row in cells]
print(*session.run(["label"], {"features": np.array(rows, np.float32)})[0], sep="\n")
