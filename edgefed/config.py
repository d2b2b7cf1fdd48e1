"""Settings: one schema, validated once at the boundary, from TOML, ``-s key=value`` or Flower's run config.

Keys are kebab-case, as in Flower's ``[tool.flwr.app.config]``; the attribute of :class:`FederationConfig` is
the same name with underscores. Every value is a scalar (``int``, ``float`` or ``str``), since that is what
Flower's run config carries; lists are comma- or dash-separated text.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

type_names = {int: "a whole number", float: "a number", str: "text"}

Scalar = int | float | str

ACTIVATIONS = {
    "relu": "max(0, z)",
    "tanh": "hyperbolic tangent",
    "sigmoid": "1 / (1 + exp(-z))",
}
LOSSES = {
    "cross-entropy": "-log softmax(f)_y",
    "mse": "mean over classes of (softmax(f) - onehot(y))^2",
    "hinge": "multi-class margin loss: mean over classes of max(0, 1 - f_y + f_j), j != y",
}
OPTIMIZERS = {
    "sgd": "stochastic gradient descent (momentum, weight decay); batch-size 0 makes it batch gradient descent",
    "adam": "Adam (Kingma & Ba 2015), betas 0.9 and 0.999",
}
STANDARDIZATIONS = {
    "federated": "mean and deviation of all clients' rows, from additive statistics in one query round",
    "local": "each client by its own mean and deviation (the server's rows by the pooled ones)",
    "none": "features as they are",
}


class SettingsError(ValueError):
    """A person's mistake in settings or input: the message is the one line that they read."""


def _names_in(where: str) -> Mapping[str, Any]:
    """Return the registry that ``"module:NAME"`` points to.

    Late binding on purpose: the settings stand below the registries whose names they check, and reading a
    registry must not be a cost of ``edgefed --help``.
    """
    module, _, name = where.partition(":")
    return cast("Mapping[str, Any]", getattr(import_module(module), name))


def _setting(
    default: Scalar,
    help_text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    open_low: bool = False,
    open_high: bool = False,
    choices: Mapping[str, str] | str | None = None,
) -> Any:
    rules = {
        "help": help_text,
        "low": low,
        "high": high,
        "open_low": open_low,
        "open_high": open_high,
        "choices": choices,
    }
    return field(default=default, metadata=rules)


_positive = partial(_setting, low=0, open_low=True)
_count = partial(_setting, low=1)
_share = partial(_setting, low=0, high=1, open_high=True)

_SEED_MAX = 2**32 - 1


