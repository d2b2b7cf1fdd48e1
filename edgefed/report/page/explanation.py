"""The page of an explanation: which features matter, how sure we are, for whom, and what to beware of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from edgefed.report.folder import number
from edgefed.report.page import words
from edgefed.report.page.blocks import Links, Page, Section, Terms
from edgefed.report.page.explained_features import by_class, by_client, columns, methods, ranked
from edgefed.report.page.explained_rows import confusion, effects, examples, reliability, selected
from edgefed.report.page.repeat import repeat

if TYPE_CHECKING:
    from edgefed.report.folder import ExplanationFolder

NAMED = 2
"""Features that the answer names at most."""
SMALL = 0.1
"""What is smaller is written with a digit more."""
MANY = 10
"""Features from which on one of their intervals may well lie above 0 by chance."""
APART = 0.5
"""Share of a feature's variance between clients from which on permutations within clients miss much of it."""

MEANINGS = {
    "Permutation importance": "How much worse the model does when one feature's values are shuffled among a client's "
    "own rows. Each client shuffles for itself and answers with sums; rows stay where they are.",
    "Log-loss": "How far predicted probabilities are from the truth: 0 is certain and right. An increase of 0.69 is "
    "what halving the probability of the true class costs.",
    "SHAP value": "What a feature adds to the probability of a class, compared with background rows, averaged over the "
    "orders in which features can be told to the model. The values of a row add up to its probability minus the "
    "background's.",
    "Integrated gradients": "The same question, answered by following the model's slope from a baseline to the row. "
    "Here the baseline is the mean of the client's own background rows.",
    "Background": "What a row is compared with: on a client its own training rows, never another client's; on the "
    "server its own validation rows.",
    "Partial dependence": "The mean probability over rows with one feature set to a value. Where features go together, "
    "some of these rows are unlike any real one.",
    "ANOVA F, mutual information": "How much a feature alone says of the class, from counts, means and squared "
    "deviations that add up over clients. They know the rows and not the model.",
    "Rank correlation": "1 where two lists have the same order, 0 where one says nothing of the other, −1 where they "
    "are opposite (Spearman).",
    "Expected calibration error": "The mean distance between how sure the model is and how often it is right, over "
    "bins of equally many rows.",
    "Brier score": "The squared distance between predicted probabilities and the truth; lower is better.",
}


def explanation_page(found: ExplanationFolder) -> Page:
    """Return the page of an explanation; a section whose figures the folder does not have is left out."""
    result = found.result
    clients = result["clients"]
    kind = "held out by clients" if result["rows"] == "held-out" else "clients train on"
    facts = [
        ("Features", words.count(len(found.features))),
        (
            f"Rows that {kind}" if result["rows"] != "held-out" else "Rows held out by clients",
            words.count(result["rows_explained"]),
        ),
        ("Clients", words.count(clients["explained"])),
        *([("Seeds", words.count(result["runs"]))] if result["runs"] > 1 else []),
        ("Permutations", words.count(result["repeats"])),
        ("Rows attributed", words.count(result["attributed_rows"])),
        ("Time", words.seconds(result.get("seconds"))),
    ]
    sections = [
        columns(found),
        ranked(found),
        methods(found),
        by_client(found),
        by_class(found),
        effects(found),
        examples(found),
        reliability(found),
        confusion(found),
        selected(found),
        Section("beware", "Before you rely on this", [Terms(caveats(found), "warnings")]),
        _more(found),
        _repeat(found),
        Section("terms", "In plain words", [Terms(list(MEANINGS.items()))]),
    ]
    return Page(
        title=f"What the model uses: {result['explained']}",
        kicker="Explanation",
        lead=_lead(found),
        facts=[(name, value) for name, value in facts if value and value != words.NOTHING],
        sections=sections,
        notes=_notes(found),
    )


def _lead(found: ExplanationFolder) -> list[Markup]:
    """Return the answer: the strongest features by the mean, and which of them the interval leaves no doubt of."""
    kind = "column" if found.columns else "feature"
    rows = found.columns or found.result["importance"]
    named = [row for row in rows[:NAMED] if number(row["mean"]) > 0]
    if not named:
        return [Markup("No {}, shuffled on its own, makes the model worse.").format(kind)]
    figures = [
        Markup("<strong>{}</strong> ({}{})").format(row[kind], _signed(row["mean"]), _interval(row)) for row in named
    ]
    listed = Markup(" and ").join(part for part in (Markup(", ").join(figures[:-1]), figures[-1]) if part)
    said = [
        Markup("The model leans most on {}: so much does its log-loss rise when the {} is shuffled.").format(
            listed, kind
        )
    ]
    over = found.result["interval_over"]
    doubtful = [row[kind] for row in named if not number(row["low"]) > 0]
    if not any(number(row["low"]) > 0 for row in rows):
        said.append(
            Markup("No {}’s interval lies above 0: over so few {} the order is not certain.").format(kind, over)
        )
    elif doubtful:
        which = "The interval of {} includes" if len(doubtful) == 1 else "The intervals of {} include"
        said.append(Markup(which + " 0: {} differ that much.").format(words.listed(doubtful), over))
    above = sum(number(row["low"]) > 0 for row in rows)
    if above and len(rows) >= MANY:
        # A two-sided 95 % interval around nothing lies above 0 once in forty times.
        said.append(
            Markup("{} of {} {}s have an interval above 0; where none had an effect, about {} would by chance.").format(
                above, len(rows), kind, f"{len(rows) / 40:.1f}"
            )
        )
    rest = [row for row in rows[NAMED:] if number(row["low"]) > 0]
    if rest:
        verb = "has" if len(rest) == 1 else "have"
        said.append(Markup("{} {} an interval above 0 as well.").format(words.many(len(rest), f"weaker {kind}"), verb))
    return said


