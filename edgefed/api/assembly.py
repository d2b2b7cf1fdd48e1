"""From settings to federations that are ready to run, and from finished federations to runs."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from edgefed.engines.grid import InProcessGrid
from edgefed.federation.clients import Clients, model_of
from edgefed.federation.evaluation import HeldOut
from edgefed.federation.rounds import Federation, clients_test
from edgefed.federation.strategies import STRATEGIES
from edgefed.imbalance import REMEDIES
from edgefed.runs import Run, model_hash

if TYPE_CHECKING:
    from pathlib import Path

    from edgefed.config import FederationConfig
    from edgefed.data.shards import FederatedData
    from edgefed.engines.grid import Engine

PACKAGES = ("edgefed", "flwr", "imbalanced-learn", "numpy", "scikit-learn", "torch")


def held_by_server(data: FederatedData, rows: str) -> HeldOut:
    """Return the server's ``validation`` or ``test`` rows."""
    chosen = getattr(data.split, rows)
    return HeldOut(data.dataset.features[chosen], data.dataset.labels[chosen])


def in_process(config: FederationConfig, data: FederatedData, engine: Engine) -> Federation:
    """Return a federation whose clients live in this process and are answered by ``engine``."""
    clients = Clients(config, data.shards)
    model = model_of(config, data.dataset.features.shape[1], data.dataset.num_classes)
    return Federation(
        config=config,
        grid=InProcessGrid(clients, engine),
        strategy=STRATEGIES[config.strategy](model),
        model=model,
        validation=held_by_server(data, "validation"),
        test=held_by_server(data, "test"),
        label_counts=data.class_counts,
    )


def environment() -> dict[str, Any]:
    """Return what a result depends on beside its settings: versions and the machine's kind."""
    return {
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "platform": {"system": platform.system(), "machine": platform.machine()},
        "command": " ".join(sys.argv[1:]),
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


def opening_manifest(config: FederationConfig, data: FederatedData, engine: str, environment: Any) -> dict[str, Any]:
    """Return what a run's manifest says before its first round."""
    dataset, parts = data.dataset, data.split
    remedy = REMEDIES[config.imbalance](config)
    counts = data.class_counts
    return {
        "format": 1,
        "engine": engine,
        "environment": environment,
        "features": list(dataset.feature_names),
        "classes": list(dataset.class_names),
        "rows": {"train": len(parts.pool), "validation": len(parts.validation), "test": len(parts.test)},
        "long_tail_order": [dataset.class_names[label] for label in parts.order],
        "shards": {"class_counts": counts.tolist(), "idle": remedy.idle_because(counts)},
    }


def closing_manifest(federation: Federation, opening: dict[str, Any], name: str, seconds: float) -> dict[str, Any]:
    """Return the finished run's manifest: how to predict with the model, and the summary."""
    weights = federation.model.state_dict(federation.weights)
    last = federation.history[-1]
    shift = federation.prediction_shift
    summary = {
        "run": name,
        "engine": opening["engine"],
        "rounds": federation.round,
        "clients": len(federation.nodes),
        "client_updates": federation.client_updates,
        "seconds": round(seconds, 6),
        "test": {key: value for key, value in last["test"].items() if key != "confusion"},
        "validation": {key: value for key, value in last.get("validation", {}).items() if key != "confusion"},
        "clients_test": clients_test(federation),
        "bytes": {"up": federation.bytes_up, "down": federation.bytes_down},
        "model_sha256": model_hash(weights),
    }
    return opening | {
        "prediction": {
            "mean": federation.guidance.mean.tolist(),
            "scale": federation.guidance.scale.tolist(),
            "standardized": federation.config.standardize != "none",
            "logit_shift": shift.tolist(),
        },
        "class_counts_asked": federation.guidance.class_counts is not None,
        "query_bytes": {"up": federation.query_bytes[0], "down": federation.query_bytes[1]},
        "summary": summary,
    }


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
    return [
        (entry.round, *cells)
        for entry in federation.clients
        if entry.round > since
        for cells in zip(
            entry.ids.tolist(),
            entry.rows.tolist(),
            entry.steps.tolist(),
            entry.loss.tolist(),
            entry.verdicts,
            strict=True,
        )
    ]
