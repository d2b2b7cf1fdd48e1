"""From a federation to its run folder: what is written before, during and after the rounds."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from edgefed.data.datasets import DATASETS, fingerprint
from edgefed.data.partition import PARTITIONS
from edgefed.federation.account import account
from edgefed.federation.federation import clients_test
from edgefed.imbalance import REMEDIES
from edgefed.learning.training import Execution
from edgefed.runs import Run, model_hash

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edgefed.config import FederationConfig
    from edgefed.data.shards import FederatedData
    from edgefed.federation.federation import ClientRows, Federation

PACKAGES = ("edgefed", "flwr", "imbalanced-learn", "numpy", "scikit-learn", "torch")


def environment(command: str = "") -> dict[str, Any]:
    """Return what a result depends on beside its settings: versions, the machine's kind, the person's command.

    Not this process's arguments: those that Flower starts a ServerApp with hold a token.
    """
    return {
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "platform": {"system": platform.system(), "machine": platform.machine()},
        "command": command,
        "git": _git_state(),
    }


def _git_state() -> str | None:
    """Return the commit of the working folder, marked where it has changes; None outside a repository."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


def opening_manifest(
    config: FederationConfig,
    data: FederatedData,
    engine: str,
    environment: Any,
    execution: Execution | None = None,
) -> dict[str, Any]:
    """Return what a run's manifest says before its first round."""
    dataset, parts = data.dataset, data.split
    remedy = REMEDIES[config.imbalance](config)
    counts = data.class_counts
    return {
        "format": 1,
        "engine": engine,
        "environment": environment,
        "execution": asdict(execution or Execution.here()),
        "plugins": plug_ins(config),
        "data_sha256": fingerprint(dataset) if len(dataset.labels) else "",  # devices' rows are not here to be hashed
        "features": list(dataset.feature_names),
        "classes": list(dataset.class_names),
        "rows": {
            "train": int(data.shards.train.sizes.sum()),
            "held_out": int(data.shards.held_out.sizes.sum()),
            "validation": len(parts.validation),
            "test": len(parts.test),
        },
        **({"empty_cells": [asdict(column) for column in dataset.empty]} if dataset.empty else {}),
        "long_tail_order": [dataset.class_names[label] for label in parts.order],
        **({"client_names": list(dataset.client_names)} if dataset.client_names else {}),
        "shards": {"class_counts": counts.tolist(), "idle": remedy.idle_because(counts)},
    }


def plug_ins(config: FederationConfig) -> dict[str, str]:
    """Return the packages, with their versions, that settings' names come from: setting -> package."""
    named = {
        "dataset": DATASETS.package(config.dataset),
        "partition": PARTITIONS.package(config.partition),
        "imbalance": REMEDIES.package(config.imbalance),
    }
    return {key: package for key, package in named.items() if package}


def closing_manifest(federation: Federation, opening: dict[str, Any], name: str, seconds: float) -> dict[str, Any]:
    """Return the finished run's manifest: how to predict with the model, and the summary."""
    weights = federation.model.state_dict(federation.weights)
    last = federation.history[-1]
    # Devices that were all gone in the last round were tested in an earlier one.
    tested: dict[str, Any] = next((row["test"] for row in reversed(federation.history) if "test" in row), {})
    shift = federation.prediction_shift
    summary = {
        "run": name,
        "engine": opening["engine"],
        "rounds": federation.round,
        "clients": len(federation.nodes),
        "client_updates": federation.client_updates,
        "seconds": round(seconds, 6),
        "test": {key: value for key, value in tested.items() if key != "confusion"},
        "validation": {key: value for key, value in last.get("validation", {}).items() if key != "confusion"},
        "clients_test": clients_test(federation),
        "bytes": {
            "up": federation.query_bytes[0] + federation.bytes_up + federation.explanation_bytes[0],
            "down": federation.query_bytes[1] + federation.bytes_down + federation.explanation_bytes[1],
        },
        "payload_bytes": {way: sum(row["payload"][way] for row in federation.history) for way in ("up", "down")},
        "modelled": {
            "seconds": sum(row["modelled"]["seconds"] for row in federation.history),
            "joules": sum(row["modelled"]["joules"] for row in federation.history),
        },
        "model_sha256": model_hash(weights),
    }
    promised = account(federation)
    if promised is not None:
        summary["privacy"] = promised
    if federation.config.privacy == "secagg":
        summary["secagg"] = _sums(federation)
    return opening | {
        "prediction": {
            "mean": federation.guidance.mean.tolist(),
            "scale": federation.guidance.scale.tolist(),
            "standardized": federation.config.standardize != "none",
            "logit_shift": shift.tolist(),
        },
        "class_counts_asked": federation.guidance.class_counts is not None,
        "applied": _applied(federation, opening["classes"]),
        "edge": federation.participation.summary(federation.round, federation.label_counts),
        "query_bytes": {"up": federation.query_bytes[0], "down": federation.query_bytes[1]},
        "explanation_bytes": {"up": federation.explanation_bytes[0], "down": federation.explanation_bytes[1]},
        "ledger": federation.disclosed.rows(federation.config, of_devices=bool(federation.told)),
        "summary": summary,
    }


def _sums(federation: Federation) -> dict[str, Any]:
    """Return what secure aggregation did: rounds that were summed, numbers clipped, the fewest clients in a sum."""
    summed = [row for row in federation.history if "secagg" in row]
    return {
        "rounds": len(summed),
        "fewest_clients": min((row["clients"] for row in summed), default=0),
        "clipped": sum(row["secagg"]["clipped"] for row in summed),
        "clipping_range": federation.config.secagg_clipping_range,
    }


def _applied(federation: Federation, classes: list[str]) -> dict[str, Any] | None:
    """Return what the remedy was asked for and did on each client, and why not more; None where nobody can say."""
    if federation.applied is None:
        return None
    found = federation.applied(federation.guidance)
    words = [
        "; ".join(reason if label < 0 else f"{classes[label]}: {reason}" for label, reason in notes)
        for notes in found["why"]
    ]
    return {"asked": federation.config.imbalance} | found | {"why": words}


def finished_run(
    federation: Federation, opening: dict[str, Any], name: str, seconds: float, folder: Path | None
) -> Run:
    """Return a finished federation as a run."""
    return Run(
        config=federation.config,
        manifest=closing_manifest(federation, opening, name, seconds),
        rounds=federation.history,
        weights=federation.model.state_dict(federation.weights),
        folder=folder,
    )


def client_rows(federation: Federation, since: int = 0) -> list[tuple[Any, ...]]:
    """Return a row a client a round, for the rounds after ``since``."""
    return listed_clients(entry for entry in federation.clients if entry.round > since)


def listed_clients(rounds: Iterable[ClientRows]) -> list[tuple[Any, ...]]:
    """Return a row a client a round."""
    return [
        (entry.round, *cells)
        for entry in rounds
        for cells in zip(
            entry.ids.tolist(),
            entry.rows.tolist(),
            entry.steps.tolist(),
            entry.loss.tolist(),
            entry.verdicts,
            strict=True,
        )
    ]
