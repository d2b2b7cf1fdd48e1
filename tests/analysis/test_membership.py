"""Membership inference: AUC and its interval, one threshold, chance, against scikit-learn and the definitions."""

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp
from scipy.stats import t
from sklearn.metrics import roc_auc_score, roc_curve

from edgefed.analysis.membership import Attack, View, confidence, given_threshold


def view(scores, member, labels=None, rows=None):
    scores = np.asarray(scores, float)
    return View(
        rows=np.arange(len(scores)) if rows is None else np.asarray(rows),
        labels=np.zeros(len(scores), np.int64) if labels is None else np.asarray(labels),
        scores=scores,
        member=np.asarray(member, bool),
    )


def drawn(seed, members, outsiders, gain=0.0, classes=1):
    """Scores of members and outsiders, each class with a level of its own."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, members + outsiders)
    member = np.arange(members + outsiders) < members
    return view(rng.normal(size=len(labels)) + 3.0 * labels + gain * member, member, labels)


def test_confidence_is_the_log_odds_of_the_rows_own_class():
    logits, labels = np.random.default_rng(0).normal(size=(50, 4)), np.random.default_rng(1).integers(0, 4, 50)
    p = np.exp(log_softmax(logits, axis=1))[np.arange(50), labels]

    np.testing.assert_allclose(confidence(logits, labels), np.log(p) - np.log1p(-p), rtol=1e-10)


def test_rows_whose_probability_is_one_in_floating_point_are_still_told_apart():
    logits, labels = np.array([[900.0, 0.0], [800.0, 0.0]]), np.array([0, 0])

    assert np.exp(log_softmax(logits, axis=1))[:, 0].tolist() == [1.0, 1.0]
    assert confidence(logits, labels).tolist() == [900.0, 800.0]
    assert logsumexp(logits[0]) == logits[0, 0]


def test_auc_is_that_of_each_class_weighted_by_its_members():
    seen = drawn(0, 200, 150, gain=0.6, classes=3)
    expected = sum(
        (seen.member & (seen.labels == c)).sum()
        / seen.member.sum()
        * roc_auc_score(seen.member[seen.labels == c], seen.scores[seen.labels == c])
        for c in range(3)
    )

    assert Attack([seen]).auc().mean == pytest.approx(expected, abs=1e-12)


def test_what_only_tells_classes_apart_tells_no_members():
    """A long tail: members are mostly of class 1, outsiders of class 0, and the model is surer of class 1."""
    labels = np.array([1] * 90 + [0] * 10 + [1] * 10 + [0] * 90)
    member = np.arange(200) < 100
    seen = view(5.0 * labels, member, labels)

    assert roc_auc_score(member, seen.scores) == pytest.approx(0.9)
    attack = Attack([seen])
    assert [attack.auc().mean, attack.pooled_auc()] == pytest.approx([0.5, 0.5])
    assert attack.true_positives()[0] == 0


def test_several_models_are_looked_at_together():
    """Each member is compared with the outsiders of its class under its own model, by the definition."""
    rng = np.random.default_rng(3)
    outside, classes = 12, np.arange(12) % 2
    views, pairs = [], []
    for model in range(3):
        labels = np.concatenate([[0, 0, 1, 1, 1], classes])
        scores = rng.integers(0, 6, len(labels)).astype(float)
        rows = np.concatenate([100 + 5 * model + np.arange(5), np.arange(outside)])
        views.append(view(scores, np.arange(len(labels)) < 5, labels, rows))
        for i in range(5):
            others = scores[5:][classes == labels[i]]
            pairs.append(np.mean((scores[i] > others) + 0.5 * (scores[i] == others)))
    attack = Attack(views)

    assert (attack.members, attack.outsiders) == (15, 12)
    assert attack.auc().mean == pytest.approx(np.mean(pairs))
    mine, theirs = attack.placements
    assert theirs.mean() == pytest.approx(np.mean([theirs[classes == c].mean() for c in (0, 1)]))
    assert (mine.size, theirs.size) == (15, 12)
    assert [row["auc"] for row in attack.by_class()] == [pytest.approx(theirs[classes == c].mean()) for c in (0, 1)]


def test_the_interval_is_delongs():
    seen = drawn(5, 30, 25, gain=0.8)
    x, y = seen.scores[:30], seen.scores[30:]
    wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    variance = wins.mean(1).var(ddof=1) / 30 + wins.mean(0).var(ddof=1) / 25
    found = Attack([seen]).auc()

    assert found.mean == pytest.approx(wins.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-6)


def test_one_threshold_is_scikit_learns_curve():
    seen = drawn(7, 300, 400, gain=1.0)
    attack = Attack([seen])
    false, true, _ = roc_curve(seen.member, seen.scores, drop_intermediate=False)
    below = true[false <= 0.01].max()

    assert attack.true_positives() == pytest.approx((below, false[false <= 0.01].max()))
    assert attack.pooled_auc() == pytest.approx(roc_auc_score(seen.member, seen.scores))
    np.testing.assert_allclose(attack.roc(), (false, true), atol=1e-12)
    curve = attack.curve()
    assert len(curve["false"]) <= 200
    assert [curve["false"][end] for end in (0, -1)] == [curve["true"][end] for end in (0, -1)] == [0, 1]
    for rate, found in list(zip(curve["false"], curve["true"], strict=True))[1:]:
        assert found == pytest.approx(true[false <= rate + 1e-6].max(), abs=1e-6)


def test_outsiders_stand_in_the_members_mix_of_classes():
    seen = drawn(9, 200, 300, gain=0.5, classes=3)
    weights = np.where(
        seen.member,
        1 / 200,
        [
            (seen.member & (seen.labels == c)).sum() / 200 / (~seen.member & (seen.labels == c)).sum()
            for c in seen.labels
        ],
    )
    attack = Attack([seen])
    false, true, _ = roc_curve(seen.member, seen.scores, sample_weight=weights, drop_intermediate=False)

    assert attack.pooled_auc() == pytest.approx(roc_auc_score(seen.member, seen.scores, sample_weight=weights))
    assert attack.true_positives()[0] == pytest.approx(true[false <= 0.01].max())


@pytest.mark.parametrize(("outsiders", "expected"), [(30, 1 / 31), (99, 1 / 100), (250, 3 / 251)])
def test_chance_finds_what_so_few_outsiders_let_it(outsiders, expected):
    """k = floor(0.01 n) false positives are allowed: chance finds (k + 1) / (n + 1) of the members."""
    attack = Attack([drawn(11, 400, outsiders)])

    assert attack.chance() == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / outsiders / 100))
    assert attack.resolution == pytest.approx(1 / outsiders)


def test_a_tie_with_the_surest_outsider_is_no_find():
    attack = Attack([view([1.0, 2.0, 2.0, 3.0, 2.0, 0.0], [1, 1, 1, 1, 0, 0])])

    assert attack.true_positives() == (0.25, 0.0)
    assert attack.auc().mean == pytest.approx((1 + 1.5 + 1.5 + 2) / 8)


def test_classes_that_cannot_be_compared_are_left_out():
    labels = [0, 0, 0, 0, 1, 1, 1, 2]
    attack = Attack([view(range(8), [1, 1, 0, 0, 1, 1, 0, 1], labels)])

    assert (attack.asked, attack.members, [row["label"] for row in attack.by_class()]) == (5, 2, [0])


@pytest.mark.parametrize("views", [[], [view([1.0, 2.0], [1, 1])]])
def test_nothing_to_compare_is_no_number(views):
    attack = Attack(views)

    assert np.isnan([attack.auc().mean, attack.pooled_auc(), attack.chance(), attack.true_positives()[0]]).all()
    assert attack.by_class() == []
    assert attack.curve() == {"false": [0.0], "true": [0.0]}


def whose(seed, clients=10, rows=60, classes=3, alike=1.0, gain=0.0):
    """Each client's view of all rows: its own are members. A row is surer or less sure whoever looks at it."""
    rng = np.random.default_rng(seed)
    labels, holder = rng.integers(0, classes, rows), rng.integers(0, clients, rows)
    level = alike * rng.normal(size=rows)
    return [
        view(level + rng.normal(size=rows) + gain * (holder == client), holder == client, labels)
        for client in range(clients)
    ]


