"""Settings: their names and defaults, every way in and out, and what empty text means."""

import dataclasses
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefed.config import FederationConfig, app_config_table, catalogue, read_settings, schema
from edgefed.errors import SettingsError
from edgefed.learning.losses import LOSSES
from edgefed.learning.model import ACTIVATIONS
from edgefed.names import OTHER_NAMES
from edgefed.private import OWN_SETTINGS
from edgefed.schema import key_of, listed

ROOT = Path(__file__).resolve().parents[1]

DEFAULTS = {
    "dataset": "iris",
    "data-path": "",
    "label-column": "",
    "client-column": "",
    "feature-columns": "",
    "drop-columns": "",
    "categories": "",
    "classes": "",
    "missing": "refuse",
    "partition": "dirichlet",
    "alpha": 0.3,
    "classes-per-client": 2,
    "shards-per-client": 2,
    "min-rows": 0,
    "num-clients": 10,
    "long-tail": 1.0,
    "long-tail-order": "rotate",
    "test-fraction": 0.2,
    "validation-fraction": 0.2,
    "client-test-fraction": -1.0,
    "seed": 0,
    "match": "steps",
    "hidden": "16",
    "activation": "relu",
    "loss": "cross-entropy",
    "optimizer": "sgd",
    "learning-rate": 0.1,
    "momentum": 0.0,
    "weight-decay": 0.0,
    "batch-size": 10,
    "local-epochs": 5,
    "num-server-rounds": 50,
    "fraction-train": 1.0,
    "imbalance": "none",
    "imbalance-options": "",
    "strategy": "fedavg",
    "proximal-mu": 0.0,
    "standardize": "federated",
    "min-replies": 0,
    "round-timeout": 600.0,
    "max-update-norm": 0.0,
    "malicious-share": 0.2,
    "evaluate-every": 1,
    "checkpoint-every": 1,
    "dtype": "float32",
    "device": "cpu",
}
NAMES = {
    "dataset": "iris wine breast-cancer digits fcube csv",
    "missing": "refuse mean",
    "partition": "iid dirichlet classes shards quantity natural",
    "match": "steps epochs",
    "activation": "relu tanh sigmoid",
    "loss": "cross-entropy mse hinge",
    "optimizer": "sgd adam",
    "imbalance": "none post-hoc balanced-softmax class-weights random-oversampling",
    "strategy": "fedavg",
    "standardize": "federated local server none",
    "dtype": "float32 float64",
    "device": "cpu cuda auto",
    "tracking": "none tensorboard mlflow",
    "explain": "no yes",
    "privacy": "none dp-fixed dp-adaptive secagg",
}
#: A value other than the default for every setting, together without contradiction.
OTHERS: dict[str, Any] = {
    "dataset": "csv",
    "data-path": "rows.csv",
    "label-column": "y",
    "client-column": "site",
    "feature-columns": "a,b",
    "drop-columns": "c",
    "categories": "a=red|blue",
    "classes": "u,v",
    "missing": "mean",
    "synthetic": "0.5,0.5",
    "test-fraction": 0.25,
    "validation-fraction": 0.125,
    "client-test-fraction": 0.5,
    "long-tail": 4.0,
    "long-tail-order": "v,u",
    "partition": "shards",
    "num-clients": 7,
    "alpha": 1e-05,
    "classes-per-client": 3,
    "shards-per-client": 4,
    "min-rows": 1,
    "standardize": "local",
    "seed": 4294967295,
    "split-seed": 1,
    "partition-seed": 2,
    "init-seed": 3,
    "hidden": "32-16",
    "activation": "tanh",
    "loss": "mse",
    "optimizer": "adam",
    "learning-rate": 3.0,
    "weight-decay": 0.001,
    "batch-size": 0,
    "local-epochs": 1,
    "match": "epochs",
    "proximal-mu": 0.01,
    "imbalance": "post-hoc",
    "logit-adjustment-tau": 0.5,
    "focal-gamma": 1.5,
    "effective-number-beta": 0.9,
    "histogram-epsilon": 0.5,
    "ldam-margin": 0.25,
    "fedlc-tau": 0.5,
    "fedrs-alpha": 0.25,
    "smote-neighbors": 3,
    "bootstrap-shrinkage": 0.5,
    "jitter-scale": 0.25,
    "mixup-alpha": 0.5,
    "climb-rate": 1.5,
    "climb-tolerance": 0.25,
    "strategy": "fedyogi",
    "server-learning-rate": 0.5,
    "server-momentum": 0.5,
    "server-beta-1": 0.8,
    "server-beta-2": 0.95,
    "server-tau": 0.01,
    "qfedavg-q": 1.5,
    "devices": "phone:0.5,laptop:0.5",
    "device-profiles": "devices.toml",
    "device-spread": 0.5,
    "availability": "traces.json",
    "round-deadline": 2.5,
    "drop-out": 0.25,
    "stragglers": 0.5,
    "partial-work": "accept",
    "selection": "oort",
    "selection-pool": 3.0,
    "compression": "top-k",
    "top-k-share": 0.25,
    "num-server-rounds": 3,
    "fraction-train": 0.1,
    "min-replies": 1,
    "round-timeout": 30.0,
    "max-update-norm": 5.0,
    "malicious-share": 0.3,
    "evaluate-every": 2,
    "checkpoint-every": 0,
    "run-folder": "here",
    "wait-for-clients": 5.0,
    "tracking": "tensorboard",
    "explain": "yes",
    "dtype": "float64",
    "device": "auto",
}


