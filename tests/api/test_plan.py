"""What a comparison will train, and mistakes in what was asked: said before anything is made."""

from functools import partial

import pytest
from made_comparisons import BASE, compared

import edgefed
from edgefed.api.plan import DEFAULT_ARMS, DEFAULT_RATES, comparison_defaults, plan, without_say
from edgefed.config import SettingsError, catalogue
from edgefed.imbalance import REMEDIES


def test_the_control_is_always_there_and_nothing_twice():
    assert plan(BASE, "post-hoc,post-hoc, none").arms == ("none", "post-hoc")
    assert plan(BASE, []).arms == ("none",)
    assert plan(BASE, "all").arms[0] == "none"
    assert set(plan(BASE, "all").arms) == set(REMEDIES) - {"class-weights"}
    assert plan(BASE).arms == DEFAULT_ARMS
    assert plan(BASE, tune=(0.1, 0.1, 1)).rates == (0.1, 1.0)
    assert plan(BASE, tune=None).rates == (BASE.learning_rate,)
    assert plan(BASE.replace(seed=5), seeds=3).seeds == (5, 6, 7)
    assert set(DEFAULT_ARMS) <= set(catalogue("imbalance"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"strategies": "none,post-hok"}, "unknown strategy 'post-hok': did you mean post-hoc"),
        ({"seeds": 1}, "--seeds 1: expected at least 2"),
        ({"seeds": -3}, "--seeds -3: expected at least 2"),
        ({"tune": ()}, "--tune: expected learning rates"),
        ({"tune": (0.1, -1)}, "learning-rate=-1"),
        ({"tune": (float("nan"),)}, "learning-rate=nan"),
        ({"config": BASE.replace(validation_fraction=0), "tune": DEFAULT_RATES}, "nothing to tune on: --no-tune"),
        ({"config": BASE.replace(loss="hinge"), "strategies": "post-hoc"}, "post-hoc contradicts loss=hinge"),
        ({"config": BASE.replace(seed=2**32 - 2), "seeds": 3}, "^--seeds 3 from seed=4294967294: the last would"),
        ({"config": BASE.replace(long_tail=1000.0)}, "long-tail=1000"),
        ({"engine": "batch"}, "unknown engine 'batch'"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_mistakes_are_said_before_anything_is_made(tmp_path, arguments, says):
    with pytest.raises(SettingsError, match=says):
        compared(**arguments, out=tmp_path / "comparison")

    assert list(tmp_path.iterdir()) == []


def test_defaults_thin_the_bundled_datasets_and_leave_a_persons_own_data_alone():
    assert (comparison_defaults({}).long_tail, comparison_defaults({}).num_server_rounds) == (10, 100)
    own = comparison_defaults({"dataset": "csv", "data-path": "mine.csv"})
    assert (own.long_tail, own.num_server_rounds) == (1, 100)
    assert comparison_defaults({"long-tail": 5.0, "num-server-rounds": 7}).long_tail == 5
    assert comparison_defaults({"num-server-rounds": 7}).num_server_rounds == 7


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"tune": 0.1}, r"^tune=0\.1: expected learning rates in a list, as tune=\[0\.1, 0\.3, 1, 3\]$"),
        ({"tune": "0.1"}, r"^tune=0\.1: expected learning rates in a list"),
        ({"tune": ["fast"]}, r"^tune=\['fast'\]: expected numbers"),
        ({"seeds": [0, 1]}, r"^seeds=\[0, 1\]: expected how many, a whole number; seed=0 is the first$"),
        ({"seeds": True}, r"^seeds=true: expected how many"),
        ({"config": {"seed": 1}}, r"^config=\{'seed': 1\}: expected a FederationConfig, found dict"),
    ],
)
def test_a_mistake_from_python_is_one_line(asked, says):
    for compare in (edgefed.compare, partial(edgefed.compare_grid, grid={"alpha": [0.1, 1]})):
        with pytest.raises(SettingsError, match=says):
            compare(**({"config": BASE} | asked), progress=False)
    if "config" in asked:
        for config in (asked["config"], {}, "mine.toml"):
            with pytest.raises(SettingsError, match=r"expected a FederationConfig, found (dict|str)"):
                edgefed.run(config)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"strategies": "post-hoc", "tune": (0.1,)}, ["imbalance=class-weights ", "learning-rate=0.05 "]),
        ({"strategies": "class-weights-balanced-local", "tune": (0.1,)}, ["learning-rate=0.05 "]),
        ({"strategies": "class-weights", "tune": (0.1, 0.05)}, []),
        ({"strategies": "post-hoc", "tune": None}, ["imbalance=class-weights "]),
    ],
)
def test_a_remedy_and_a_rate_that_a_comparison_has_not_are_told(asked, said):
    """Under either of its names a remedy is the same one."""
    work = plan(BASE.replace(imbalance="class-weights", learning_rate=0.05), seeds=2, **asked)

    assert [line.partition("has no say")[0] for line in without_say(work)] == said
    assert without_say(plan(BASE, seeds=2, **asked)) == []


def test_a_grid_tells_them_once(capsys):
    config = BASE.replace(imbalance="focal", num_server_rounds=1)
    edgefed.compare_grid(config, {"alpha": [0.1, 1]}, strategies="none", seeds=2, tune=None, progress=True)

    assert capsys.readouterr().err.count("note: imbalance=focal has no say in a comparison") == 1


def test_so_many_seeds_as_there_are():
    last = plan(BASE.replace(seed=2**32 - 3), "none", 3).seeds[-1]
    assert last == 2**32 - 1
    with pytest.raises(SettingsError, match=r"^--seeds 4 from seed=4294967293: the last would be 4294967296; at most"):
        plan(BASE.replace(seed=2**32 - 3), "none", 4)
