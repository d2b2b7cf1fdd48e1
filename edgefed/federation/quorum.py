"""How many good replies a round needs, and what is said of those that were not."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from edgefed.errors import FederationError
from edgefed.federation.participation import LATE, SLOW

if TYPE_CHECKING:
    from edgefed.federation.federation import Federation
    from edgefed.federation.participation import Round
    from edgefed.federation.screening import Screened


def check_quorum(federation: Federation, plan: Round, found: Screened) -> None:
    """Stop a federation whose round got fewer good replies than ``min-replies``; nothing of it has changed yet.

    Counted are the clients that were drawn, those too that the round was planned to lose.

    Raises
    ------
    FederationError
        One line: how many of how many, and why not the others.
    """
    needed = federation.config.min_replies
    if found.counted >= needed:
        return
    kinds = [failure.kind for failure in found.failed]
    counts = {kind: kinds.count(kind) for kind in ("failed", "late", "refused")}
    counts["refused"] += len(found.refused)
    counts["answered in vain"] = len(found.in_vain)
    counts["silent"] = len(plan.clients) - found.counted - sum(counts.values())
    lost = Counter(filter(None, plan.lost))
    counts["late"] += lost.pop(LATE, 0)
    counts |= {f"{verdict}s" if verdict == SLOW and count > 1 else verdict: count for verdict, count in lost.items()}
    others = ", ".join(f"{count} {what}" for what, count in counts.items() if count > 0)
    raise FederationError(
        f"round {federation.round + 1}: {found.counted} of {len(plan.cohort)} clients gave a good reply"
        f"{f' ({others})' if others else ''}, min-replies={needed}; "
        f"{f'{found.why}; ' if found.why else ''}the rounds before it stand"
    )


def what_became(found: Screened) -> dict[str, Any]:
    """Return what a round's row says of replies that were not averaged: reasons of failures, counts of the others."""
    failed = [failure.reason for failure in found.failed if failure.kind != "late"]
    late = len(found.failed) - len(failed)
    said: dict[str, Any] = {}
    if failed:
        said["failed"] = failed
    if late:
        said["late"] = late
    if found.refused:
        said["refused"] = {str(client): why for client, why in sorted(found.refused.items())}
    return said
