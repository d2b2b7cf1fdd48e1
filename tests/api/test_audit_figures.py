"""What an audit says that its figures cannot tell: the worst of all remedies and attacks, not the first one's."""

from edgefed.api.audit_figures import left_out, unresolved


def entry(name, **resolution):
    return {"name": name, "attacks": {kind: {"resolution": share} for kind, share in resolution.items()}}


def test_the_coarsest_attack_of_any_remedy_is_said():
    fine, nan = {"global": 0.002, "whose": 0.004}, float("nan")

    assert unresolved([entry("none", **fine), entry("smote", **fine | {"first-update": nan})]) == []
    (said,) = unresolved([entry("none", **fine), entry("random-undersampling", **fine | {"update": 0.034})])
    assert "no false-positive rate below 3.4 % (update, random-undersampling)" in said
    (said,) = unresolved([entry("none", **fine | {"whose": 0.05})])
    assert "below 5 % (whose)" in said


def counts(**left):
    return {kind: {"left_out": count, "members": 60 - count} for kind, count in left.items()}


def test_members_that_an_attack_leaves_out_are_said_of_each_attack():
    assert left_out({"none": [counts(whose=0)] * 2}) == []
    found = {"none": [counts(whose=3, update=0), counts(whose=7, update=0)], "smote": [counts(whose=5, update=1)] * 2}

    whose, update = left_out(found)
    assert whose.startswith("whose: up to 7 of 60 members (none) are left out")
    assert "one client alone" in whose
    assert update.startswith("update: up to 1 of 60 members (smote) are left out")
    assert "one client alone" not in update
    assert left_out({"none": [counts(update=2)]})[0].startswith("update: 2 of 60 members are left out")
