"""An explanation's figures from what clients said: by feature, by class, by client, and how far methods agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.analysis.explanation import FEW_ROWS, METHODS, agreement, by_class, by_client, stability
from edgefed.notes import FEWEST_ORDERED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgefed.federation.explanation import Arrays
    from edgefed.runs import Run

LISTED = 200
"""Clients whose own figures are listed: of more, those with the most rows."""
BY_CLASS = ("loss", "shap", "integrated-gradients")


def figures(runs: Sequence[Run], collected: Sequence[Arrays], ranked: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the runs' clients came to; features stand in the order of ``ranked`` everywhere."""
    first = collected[0]
    manifest = runs[0].manifest
    order = [manifest["features"].index(row["feature"]) for row in ranked]
    rows = [np.asarray(said["rows"].sum(1)) for said in collected]
    total = sum(int(own.sum()) for own in rows)
    ordered = len(order) >= FEWEST_ORDERED
    few = [own[(own > 0) & (own < FEW_ROWS)] for own in rows]
    return {
        "runs": len(runs),
        "seeds": [run.config.seed for run in runs],
        "interval_over": "seeds" if len(runs) > 1 else "clients",
        "rows": "held-out" if bool(first["held_out"]) else "training",
        "rows_explained": total,
        "clients": {
            "asked": sum(int(said["asked-clients"]) for said in collected),
            "explained": sum(int((own > 0).sum()) for own in rows),
            "under_ten_rows": sum(len(own) for own in few),
            "share_of_rows_there": sum(int(own.sum()) for own in few) / max(total, 1),
        },
        "repeats": int(first["repeats"]),
        "background_rows": int(first["background"]),
        "attributed_rows": sum(int(said["attributed-rows"].sum()) for said in collected),
        "log_loss": float(
            np.mean([said["loss"].sum() / max(own.sum(), 1) for said, own in zip(collected, rows, strict=True)])
        ),
        "importance": list(ranked),
        "classes": _classes(collected, manifest["classes"], order),
        "by_client": _clients(first, order),
        "agreement": {
            "methods": list(METHODS),
            "rank_correlation": agreement(collected) if ordered else [[None] * len(METHODS) for _ in METHODS],
        },
        "stability": stability(collected) if ordered else dict.fromkeys(METHODS),
    }


def _classes(collected: Sequence[Arrays], names: Sequence[str], order: Sequence[int]) -> list[dict[str, Any]]:
    found = {method: [by_class(said, method) for said in collected] for method in BY_CLASS}
    rows = []
    for label, name in enumerate(names):
        row: dict[str, Any] = {
            "class": name,
            "rows": sum(int(said["rows"][:, label].sum()) for said in collected),
            "attributed_rows": sum(int(said["attributed-rows"][:, label].sum()) for said in collected),
        }
        for method, runs in found.items():
            own = np.array([values[label] for values in runs])[:, order]
            held = np.isfinite(own)
            mean = np.where(held, own, 0).sum(0) / np.maximum(held.sum(0), 1)
            row[method] = np.where(held.any(0), mean, np.nan).tolist()
        rows.append(row)
    return rows


def _clients(said: Arrays, order: Sequence[int]) -> dict[str, Any]:
    """Return the increase in log-loss at each client of one run, those with the most rows first."""
    values, rows = by_client(said, "loss")
    shown = np.argsort(-rows, kind="stable")
    shown = shown[rows[shown] > 0][:LISTED]
    return {
        "clients": int((rows > 0).sum()),
        "client": said["client"][shown].tolist(),
        "rows": rows[shown].astype(int).tolist(),
        "loss": values[shown][:, order].tolist(),
    }