# ---- names and defaults
@pytest.mark.parametrize(("key", "default"), DEFAULTS.items())
def test_a_setting_keeps_its_name_and_default(key: str, default: int | float | str) -> None:
    value = FederationConfig().to_mapping()[key]
    assert (value, type(value)) == (default, type(default))


@pytest.mark.parametrize(("key", "names"), NAMES.items())
def test_a_setting_takes_its_names(key: str, names: str) -> None:
    assert set(names.split()) <= set(catalogue(key))


def test_every_name_has_a_line_and_every_setting_help() -> None:
    for key, kind, default, allowed, text in schema():
        assert text, key
        assert allowed, key
        assert type(default) is kind
        if key in NAMES:
            assert allowed.split() == list(catalogue(key))
            assert all(line and "\n" not in line for line in catalogue(key).values()), key


@pytest.mark.filterwarnings("ignore:.*Click 9:DeprecationWarning")  # what importing Flower imports
def test_names_are_those_of_the_registries() -> None:
    from edgefed.federation.strategies import STRATEGIES

    assert set(catalogue("activation")) == set(ACTIVATIONS)
    assert set(catalogue("loss")) == set(LOSSES)
    assert set(catalogue("strategy")) == set(STRATEGIES)


def test_a_setting_without_names_has_no_catalogue() -> None:
    with pytest.raises(SettingsError, match="setting alpha takes no names"):
        catalogue("alpha")


def test_the_flower_apps_table_is_the_schema() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    table = document["tool"]["flwr"]["app"]["config"]
    assert table == FederationConfig().to_mapping()
    assert table == tomllib.loads(app_config_table())["tool"]["flwr"]["app"]["config"]
    assert FederationConfig.from_mapping(table) == FederationConfig()


def test_seeds_follow_the_seed_unless_set() -> None:
    config = FederationConfig(seed=7)
    assert (config.split_stream, config.partition_stream, config.init_stream) == (7, 7, 7)
    config = FederationConfig(seed=7, split_seed=0, partition_seed=1, init_seed=2)
    assert (config.split_stream, config.partition_stream, config.init_stream) == (0, 1, 2)


@pytest.mark.parametrize(("text", "widths"), [("16", (16,)), ("32-16", (32, 16)), ("", ())])
def test_hidden_layers(text: str, widths: tuple[int, ...]) -> None:
    assert FederationConfig(hidden=text).hidden_layers == widths