def _signed(value: Any) -> str:
    found = number(value)
    return f"{found:+.{2 if abs(found) >= SMALL else 3}f}".replace("-", "−")


def _interval(row: dict[str, Any]) -> str:
    said = words.interval(row, _signed)
    return f"; 95 %: {said}" if said else ""


def _notes(found: ExplanationFolder) -> list[str | Markup]:
    result = found.result
    over = (
        f"Intervals are over {result['runs']} seeds, each with its own split, shards and first weights."
        if result["interval_over"] == "seeds"
        else "Intervals are over clients, for this one model: how another seed’s model would look they do not say. "
        "Explain a comparison, or several runs, for that."
    )
    training = (
        "Clients hold no rows out (`client-test-fraction=0`): what is explained is how the model uses the rows that it "
        "was trained on."
    )
    return [over, *([training] if result["rows"] == "training" else [])]


def caveats(found: ExplanationFolder) -> list[tuple[str, str]]:
    """Return what the figures cannot see, as (head, sentence)."""
    result = found.result
    clients = result["clients"]
    said = []
    known = [row for row in result["importance"] if math.isfinite(number(row["between_clients"]))]
    apart = [row for row in known if number(row["between_clients"]) >= APART]
    shares = [f"{row['feature']} ({words.percent(row['between_clients'], 0)} %)" for row in apart]
    said.append(
        (
            "Between clients",
            "A client can only shuffle what varies among its own rows. A feature that differs between clients and not "
            "within them, as a sensor’s calibration does, looks useless here."
            + (
                f" Most of the variance lies between clients for {words.listed(shares)}."
                if shares
                else " Here no feature has most of its variance between clients."
                if known
                else " What share of the variance lies there cannot be told: no client has two training rows."
            ),
        )
    )
    if clients["under_ten_rows"]:
        said.append(
            (
                "Small shards",
                f"{words.many(clients['under_ten_rows'], 'client')} of {words.count(clients['explained'])} "
                f"{'has' if clients['under_ten_rows'] == 1 else 'have'} fewer than ten of the rows explained "
                f"({words.percent(clients['share_of_rows_there'], 0)} % of all). Shuffling so few says little of that "
                "client, and leaves one row in place on average: such clients understate importance.",
            )
        )
    silent = clients["asked"] - clients["explained"]
    if silent > 0:
        said.append(
            (
                "Silent clients",
                f"{words.many(silent, 'client')} of {words.count(clients['asked'])} gave no row or no answer.",
            )
        )
    if result["rows"] == "training":
        said.append(
            (
                "Training rows",
                "On rows that it was trained on, a model may seem to use what it only memorised. "
                "With `client-test-fraction=0.2` clients keep rows apart for this.",
            )
        )
    said.append(
        (
            "Features that go together",
            "Where two features carry the same message, shuffling one leaves the other to stand in: both may look "
            "weak. Shuffled rows may be unlike any real one.",
        )
    )
    tail = found.run.config.long_tail
    if tail > 1 and result.get("calibration"):
        said.append(
            (
                "Mix of classes",
                f"The test rows hold what the long tail ({tail:g}) took from training: calibration and confusion are "
                "at that mix, not at the data’s own.",
            )
        )
    said.append(
        (
            "This model, not the world",
            "Importance says what this model uses. It does not say what causes the class, nor what another good model "
            "would use.",
        )
    )
    said.append(
        (
            "What left the clients",
            "Counts, means and sums by class, no row. But where a client has a single row of a class, the mean is that "
            "row: this is no privacy guarantee.",
        )
    )
    return said


def _more(found: ExplanationFolder) -> Section:
    """Return links to what lies beside the page."""
    pictures = sorted((found.folder / "explanation" / "plots").glob("*.png"))
    items = [(f"explanation/plots/{picture.name}", f"{picture.stem}, PNG; SVG beside it") for picture in pictures]
    if (found.folder / "report.html").is_file():
        kind = "comparison" if (found.folder / "comparison.json").is_file() else "run"
        items.insert(0, ("report.html", f"The {kind}’s own page"))
    return Section(
        "files", "Pictures and figures", [Links([*items, ("explanation/explanation.json", "All figures, JSON")])]
    )


def _repeat(found: ExplanationFolder) -> Section:
    manifest = found.run.manifest
    facts = [
        ("Model, SHA-256", str(found.run.summary.get("model_sha256") or "")),
        ("Rows, SHA-256", str(manifest.get("data_sha256") or "")),
    ]
    commands = [("This page and its figures", "edgefed explain FOLDER")]
    return repeat(
        found.run.config.to_mapping(),
        manifest.get("environment") or {},
        commands,
        [fact for fact in facts if fact[1]],
    )