def test_the_interval_of_rows_on_both_sides_is_obuchowskis():
    """Each row's part in AUC, as a member and as an outsider of every other model, by the definition."""
    views = whose(4, clients=3, rows=30, classes=2, gain=0.5)
    variance, members = 0.0, 30
    for c in (0, 1):
        rows = np.flatnonzero(views[0].labels == c)
        wins = {
            (i, j): (v.scores[i] > v.scores[j]) + 0.5 * (v.scores[i] == v.scores[j])
            for v in views
            for i in rows[v.member[rows]]
            for j in rows[~v.member[rows]]
        }
        auc = np.mean([np.mean([won for (one, _), won in wins.items() if one == i]) for i in rows])
        part = dict.fromkeys(rows.tolist(), 0.0)
        for v in views:
            mine, others = rows[v.member[rows]], rows[~v.member[rows]]
            for i in mine:
                part[i] += np.mean([wins[i, j] for j in others]) - auc
            for j in others:
                part[j] += len(mine) / len(others) * (np.mean([wins[i, j] for i in mine]) - auc)
        assert sum(part.values()) == pytest.approx(0)
        variance += len(rows) / (len(rows) - 1) * sum(value**2 for value in part.values()) / members**2
    found = Attack(views).auc()

    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-6)


@pytest.mark.parametrize("alike", [0.0, 2.0])
def test_where_no_client_is_told_its_interval_covers_chance(alike):
    """Whoever looks, own rows and others' are exchangeable. Taken for two samples, alike rows cover too much."""
    found = [Attack(whose(seed, alike=alike)).auc() for seed in range(200)]

    assert 0.9 <= np.mean([one.low <= 0.5 <= one.high for one in found]) <= 0.99
    spread = np.mean([(one.high - one.low) / 2 / 1.96 for one in found])
    assert spread == pytest.approx(np.std([one.mean for one in found]), rel=0.2)


def test_the_interval_of_a_find_above_a_given_threshold_is_the_exact_one():
    """Clopper and Pearson's upper end for 0 of 30 is 1 - (0.025)^(1/30)."""
    assert given_threshold(0.0, 30) == pytest.approx((0.0, 1 - 0.025 ** (1 / 30)))
    assert np.isnan(given_threshold(np.nan, 30)).all()


def test_where_nothing_is_given_away_intervals_cover_chance():
    """Members and outsiders of three classes are exchangeable: DeLong's interval, and t over seeds, cover 0.5."""
    found = [Attack([drawn(seed, 45, 60, classes=3)]).auc() for seed in range(400)]
    covered = np.mean([one.low <= 0.5 <= one.high for one in found])
    groups = np.array([one.mean for one in found]).reshape(40, 10)
    half = t.ppf(0.975, 9) * groups.std(1, ddof=1) / np.sqrt(10)

    assert 0.91 <= covered <= 0.98
    assert np.mean(abs(groups.mean(1) - 0.5) <= half) >= 0.85
    assert np.mean([one.mean for one in found]) == pytest.approx(0.5, abs=0.01)