@dataclass(frozen=True)
class FederationConfig:
    """The settings of one federation, frozen and validated when made.

    Raises
    ------
    SettingsError
        One line with the key, the value found, what would do and, for an unknown key, the nearest known one.

    Examples
    --------
    >>> FederationConfig(imbalance="balanced-softmax", alpha=0.1).replace(seed=3).seed
    3
    """

    # -- data
    dataset: str = _setting("iris", "what to learn from", choices="edgefed.data.datasets:DATASETS")
    data_path: str = _setting("", "the CSV file of dataset=csv")
    label_column: str = _setting("", "the CSV's label column (empty: the last one)")
    client_column: str = _setting("", "the CSV column that names each row's client, for partition=natural")
    feature_columns: str = _setting("", "CSV columns to learn from, comma-separated (empty: all others)")
    drop_columns: str = _setting("", "CSV columns to leave out, comma-separated")
    classes: str = _setting("", "class labels in order, comma-separated (empty: the sorted union)")
    missing: str = _setting(
        "refuse",
        "empty cells in a CSV",
        choices={
            "refuse": "an empty cell is an error that names it",
            "mean": "the feature's federated mean: the mean of the training rows that have it",
        },
    )
    test_fraction: float = _share(0.2, "share of the rows held out by the server as test set")
    validation_fraction: float = _share(0.2, "share held out by the server for tuning and convergence only")
    client_test_fraction: float = _share(0.0, "share of each client's own rows that it never trains on")
    long_tail: float = _setting(1.0, "largest class over smallest in the training rows", low=1)
    long_tail_order: str = _setting("rotate", "classes from common to rare, comma-separated; rotate: by seed")
    # -- who holds what
    partition: str = _setting(
        "dirichlet", "how training rows are shared out", choices="edgefed.data.partition:PARTITIONS"
    )
    num_clients: int = _count(10, "number of clients (partition=natural takes it from the column)")
    alpha: float = _positive(0.3, "Dirichlet concentration; smaller is more skewed", high=1e6)
    classes_per_client: int = _count(2, "classes that a client holds, for partition=classes")
    shards_per_client: int = _count(2, "label-sorted shards dealt to a client, for partition=shards")
    min_rows: int = _setting(0, "fewest training rows that a client may hold", low=0)
    standardize: str = _setting("federated", "how features are scaled", choices=STANDARDIZATIONS)
    # -- randomness
    seed: int = _setting(0, "varies everything below", low=0, high=_SEED_MAX)
    split_seed: int = _setting(-1, "train/validation/test split and tail (-1: seed)", low=-1, high=_SEED_MAX)
    partition_seed: int = _setting(-1, "who holds what (-1: seed)", low=-1, high=_SEED_MAX)
    init_seed: int = _setting(-1, "initial weights (-1: seed)", low=-1, high=_SEED_MAX)
    # -- the model and its local training
    hidden: str = _setting("16", "widths of the hidden layers: 16, 32-16, empty for none")
    activation: str = _setting("relu", "of the hidden layers", choices=ACTIVATIONS)
    loss: str = _setting("cross-entropy", "what local training minimises", choices=LOSSES)
    optimizer: str = _setting("sgd", "of local training", choices=OPTIMIZERS)
    learning_rate: float = _positive(0.1, "of local training", high=1e3)
    momentum: float = _share(0.0, "of sgd")
    weight_decay: float = _setting(0.0, "L2 penalty added to the gradient", low=0, high=1e3)
    batch_size: int = _setting(10, "rows a step; 0 takes the whole shard", low=0)
    local_epochs: int = _count(5, "passes over a client's rows in a round")
    match: str = _setting(
        "steps",
        "what every remedy gets the same of",
        choices={
            "steps": "local-epochs x ceil(rows before resampling / batch-size) steps a round",
            "epochs": "passes over the rows that the remedy draws",
        },
    )
    proximal_mu: float = _setting(0.0, "FedProx pull towards the global weights; 0 is FedAvg", low=0, high=1e6)
    imbalance: str = _setting("none", "the imbalance remedy", choices="edgefed.imbalance:REMEDIES")
    logit_adjustment_tau: float = _setting(1.0, "strength of post-hoc and balanced-softmax; 0 is none", low=0, high=100)
    imbalance_options: str = _setting("", "settings of the remedy, as a=1,b=2")
    # -- the federation
    strategy: str = _setting(
        "fedavg",
        "the server's aggregation",
        choices={"fedavg": "weighted average by rows (McMahan et al. 2017), summed in float64"},
    )
    num_server_rounds: int = _count(50, "rounds of federated training")
    fraction_train: float = _positive(1.0, "share of the clients drawn for a round", high=1)
    evaluate_every: int = _count(1, "rounds between evaluations (the last round is always evaluated)")
    checkpoint_every: int = _setting(1, "rounds between checkpoints of a run that has a folder; 0: none", low=0)
    # -- numbers
    dtype: str = _setting("float32", "of weights and features", choices={"float32": "", "float64": ""})
    device: str = _setting(
        "cpu",
        "where simulated clients train",
        choices={"cpu": "", "cuda": "an NVIDIA GPU", "auto": "cuda where there is one, else cpu"},
    )

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            object.__setattr__(self, spec.name, _checked(spec, getattr(self, spec.name)))
        _check_together(self)

    # ---- derived
    @property
    def hidden_layers(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return tuple(int(width) for width in self.hidden.split("-")) if self.hidden else ()

    @property
    def split_stream(self) -> int:
        """The seed of the split and of the tail."""
        return self.seed if self.split_seed < 0 else self.split_seed

    @property
    def partition_stream(self) -> int:
        """The seed of the partition."""
        return self.seed if self.partition_seed < 0 else self.partition_seed

    @property
    def init_stream(self) -> int:
        """The seed of the initial weights."""
        return self.seed if self.init_seed < 0 else self.init_seed

    @property
    def options(self) -> dict[str, float]:
        """``imbalance-options`` as a dict of numbers."""
        return _parse_options(self.imbalance_options)

    # ---- in and out
    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> FederationConfig:
        """Make settings from kebab-case keys (Flower's run config, a TOML table)."""
        names = {key_of(spec.name): spec.name for spec in dataclasses.fields(cls)}
        for key in values:
            if key not in names:
                raise SettingsError(unknown("setting", key, names))
        return cls(**{names[key]: value for key, value in values.items()})

    def to_mapping(self) -> dict[str, Scalar]:
        """Return every setting under its kebab-case key."""
        return {key_of(spec.name): getattr(self, spec.name) for spec in dataclasses.fields(self)}

    def replace(self, **changes: Scalar) -> FederationConfig:
        """Return a copy with some settings changed (validated again)."""
        return dataclasses.replace(self, **cast("dict[str, Any]", changes))

    def to_toml(self) -> str:
        """Return the settings as a TOML document that :func:`read_settings` reads back."""
        return "".join(f"{key} = {_toml(value)}\n" for key, value in self.to_mapping().items())


def key_of(attribute: str) -> str:
    """Return the kebab-case key of an attribute name."""
    return attribute.replace("_", "-")


def schema() -> Iterable[tuple[str, type, Scalar, str, str]]:
    """Yield (key, type, default, range in words, help) for each setting."""
    for spec in dataclasses.fields(FederationConfig):
        yield (
            key_of(spec.name),
            type(spec.default),
            cast("Scalar", spec.default),
            _range_in_words(spec),
            spec.metadata["help"],
        )


def catalogue(key: str) -> dict[str, str]:
    """Return the names that a setting takes, with a line on each.

    Raises
    ------
    SettingsError
        When the setting takes no names.
    """
    for spec in dataclasses.fields(FederationConfig):
        if key_of(spec.name) == key and spec.metadata["choices"]:
            choices = spec.metadata["choices"]
            if isinstance(choices, str):
                return {
                    name: (entry.__doc__ or "").strip().splitlines()[0] for name, entry in _names_in(choices).items()
                }
            return dict(choices)
    raise SettingsError(f"setting {key} takes no names")


def unknown(what: str, found: str, known: Iterable[str]) -> str:
    """Return the line for a name that is not known, with the nearest known one."""
    names = sorted(known)
    near = difflib.get_close_matches(found, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
    return f"unknown {what} '{found}': {hint}"


def read_settings(path: Path | None, overrides: Sequence[str] = ()) -> dict[str, Scalar]:
    """Read settings from a TOML file, then apply ``key=value`` texts.

    The TOML file holds the keys at top level or under ``[tool.flwr.app.config]`` (a Flower app's
    ``pyproject.toml``). An override is read by its setting's type, so quotes are optional.

    Raises
    ------
    SettingsError
        For a file that cannot be read, a line that is not TOML, an unknown key, or an ill-typed value.
    """
    values: dict[str, Scalar] = {}
    if path is not None:
        values.update(_read_toml(path))
    types = {key: kind for key, kind, *_ in schema()}
    for text in overrides:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals:
            raise SettingsError(f"setting '{text}': expected key=value")
        if key not in types:
            raise SettingsError(unknown("setting", key, types))
        values[key] = _parse(key, value.strip(), types[key])
    return values


def _read_toml(path: Path) -> dict[str, Scalar]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({_reason(error)})") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML ({error})") from None
    table = document
    for part in ("tool", "flwr", "app", "config"):
        if part not in table:
            table = document
            break
        table = table[part]
    known = [key for key, *_ in schema()]
    for key in table:
        if key not in known:
            raise SettingsError(f"{path}: {unknown('setting', key, known)}")
    return table


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _parse(key: str, text: str, kind: type) -> Scalar:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    if kind is str:
        return text
    try:
        return kind(text)  # type: ignore[no-any-return]
    except ValueError:
        raise SettingsError(f"{key}={text}: expected {type_names[kind]}") from None


def _parse_options(text: str) -> dict[str, float]:
    options: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        try:
            if not equals:
                raise ValueError
            options[name.strip()] = float(value)
        except ValueError:
            raise SettingsError(f"imbalance-options={text}: expected name=number,name=number; found '{part}'") from None
    return options


def _toml(value: Scalar) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        return f'"{escaped}"'
    return repr(value)


def _range_in_words(spec: dataclasses.Field[Any]) -> str:
    rules = spec.metadata
    if rules["choices"]:
        choices = rules["choices"]
        return " ".join(_names_in(choices) if isinstance(choices, str) else choices)
    low, high = rules["low"], rules["high"]
    if low is None:
        return type_names[type(spec.default)]
    words = f"{'more than' if rules['open_low'] else 'at least'} {low:g}"
    if high is not None:
        words += f" and {'less than' if rules['open_high'] else 'at most'} {high:.10g}"
    return words


def _checked(spec: dataclasses.Field[Any], value: Any) -> Scalar:
    """Return the value as its setting's type, or raise with the key, the value and the range."""
    key, kind, rules = key_of(spec.name), type(spec.default), spec.metadata
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)  # hidden=16 in a TOML file
    if type(value) is not kind:
        raise SettingsError(f"{key}={value}: expected {type_names[kind]}, found {type(value).__name__}")
    if kind is str:
        if rules["choices"]:
            names = rules["choices"]
            known = _names_in(names) if isinstance(names, str) else names
            if value not in known:
                raise SettingsError(f"{key}={value}: {unknown('name', value, known)}")
        return value
    low, high = rules["low"], rules["high"]
    below = low is not None and (value <= low if rules["open_low"] else value < low)
    above = high is not None and (value >= high if rules["open_high"] else value > high)
    if below or above or not math.isfinite(value):
        raise SettingsError(f"{key}={value}: expected {type_names[kind]}, {_range_in_words(spec)}")
    return cast("Scalar", value)