# ---- ways in
def written(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_others_differ_from_every_default() -> None:
    changed = FederationConfig.from_mapping(OTHERS).to_mapping()
    defaults = FederationConfig().to_mapping()
    # OTHERS holds a file, so momentum of sgd, options of a remedy, and the test rows of devices have no place in it.
    # Its strategy, selection and explanation are none that differential privacy or secure aggregation bears.
    private = {key_of(name) for own in OWN_SETTINGS.values() for name in own} | {"privacy"}
    same = {"momentum", "imbalance-options", "test-path"} | private
    assert {key for key in defaults if changed[key] == defaults[key]} == same


@pytest.mark.parametrize("heading", ["", "[tool.flwr.app.config]\n", "[project]\nname = 'x'\n[tool.flwr.app.config]\n"])
def test_from_toml(heading: str, tmp_path: Path) -> None:
    lines = [f"{key} = {value!r}" for key, value in OTHERS.items()]
    path = written(tmp_path, heading + "\n".join(lines))
    assert FederationConfig.from_mapping(read_settings(path)) == FederationConfig.from_mapping(OTHERS)


@pytest.mark.parametrize("quote", ["", '"', "'"])
@pytest.mark.parametrize("space", ["", " "])
def test_from_overrides_quotes_optional(quote: str, space: str) -> None:
    texts = [f"{key}{space}={space}{quote}{value}{quote}" for key, value in OTHERS.items()]
    assert read_settings(None, texts) == OTHERS


def test_an_override_wins_and_the_last_of_two(tmp_path: Path) -> None:
    path = written(tmp_path, "alpha = 1.0\nseed = 3\n")
    assert read_settings(path, ["alpha=2", "alpha=4"]) == {"alpha": 4.0, "seed": 3}


def test_an_override_may_hold_an_equals_sign() -> None:
    assert read_settings(None, ["data-path=a=b.csv"]) == {"data-path": "a=b.csv"}


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xef\xbb\xbfseed = 3\r\n")
    assert read_settings(path) == {"seed": 3}


def test_from_a_flower_run_config() -> None:
    # Flower's run config holds scalars; what the pyproject leaves unset arrives as empty text.
    run_config = {**FederationConfig().to_mapping(), "alpha": 1, "hidden": 32, "seed": 5, "classes": ""}
    expected = FederationConfig(alpha=1.0, hidden="32", seed=5)
    assert FederationConfig.from_mapping(run_config) == expected
    assert type(FederationConfig.from_mapping(run_config).alpha) is float


@pytest.mark.parametrize("key", sorted(set(DEFAULTS) - {"hidden"}))
def test_empty_means_unset(key: str, tmp_path: Path) -> None:
    assert FederationConfig.from_mapping(read_settings(None, [f"{key}="])) == FederationConfig()
    assert FederationConfig.from_mapping(read_settings(None, [f'{key}=""'])) == FederationConfig()
    assert FederationConfig.from_mapping(read_settings(written(tmp_path, f'{key} = ""'))) == FederationConfig()


def test_empty_unsets_what_a_file_set(tmp_path: Path) -> None:
    path = written(tmp_path, "alpha = 9.0\n")
    assert FederationConfig.from_mapping(read_settings(path, ["alpha="])).alpha == 0.3


def test_values_from_numpy_and_pathlib() -> None:
    config = FederationConfig(
        dataset="csv",
        data_path=Path("a") / "b.csv",
        seed=np.int64(3),
        alpha=np.float32(0.5),
        hidden=np.str_("8"),
    )
    values = (config.data_path, config.seed, config.alpha, config.hidden)
    assert values == (str(Path("a/b.csv")), 3, 0.5, "8")
    assert [type(value) for value in values] == [str, int, float, str]


# ---- ways out
def test_to_toml_gives_back_every_setting(tmp_path: Path) -> None:
    config = FederationConfig.from_mapping(OTHERS)
    assert FederationConfig.from_mapping(read_settings(written(tmp_path, config.to_toml()))) == config


@settings(max_examples=50)
@given(st.text() | st.sampled_from(['"', "\\", "'''", "\r\n", "\x00", "\x7f", "\u2028", 'a"\nb = 3', "#", " é "]))
def test_to_toml_gives_back_any_text(text: str) -> None:
    config = FederationConfig(run_folder=text)
    assert tomllib.loads(config.to_toml())["run-folder"] == text


@settings(max_examples=50)
@given(st.floats(min_value=0, max_value=1e6, exclude_min=True), st.integers(min_value=0, max_value=2**32 - 1))
def test_to_toml_gives_back_any_number(alpha: float, seed: int) -> None:
    values = tomllib.loads(FederationConfig(alpha=alpha, seed=seed).to_toml())
    assert (values["alpha"], values["seed"]) == (alpha, seed)


# ---- checks
@pytest.mark.parametrize(
    ("name", "nearest"),
    [("datset", "dataset"), ("learning-rate", "learning_rate"), ("lr", "learning_rate"), ("n_clients", "num_clients")],
)
def test_a_name_that_is_no_setting_is_a_mistake_like_any_other(name: str, nearest: str) -> None:
    for make in (FederationConfig, FederationConfig().replace):
        with pytest.raises(SettingsError, match=f"^unknown setting '{name}': did you mean {nearest}\\?$"):
            make(**{name: 1})


def test_other_tools_names_point_to_settings_and_are_none() -> None:
    known = FederationConfig().to_mapping()
    assert set(OTHER_NAMES.values()) <= set(known)
    assert set(OTHER_NAMES).isdisjoint(known)
    for other, ours in OTHER_NAMES.items():
        with pytest.raises(SettingsError, match=f"did you mean {ours}\\?$"):
            read_settings(None, [f"{other}=1"])


def test_a_copy_is_checked_again() -> None:
    with pytest.raises(SettingsError, match="alpha=-1"):
        FederationConfig().replace(alpha=-1)
    with pytest.raises(SettingsError, match=r"momentum=0\.5 contradicts optimizer=adam"):
        FederationConfig(optimizer="adam").replace(momentum=0.5)


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FederationConfig().seed = 3


@pytest.mark.parametrize("key", [key for key, *_ in schema()])
def test_a_typing_error_finds_the_key(key: str) -> None:
    typed = key[:2] + key[1] + key[2:]  # one letter struck twice
    with pytest.raises(SettingsError, match=f"^unknown setting '{typed}': did you mean {key}\\?$"):
        FederationConfig.from_mapping({typed: 1})
    with pytest.raises(SettingsError, match=f"did you mean {key}\\?$"):
        read_settings(None, [f"{typed}=1"])


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"run-folder=a\\udce9: not Unicode text"):
        FederationConfig(run_folder="a\udce9")


