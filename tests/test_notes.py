"""What is said beside a comparison's figures, from figures made up by hand."""

import numpy as np
import pytest

from edgefed.data.datasets import Dataset
from edgefed.notes import acting_on_a_part, look_alikes, names_in, past_best


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (1.0, []),
        (0.9999, ["climb (>99 %)"]),
        (0.991, ["climb (>99 %)"]),
        (0.99, ["climb (99 %)"]),
        (0.004, ["climb (<1 %)"]),
        (0.0, ["climb (0 %)"]),
        (None, []),
    ],
)
def test_a_part_of_the_rows_is_never_all_of_them(share, said):
    assert acting_on_a_part({"strategies": [{"name": "climb", "acts_on_rows": share}]}) == said


def test_past_its_best_under_half_of_the_seeds_or_more():
    def result(seeds, round_):
        found = {"name": "post-hoc", "past_best": {"seeds": seeds, "round": round_}}
        return {"seeds": [1, 2, 3, 4], "settings": {"num-server-rounds": 50}, "strategies": [found, {"name": "none"}]}

    assert past_best(result(2, 6.5)) == ["post-hoc (round 6.5 of 50, 2 of 4 seeds)"]
    several = result(2, 6.5)
    several["strategies"] = [
        {"name": name, "past_best": {"seeds": seeds, "round": 1.0 + seeds}}
        for name, seeds in (("a", 2), ("b", 3), ("c", 4))
    ]
    assert past_best(several) == ["all of them (round 3 to 5 of 50, 2 to 4 of 4 seeds)"]
    assert past_best(result(1, 6.0)) == past_best(result(0, None)) == past_best({}) == []


def test_names_that_a_person_would_take_for_one_are_told_by_kind():
    def rows(classes, clients=(), **categories):
        nothing = np.empty(0, np.int64)
        return Dataset(np.empty((0, 1), np.float32), nothing, ("a",), classes, nothing, clients, categories)

    found = rows(
        ("Ill", "ill", "well"), ("Site A", "site a", "SITEA", "Site B"), color=("deep red", "Deep  red", "red")
    )
    alone = "that differ in capitals or spaces alone count as different"
    of_clients = f"clients {alone}: 'Site A' and 'site a' and 'SITEA'"
    others = [f"classes {alone}: 'Ill' and 'ill'", f"values of 'color' {alone}: 'deep red' and 'Deep  red'"]
    assert look_alikes(names_in(found, natural=True)) == [of_clients, *others]
    assert look_alikes(names_in(found, natural=False)) == others
    assert look_alikes(names_in(rows(("a", "b")), natural=True)) == []
    many = rows(tuple(letter + end for letter in "abcde" for end in ("x", "X")))
    assert look_alikes(names_in(many, natural=True)) == [
        f"classes {alone}: 'ax' and 'aX', 'bx' and 'bX', 'cx' and 'cX', and 2 more"
    ]