def _check_together(config: FederationConfig) -> None:
    """Refuse settings that contradict each other."""
    for width in config.hidden.split("-") if config.hidden else ():
        if not width.isascii() or not width.isdigit() or not 1 <= int(width) <= 65536:
            raise SettingsError(
                f"hidden={config.hidden}: expected widths from 1 to 65536 joined by dashes (16, 32-16), "
                "or empty for no hidden layer"
            )
    if config.test_fraction + config.validation_fraction >= 1:
        raise SettingsError(
            f"test-fraction={config.test_fraction:g} and validation-fraction={config.validation_fraction:g} "
            "leave no training rows: their sum must be less than 1"
        )
    if config.test_fraction == 0:
        raise SettingsError("test-fraction=0.0: expected a number, more than 0 and less than 1")
    if config.optimizer == "adam" and config.momentum:
        raise SettingsError(f"momentum={config.momentum:g} contradicts optimizer=adam: momentum is a setting of sgd")
    if config.dataset == "csv" and not config.data_path:
        raise SettingsError("dataset=csv needs data-path: the CSV file to read")
    if config.dataset != "csv":
        for name in ("data_path", "label_column", "client_column", "feature_columns", "drop_columns"):
            if getattr(config, name):
                raise SettingsError(
                    f"{key_of(name)}={getattr(config, name)} contradicts dataset={config.dataset}: "
                    "it is a setting of dataset=csv"
                )
    if config.partition == "natural" and not config.client_column:
        raise SettingsError("partition=natural needs client-column: the CSV column that names each row's client")
    remedy = _names_in("edgefed.imbalance:REMEDIES")[config.imbalance]
    losses = remedy.losses
    if config.loss not in losses:
        raise SettingsError(
            f"imbalance={config.imbalance} contradicts loss={config.loss}: it is defined for "
            f"{' and '.join(losses)} only"
        )
    for name in config.options:
        if name not in remedy.option_ranges:
            known = ", ".join(remedy.option_ranges) or "none"
            raise SettingsError(
                f"imbalance-options={config.imbalance_options}: {config.imbalance} has no option '{name}' "
                f"(known: {known})"
            )
    for name, value in config.options.items():
        low, high = remedy.option_ranges[name]
        if not low <= value <= high:
            raise SettingsError(
                f"imbalance-options={config.imbalance_options}: expected {name} from {low:g} to {high:g}"
            )