def test_the_options_of_a_remedy_are_numbers_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgefed.imbalance import REMEDIES

    monkeypatch.setattr(REMEDIES["none"], "option_ranges", {"k": (1.0, 5.0), "beta": (0.0, 1.0)})
    config = FederationConfig(imbalance_options=" k = 3 , beta=0.5")
    assert config.options == {"k": 3.0, "beta": 0.5}
    for text, says in [
        ("k=9", "expected k from 1 to 5"),
        ("k=nan", "expected k from 1 to 5"),
        ("k=1,k=2", "each name once; found 'k=2'"),
        ("j=1", r"none has no option 'j' \(known: k, beta\)"),
        ("k=three", "found 'k=three'"),
        ("k=1,none.k=2", "'k' and 'none.k' are one option, expected once"),
        ("post-hoc.k=1", r"post-hoc has no option 'k' \(known: none\)"),
        ("posthoc.k=1", r"unknown remedy 'posthoc': did you mean post-hoc\?"),
    ]:
        with pytest.raises(SettingsError, match=says):
            FederationConfig(imbalance_options=text)


def test_options_may_say_whose_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    # A comparison gives one text to all of its remedies.
    from edgefed.imbalance import REMEDIES

    monkeypatch.setattr(REMEDIES["focal"], "option_ranges", {"k": (1.0, 5.0)})
    config = FederationConfig(imbalance_options="focal.k=3")
    assert config.options == {}
    assert config.replace(imbalance="focal").options == {"k": 3.0}
    with pytest.raises(SettingsError, match="none has no option 'k'"):
        FederationConfig(imbalance_options="k=3")


def test_listed() -> None:
    assert listed(" a, b c ,,d ") == ("a", "b c", "d")
    assert listed("") == ()


def test_settings_cost_no_heavy_import() -> None:
    program = (
        "import sys; from edgefed.config import FederationConfig, schema; FederationConfig(); list(schema());"
        "print([name for name in ('torch', 'flwr', 'sklearn', 'imblearn', 'matplotlib', 'ray') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_a_name_of_another_setting_is_pointed_to():
    with pytest.raises(SettingsError, match=r"strategy=focal: unknown name 'focal': .* \(imbalance=focal is there\)$"):
        FederationConfig(strategy="focal")


@pytest.mark.parametrize("strategy", ["qfedavg", "fedmedian", "fedtrimmedavg", "krum", "bulyan"])
@pytest.mark.parametrize("remedy", ["uniform", "class-balanced", "climb"])
def test_a_say_that_the_strategy_does_not_look_at_is_refused(remedy, strategy):
    with pytest.raises(SettingsError, match=f"imbalance={remedy} contradicts strategy={strategy}"):
        FederationConfig(imbalance=remedy, strategy=strategy)
    assert FederationConfig(imbalance=remedy, strategy="multikrum").imbalance == remedy


@pytest.mark.parametrize("strategy", ["scaffold", "fednova"])
def test_a_pull_that_overshoots_is_refused_where_its_weight_is_divided_by(strategy):
    """The sum of (1 - 2)^t is 0 after two steps."""
    with pytest.raises(SettingsError, match="learning-rate times proximal-mu is 2, expected less than 2"):
        FederationConfig(strategy=strategy, learning_rate=0.5, proximal_mu=4.0)
    assert FederationConfig(strategy=strategy, learning_rate=0.5, proximal_mu=3.9).pull == 3.9


def test_to_toml_begins_with_what_was_chosen() -> None:
    lines = FederationConfig(imbalance="focal", alpha=0.1).to_toml().splitlines()

    assert lines[:5] == ["# Chosen", "alpha = 0.1", 'imbalance = "focal"', "", "# Defaults"]
    assert FederationConfig().to_toml().splitlines()[0] == "# Defaults"
