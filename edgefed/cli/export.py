"""``edgefed export``: a run's model for a device."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ModelFormat(StrEnum):
    """What a model is written as."""

    onnx = "onnx"


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)],
    output: Annotated[ModelFormat, typer.Option("--format", help="The file's format.")] = ModelFormat.onnx,
    out: Annotated[Path | None, typer.Option(help="The file (default: model.onnx in the run's folder).")] = None,
) -> None:
    """Write a run's model as one file for a device: scaler, feature and class names and logit shift inside."""
    from edgefed.api.export import export_onnx

    typer.echo(str(export_onnx(run, out or run / "model.onnx")))
