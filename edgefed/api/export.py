"""A run's model as one ONNX file: rows in a person's own units go in, classes by name and probabilities come out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.categories import parsed_categories
from edgefed.errors import SettingsError
from edgefed.runs import Run, write_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPSET, IR_VERSION = 17, 8
"""Old enough for the runtimes that devices' vendors ship (onnxruntime 1.12 and later), and sufficient."""
ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


def export_onnx(run: Run | str | Path, path: str | Path) -> Path:
    """Write a run's model with everything around it: scaler, empty cells' means, logit shift, class names.

    Input ``features`` float32 [rows, features], in the order that the metadata key ``features`` lists; NaN is an empty
    cell. The key ``categories`` holds the values of each categorical column, whose indicators are features. Outputs
    ``label`` string [rows], ``class`` int64 [rows] and ``probabilities`` float64 [rows, classes]. The graph is that of
    :func:`edgefed.predict`, operation by operation: z = (x - mean) / scale in float64, the network in the run's own
    dtype, softmax(logits + shift) in float64.

    Parameters
    ----------
    run : Run or path
    path : path
        Written whole or not at all; a file that is there is replaced.

    Returns
    -------
    Path

    Raises
    ------
    SettingsError
        Where onnx is not installed, or the file cannot be written.
    """
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise SettingsError("export to onnx needs the extra: pip install 'edgefed[export]'") from None
    run = run if isinstance(run, Run) else Run.read(run)
    features, classes, known = run.manifest["features"], run.manifest["classes"], run.manifest["prediction"]
    constants: list[Any] = []
    nodes: list[Any] = []

    def constant(name: str, values: NDArray[Any]) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(operation: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    single = run.config.dtype == "float32"
    mean = constant("mean", np.array(known["mean"], np.float64))
    x = add("Cast", ["features"], "wide", to=TensorProto.DOUBLE)
    x = add("Where", [add("IsNaN", [x], "empty"), mean, x], "filled")
    if known["standardized"]:
        x = add("Sub", [x, mean], "centred")
        x = add("Div", [x, constant("scale", np.array(known["scale"], np.float64))], "standardized")
    x = add("Cast", [x], "network", to=TensorProto.FLOAT if single else TensorProto.DOUBLE)
    layers = list(run.weights.items())
    for (weight_name, weight), (bias_name, bias) in zip(layers[::2], layers[1::2], strict=True):
        layer = weight_name.removesuffix(".weight")
        x = add("Gemm", [x, constant(weight_name, weight), constant(bias_name, bias)], f"{layer}.out", transB=1)
        if weight_name != layers[-2][0]:
            x = add(ACTIVATIONS[run.config.activation], [x], f"{layer}.active")
    x = add("Cast", [x], "logits", to=TensorProto.DOUBLE)
    x = add("Add", [x, constant("logit_shift", np.array(known["logit_shift"], np.float64))], "shifted")
    add("Softmax", [x], "probabilities", axis=-1)
    # Not of the probabilities: far apart logits round to the same 1.
    add("ArgMax", [x], "class", axis=-1, keepdims=0)
    constants.append(helper.make_tensor("classes", TensorProto.STRING, [len(classes)], [c.encode() for c in classes]))
    add("Gather", ["classes", "class"], "label")

    graph = helper.make_graph(
        nodes,
        "edgefed",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", len(features)])],
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, ["rows"]),
            helper.make_tensor_value_info("class", TensorProto.INT64, ["rows"]),
            helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, ["rows", len(classes)]),
        ],
        constants,
    )
    model = helper.make_model(
        graph, producer_name="edgefed", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    summary = run.summary
    helper.set_model_props(
        model,
        {
            "features": json.dumps(features),
            "categories": json.dumps(parsed_categories(run.config.categories)),
            "classes": json.dumps(classes),
            "model_sha256": summary["model_sha256"],
            "balanced_accuracy": str(summary["test"].get("balanced_accuracy")),
        },
    )
    onnx.checker.check_model(model, full_check=True)
    path = Path(path)
    try:
        write_atomically(path, model.SerializeToString())
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written ({error.strerror})") from None
    return path
