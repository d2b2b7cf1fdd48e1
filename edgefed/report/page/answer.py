"""The answer in plain words, what it needs from the clients, and what to beware of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from edgefed.notes import BEYOND, acting_on_a_part, few_test_rows, past_best, told_here_only
from edgefed.report.folder import CONTROL, RANKED, number
from edgefed.report.page import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgefed.report.folder import ComparisonFolder

KINDS = {"better": "better", "worse": "worse", "indistinguishable": "same", "too": "undecided", "control": "control"}
"""What a row of the page is, by the first word of its tier."""
NAMED = 4
"""Remedies up to which a sentence gives each its figures."""


def kind_of(arm: dict[str, Any]) -> str:
    """Return what an arm is: better, worse, same, undecided or control."""
    first = str(arm.get("tier") or "").partition(" ")[0]
    return KINDS.get(first, "control" if arm.get("name") == CONTROL else "undecided")


def arms_of(found: ComparisonFolder, kind: str) -> list[dict[str, Any]]:
    """Return the arms of a kind from the highest mean to the lowest."""
    return [arm for arm in found.arms if kind_of(arm) == kind]


def lead(found: ComparisonFolder) -> list[Markup]:
    """Return the answer: a sentence on what helps, one on what does not, one on what hurts, and how far that holds."""
    better, worse = arms_of(found, "better"), arms_of(found, "worse")
    same, undecided = arms_of(found, "same"), arms_of(found, "undecided")
    if not found.remedies:
        return [Markup("Nothing was compared: name remedies beside <code>none</code>.")]
    if undecided:
        return [Markup("Too few seeds to tell any remedy from <code>none</code>. {}").format(_needed(found))]
    total = len(found.remedies)
    parts = []
    if better:
        verb = "beats" if len(better) == 1 else "beat"
        parts.append(
            Markup("{} of {} {} training without one{}: {}.").format(
                _number_word(len(better)).capitalize(),
                "one remedy" if total == 1 else f"{_number_word(total)} remedies",
                verb,
                _here(better),
                _with_figures(better),
            )
        )
        parts += _beyond(better)
    if same:
        none = Markup("<code>none</code>")
        if not better and not worse:
            parts.append(Markup("No remedy can be told from training without one, with so many seeds."))
            parts.append(_largest(same))
        else:
            named = [Markup(escape(arm["name"])) for arm in same]
            if len(same) > NAMED:
                named = [Markup("The other {}").format(_number_word(len(same)))]
            parts.append(Markup("{} cannot be told from {}.").format(_join(named), none))
    if worse:
        parts.append(
            Markup("{} worse than none{}: {}.").format(
                "One is" if len(worse) == 1 else f"{_number_word(len(worse)).capitalize()} are",
                _here(worse),
                _with_figures(worse, -1),
            )
        )
        parts += _beyond(worse)
    return parts


def needs(found: ComparisonFolder) -> list[tuple[str, str]]:
    """Return each remedy that helps with what it needs from the clients."""
    return [(str(arm["name"]), need_of(arm)) for arm in arms_of(found, "better")]


def need_of(arm: dict[str, Any]) -> str:
    """Return what an arm needs from the clients, in words."""
    said = str(arm.get("needs") or "").strip()
    if said:
        return said
    asked = arm.get("needs_global_counts")
    return "" if asked is None else "global class counts: one more message" if asked else "nothing"


def notes(found: ComparisonFolder) -> list[str | Markup]:
    """Return what to keep in mind beside the answer."""
    said: list[str | Markup] = []
    better = arms_of(found, "better")
    if len(better) > 1:
        said.append("These are tiers, not a winner: each remedy is tested against none, not against the others.")
    ceiling = (found.result.get("references") or {}).get("pooled-before-tail")
    tops = better or ([found.control] if found.control else [])
    thinned = number((found.result.get("settings") or {}).get("long-tail", 2)) > 1  # older folders do not say
    if ceiling and tops and thinned:
        gap = number(ceiling["mean"]) - max(number(arm[RANKED]["mean"]) for arm in tops)
        if math.isfinite(gap) and gap > 0.005:
            said.append(
                f"What the tail took stays lost: with the rows that it dropped, pooled training reaches "
                f"{words.percent(ceiling['mean'])} %, {words.points(gap).lstrip('+')} points more than any of these."
                if better
                else f"With the rows that the tail dropped, pooled training reaches {words.percent(ceiling['mean'])} %."
            )
    return said


def warnings(found: ComparisonFolder) -> list[tuple[str, str]]:
    """Return what to beware of: a short head and a sentence each."""
    result, seeds = found.result, len(found.seeds)
    compared = [arm for arm in found.arms if arm.get("difference")]
    said = []
    few = few_test_rows(result)
    if few:
        said.append(("Few test rows", " ".join(map(words.sentence, few))))
    falling = [
        f"{arm['name']} ({arm['not_converged']} of {seeds} seeds)" for arm in found.arms if arm.get("not_converged")
    ]
    if falling:
        said.append(
            (
                "Not converged",
                f"The validation loss still fell by more than 1 % over the last tenth of the rounds: "
                f"{', '.join(falling)}. More rounds may change their place.",
            )
        )
    if late := past_best(result):
        said.append(
            (
                "Past its best",
                "The validation loss ended at least 5 % above its lowest (mean of the last tenth of the rounds; the "
                f"best round is the median over those seeds): {', '.join(late)}. Fewer rounds or a smaller rate may "
                "serve better.",
            )
        )
    tuned = result.get("tuned") or {}
    edge = [f"{name} ({row.get('learning-rate'):g})" for name, row in tuned.items() if row.get("on_the_edge")]
    if edge:
        said.append(
            (
                "Picked on the grid's edge",
                f"The best learning rate was the lowest or the highest tried: {', '.join(edge)}. A wider `--tune` may "
                "change it.",
            )
        )
    swings = []
    for arm in compared:
        steady = arm.get("last_tenth") or {}
        if steady.get("difference") and steady.get("tier") != arm.get("tier"):
            gap = words.points(steady["difference"]["mean"])
            swings.append(f"{arm['name']} ({gap} points, {steady['tier']})")
    if swings:
        said.append(
            (
                "The last tenth disagrees",
                f"Averaged over the last tenth of the rounds the finding is another: {', '.join(swings)}. The last "
                "round was fixed beforehand and is what is ranked; an answer that hangs on it is a weak one.",
            )
        )
    within = [
        f"{arm['name']} ({words.interval(arm['nadeau_bengio'], words.points)})"
        for arm in compared
        if told_here_only(arm)
    ]
    if within:
        said.append(
            (
                "Told on these rows alone",
                f"{words.sentence(BEYOND).rstrip('.')} (Nadeau and Bengio’s, in points): {', '.join(within)}.",
            )
        )
    diverged = [
        f"{arm['name']} (rate {row['learning_rate']:g}: {row['diverged']} of {seeds})"
        for arm in found.arms
        for row in arm.get("rates") or []
        if row.get("diverged") and row.get("learning_rate") == arm.get("learning_rate")
    ]
    if diverged:
        said.append(("Diverged", f"At the rate that was picked some runs diverged: {', '.join(diverged)}."))
    still = [arm["name"] for arm in compared if arm["difference"].get("ties") == seeds]
    if still:
        said.append(
            (
                "Exactly as none",
                f"Equal to none under every seed, nothing to remedy or nothing done: {', '.join(still)}.",
            )
        )
    if idle := acting_on_a_part(result):
        said.append(
            (
                "Acts on a part of the rows",
                f"Share of the training rows on clients where the remedy could do something: {', '.join(idle)}.",
            )
        )
    empties = number((result.get("empty_clients") or {}).get("mean"))
    if math.isfinite(empties) and empties > 0:
        said.append(("Empty clients", f"On average {empties:.1f} clients hold no training row; they send no update."))
    return said


def _largest(arms: Sequence[dict[str, Any]]) -> Markup:
    """Return the largest difference of those that are no finding, and what would have been found."""
    compared = [arm for arm in arms if arm.get("difference") and math.isfinite(_mean(arm))]
    if not compared:
        return Markup("")
    arm = max(compared, key=lambda one: abs(_mean(one)))
    if not _mean(arm):
        return Markup("All score exactly as it does.")
    missed = number(arm["difference"].get("detectable"))
    said = Markup("; a true difference below {} points would mostly be missed").format(words.percent(missed))
    return Markup("The largest difference is <strong>{}</strong>’s, {}{}.").format(
        arm["name"], _gap(arm), said if math.isfinite(missed) else ""
    )


def _needed(found: ComparisonFolder) -> str:
    finding = str(found.result.get("finding") or "")
    return f"{finding.rpartition(': ')[2].capitalize()}." if ": " in finding else ""


def _here(arms: Sequence[dict[str, Any]]) -> str:
    return " on these rows" if any(map(told_here_only, arms)) else ""


def _beyond(told: Sequence[dict[str, Any]]) -> list[Markup]:
    """Return the sentence that says which remedies are told on these rows alone; none where none is."""
    found = [arm for arm in told if told_here_only(arm)]
    if not found:
        return []
    whose = "" if len(found) == len(told) else f" of {_join([Markup(escape(arm['name'])) for arm in found])}"
    return [Markup(words.sentence(BEYOND.replace("the interval", f"the interval{whose}", 1)))]


def _with_figures(arms: Sequence[dict[str, Any]], sign: int = 1) -> Markup:
    if len(arms) > NAMED:
        most = max(arms, key=lambda arm: sign * _mean(arm))
        return _names(arms) + Markup("; the most is {}").format(_apart(most, sign, "95 % interval "))
    said = ["95 % interval ", *([""] * len(arms))]
    return _join(
        [
            Markup("<strong>{}</strong> by {}").format(arm["name"], _apart(arm, sign, what))
            for arm, what in zip(arms, said, strict=False)
        ]
    )


def _apart(arm: dict[str, Any], sign: int, what: str) -> str:
    """Return how far an arm is above none (``sign`` 1) or below it (-1), with its interval."""
    gap = arm.get("difference") or {}
    mean, *ends = (sign * number(gap.get(key)) for key in ("mean", "low", "high"))
    around = f" ({what}{' to '.join(words.percent(end).replace('-', '−') for end in sorted(ends))})"
    return f"{words.percent(mean)} points{around if all(map(math.isfinite, ends)) else ''}"


def _gap(arm: dict[str, Any]) -> str:
    difference = arm.get("difference") or {}
    around = words.interval(difference, words.points)
    return f"{words.points(difference.get('mean'))} points{f' (95 % interval {around})' if around else ''}"


def _mean(arm: dict[str, Any]) -> float:
    return number((arm.get("difference") or {}).get("mean"))


def _names(arms: Sequence[dict[str, Any]]) -> Markup:
    return _join([Markup("<strong>{}</strong>").format(arm["name"]) for arm in arms])


def _join(parts: Sequence[Markup]) -> Markup:
    if len(parts) < 2:
        return Markup("").join(parts)
    return Markup(", ").join(parts[:-1]) + " and " + parts[-1]


def _number_word(number_of: int) -> str:
    small = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return small[number_of] if number_of < len(small) else str(number_of)
