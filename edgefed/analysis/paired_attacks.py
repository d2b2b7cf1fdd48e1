"""Two models attacked alike: what differs between them, on the rows that both were trained on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgefed.analysis.membership import Attack

COMPARED = ("auc", "rarest_auc", "tpr")
"""Measures of which there are differences: AUC over all classes and in the rarest one, and what is found."""


def on_shared_members(one: Attack, other: Attack) -> tuple[Attack, Attack]:
    """Return both attacks on the rows that are members of both.

    A remedy that draws fewer rows has fewer members, in another mix of classes, and some classes are easier to tell: a
    difference of two attacks on members of their own is as much of those as of the models.
    """
    shared = np.intersect1d(one.member_rows, other.member_rows)
    while len(shared) < max(one.members, other.members):  # what is left of a class may be too little in one of them
        one, other = one.among(shared), other.among(shared)
        shared = np.intersect1d(one.member_rows, other.member_rows)
    return one, other


def against(arm: Attack, control: Attack, rarest: int) -> dict[str, float]:
    """Return how much more one attack finds than the control's, by :data:`COMPARED`, and on how many ``members``.

    Parameters
    ----------
    arm, control : Attack
    rarest : int
        The class of ``rarest_auc``; nan where none of its rows is compared in both.
    """
    arm, control = on_shared_members(arm, control)
    return {
        "auc": arm.auc().mean - control.auc().mean,
        "rarest_auc": auc_in(arm, rarest) - auc_in(control, rarest),
        "tpr": arm.true_positives()[0] - control.true_positives()[0],
        "members": arm.members,
    }


def auc_in(attack: Attack, label: int) -> float:
    """Return AUC within one class; nan where the class is not compared."""
    return next((row["auc"] for row in attack.by_class() if row["label"] == label), math.nan)
