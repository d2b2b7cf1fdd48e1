"""Settings: one schema, validated once at the boundary, from TOML, ``-s key=value`` or Flower's run config.

Keys are kebab-case, as in Flower's ``[tool.flwr.app.config]``; the attribute of :class:`FederationConfig` is
the same name with underscores. Every value is a scalar (``int``, ``float`` or ``str``), since that is what
Flower's run config carries; lists are comma- or dash-separated text.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import numbers
import os
import tomllib
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_TYPES = {int: "a whole number", float: "a number", str: "text"}

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
DTYPES = {"float32": "single precision", "float64": "double precision: for checks, slower"}


class SettingsError(ValueError):
    """A person's mistake in settings or input: the message is the one line that they read.

    What a message quotes from a file may hold line breaks or terminal codes: they are written as escapes.
    """

    def __init__(self, line: str) -> None:
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line))


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
    if low is not None and high is None:
        high = _LARGEST[type(default)]
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

#: Where a setting has no narrower bound: whole numbers fit every array, numbers stay far from overflow.
_LARGEST = {int: 2**31 - 1, float: 1e9}
_SEED_MAX = 2**32 - 1
_MAX_WIDTH, _MAX_LAYERS, _MAX_HIDDEN_WEIGHTS = 65536, 32, 10**8


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
    test_fraction: float = _share(0.2, "share of the rows held out by the server as test set", open_low=True)
    validation_fraction: float = _share(0.2, "share held out by the server for tuning and convergence only")
    client_test_fraction: float = _share(0.0, "share of each client's own rows that it never trains on")
    long_tail: float = _setting(1.0, "largest class over smallest in the training rows", low=1)
    long_tail_order: str = _setting("rotate", "classes from common to rare, comma-separated; rotate: by seed")
    # -- who holds what
    partition: str = _setting(
        "dirichlet", "how training rows are shared out", choices="edgefed.data.partition:PARTITIONS"
    )
    num_clients: int = _count(10, "number of clients (partition=natural takes it from the column)", high=10**6)
    alpha: float = _positive(0.3, "Dirichlet concentration; smaller is more skewed", high=1e6)
    classes_per_client: int = _count(2, "classes that a client holds, for partition=classes")
    shards_per_client: int = _count(2, "label-sorted shards dealt to a client, for partition=shards")
    min_rows: int = _setting(0, "fewest rows that a client may hold, its own test rows included", low=0)
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
    local_epochs: int = _count(5, "passes over a client's rows in a round", high=10_000)
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
    num_server_rounds: int = _count(50, "rounds of federated training", high=100_000)
    fraction_train: float = _positive(1.0, "share of the clients drawn for a round", high=1)
    evaluate_every: int = _count(1, "rounds between evaluations (the last round is always evaluated)")
    checkpoint_every: int = _setting(1, "rounds between checkpoints of a run that has a folder; 0: none", low=0)
    run_folder: str = _setting("", "where a ServerApp keeps its run (empty: nowhere); --out on the command line")
    # -- numbers
    dtype: str = _setting("float32", "of weights and arithmetic", choices=DTYPES)
    device: str = _setting(
        "cpu",
        "where simulated clients train",
        choices={
            "cpu": "the processor",
            "cuda": "an NVIDIA GPU",
            "auto": "cuda where there is one, else cpu",
        },
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
        """Make settings from kebab-case keys (Flower's run config, a TOML table); empty text is unset.

        Raises
        ------
        SettingsError
            As the class does.
        """
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
            _default(spec),
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
    folded = {name.casefold(): name for name in sorted(known)}
    near = difflib.get_close_matches(found.casefold()[:MOST_SHOWN], folded, n=1, cutoff=0.5)
    hint = f"did you mean {folded[near[0]]}?" if near else f"known: {_some(sorted(known))}"
    return f"unknown {what} '{shown(found)}': {hint}"


def _some(names: Sequence[str], most: int = 60) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown(name) for name in names[:most]) + more


MOST_SHOWN = 60
"""Characters of a found value that a message quotes."""


def shown(value: object) -> str:
    """Return a value as a message quotes it, short enough for one line."""
    try:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    except ValueError:  # a whole number of thousands of digits
        return "a huge number"
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."


def listed(text: str) -> tuple[str, ...]:
    """Return the items of comma-separated text."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def read_settings(path: Path | None, overrides: Sequence[str] = ()) -> dict[str, Scalar]:
    """Read settings from a TOML file, then apply ``key=value`` texts.

    The TOML file holds the keys at top level or under ``[tool.flwr.app.config]`` (a Flower app's
    ``pyproject.toml``). An override is read by its setting's type, so quotes are optional; without a value
    it is empty text, which unsets.

    Raises
    ------
    SettingsError
        For a file that cannot be read, a line that is not TOML, an unknown key, or an ill-typed value.
    """
    values: dict[str, Scalar] = {}
    if path is not None:
        values.update(_read_toml(path))
    specs = {key_of(spec.name): spec for spec in dataclasses.fields(FederationConfig)}
    for text in overrides:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals:
            raise SettingsError(f"setting '{shown(text)}': expected key=value")
        if key not in specs:
            raise SettingsError(unknown("setting", key, specs))
        values[key] = _parse(specs[key], value.strip())
    return values


def _read_toml(path: Path) -> dict[str, Scalar]:
    text = read_utf8(path, "settings (TOML)")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: not valid TOML ({error})") from None
    known = [key_of(spec.name) for spec in dataclasses.fields(FederationConfig)]
    table: Any = document
    if "tool" in document:
        for part in ("tool", "flwr", "app", "config"):
            table = table.get(part) if isinstance(table, dict) else None
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: no [tool.flwr.app.config] table; settings stand there, or at top level")
        for key in document:
            if key in known:
                raise SettingsError(f"{path}: '{key}' stands outside [tool.flwr.app.config]; move it there")
    for key in table:
        if key not in known:
            raise SettingsError(f"{path}: {unknown('setting', key, known)}")
    return cast("dict[str, Scalar]", table)


def read_utf8(path: Path, expected: str) -> str:
    """Return a file's text, without a byte-order mark.

    Raises
    ------
    SettingsError
        One line, when there is no such file, it is no text, or its text is not UTF-8.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        if path.is_dir():
            raise SettingsError(f"{path}: is a folder, expected a file of {expected}") from None
        reason = error.strerror if isinstance(error, OSError) else None
        raise SettingsError(f"{path}: cannot be read ({reason or error})") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SettingsError(f"{path}: UTF-16 text, expected {expected}; save it as UTF-8")
    if b"\0" in content:
        raise SettingsError(f"{path}: holds NUL bytes, so it is no text; expected {expected} in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(content[: error.start + 1].splitlines())
        found = f"byte 0x{content[error.start]:02x}"
        raise SettingsError(f"{path}: row {line}: not UTF-8 text ({found}); save it as UTF-8") from None


def _parse(spec: dataclasses.Field[Any], text: str) -> Scalar:
    kind = type(_default(spec))
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    if kind is str or not text:
        return text
    try:
        return kind(text)
    except ValueError:
        raise _ill_typed(spec, text) from None


def _parse_options(text: str) -> dict[str, float]:
    options: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        try:
            if not equals or name in options:
                raise ValueError
            options[name] = float(value)
        except ValueError:
            raise SettingsError(
                f"imbalance-options={shown(text)}: expected name=number,name=number, each name once; "
                f"found '{shown(part)}'"
            ) from None
    return options


def _toml(value: Scalar) -> str:
    if not isinstance(value, str):
        return repr(value)
    escaped = (f"\\u{ord(c):04x}" if c < " " or c in '"\\\x7f' else c for c in value)
    return f'"{"".join(escaped)}"'


def _default(spec: dataclasses.Field[Any]) -> Scalar:
    return cast("Scalar", spec.default)


def _choices(spec: dataclasses.Field[Any]) -> Mapping[str, Any] | None:
    """Return the names that a setting takes; None where it takes any value of its type."""
    choices = spec.metadata["choices"]
    return _names_in(choices) if isinstance(choices, str) else choices


def _range_in_words(spec: dataclasses.Field[Any]) -> str:
    rules, names = spec.metadata, _choices(spec)
    if names:
        return " ".join(names)
    if rules["low"] is None:
        return _TYPES[type(_default(spec))]
    low = f"{'more than' if rules['open_low'] else 'at least'} {rules['low']:g}"
    return f"{low} and {'less than' if rules['open_high'] else 'at most'} {rules['high']:.10g}"


def _ill_typed(spec: dataclasses.Field[Any], value: object) -> SettingsError:
    kind = type(_default(spec))
    expected = _TYPES[kind] if kind is str else f"{_TYPES[kind]}, {_range_in_words(spec)}"
    if kind is str and isinstance(value, list | tuple):
        expected += f', as "{shown(("-" if spec.name == "hidden" else ",").join(map(str, value)))}"'
    return SettingsError(f"{key_of(spec.name)}={shown(value)}: expected {expected}")


def _checked(spec: dataclasses.Field[Any], value: Any) -> Scalar:
    """Return the value as its setting's type, or raise with the key, the value and the range."""
    default, rules = _default(spec), spec.metadata
    if isinstance(value, str) and not value and spec.name != "hidden":
        return default  # empty means unset, but no hidden layer is a choice
    if isinstance(default, str):
        return _checked_text(spec, value)
    value = _as_number(value)
    if value is None or (isinstance(value, float) and isinstance(default, int)):
        raise _ill_typed(spec, getattr(spec, "found", value))
    below = value <= rules["low"] if rules["open_low"] else value < rules["low"]
    above = value >= rules["high"] if rules["open_high"] else value > rules["high"]
    if below or above or not math.isfinite(value):
        raise _ill_typed(spec, value)
    return type(default)(value)


def _as_number(value: object) -> int | float | None:
    """Return a Python number for any real number (NumPy's too), None for anything else; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _checked_text(spec: dataclasses.Field[Any], value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif _as_number(value) is not None:
        value = shown(value)  # hidden=16 in a TOML file
    if not isinstance(value, str):
        raise _ill_typed(spec, value)
    key, names = key_of(spec.name), _choices(spec)
    if names and value not in names:
        raise SettingsError(f"{key}={shown(value)}: {unknown('name', value, names)}")
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise SettingsError(f"{key}={shown(value)}: not Unicode text; a file's name is to be UTF-8")
    return str(value)


def _check_together(config: FederationConfig) -> None:
    """Refuse settings that contradict each other."""
    _check_hidden(config.hidden)
    _check_lists(config)
    if config.test_fraction + config.validation_fraction >= 1:
        raise SettingsError(
            f"test-fraction={config.test_fraction:g} and validation-fraction={config.validation_fraction:g} "
            "leave no training rows: their sum must be less than 1"
        )
    if config.optimizer == "adam" and config.momentum:
        raise SettingsError(f"momentum={config.momentum:g} contradicts optimizer=adam: momentum is a setting of sgd")
    if config.dataset == "csv" and not config.data_path:
        raise SettingsError("dataset=csv needs data-path: the CSV file to read")
    if config.dataset != "csv":
        for name in ("data_path", "label_column", "client_column", "feature_columns", "drop_columns"):
            if getattr(config, name):
                raise SettingsError(
                    f"{key_of(name)}={shown(getattr(config, name))} contradicts dataset={config.dataset}: "
                    "it is a setting of dataset=csv"
                )
    if config.partition == "natural" and not config.client_column:
        raise SettingsError(
            "partition=natural needs dataset=csv and client-column: the CSV column that names each row's client"
        )
    remedy = _names_in("edgefed.imbalance:REMEDIES")[config.imbalance]
    losses = remedy.losses
    if config.loss not in losses:
        raise SettingsError(
            f"imbalance={config.imbalance} contradicts loss={config.loss}: it is defined for "
            f"{' and '.join(losses)} only"
        )
    for name, value in config.options.items():
        given = f"imbalance-options={shown(config.imbalance_options)}"
        if name not in remedy.option_ranges:
            known = ", ".join(remedy.option_ranges) or "none"
            raise SettingsError(f"{given}: {config.imbalance} has no option '{shown(name)}' (known: {known})")
        low, high = remedy.option_ranges[name]
        if not low <= value <= high:
            raise SettingsError(f"{given}: expected {name} from {low:g} to {high:g}")


def _check_hidden(hidden: str) -> None:
    widths = hidden.split("-") if hidden else []
    if not all(width.isascii() and width.isdigit() and 1 <= int(width[:9]) <= _MAX_WIDTH for width in widths):
        raise SettingsError(
            f"hidden={shown(hidden)}: expected widths from 1 to {_MAX_WIDTH} joined by dashes (16, 32-16), "
            "or empty for no hidden layer"
        )
    weights = sum(int(fan_in) * int(fan_out) for fan_in, fan_out in itertools.pairwise(widths))
    if len(widths) > _MAX_LAYERS or weights > _MAX_HIDDEN_WEIGHTS:
        raise SettingsError(
            f"hidden={shown(hidden)}: {len(widths)} layers with {weights} weights between them, expected at most "
            f"{_MAX_LAYERS} and {_MAX_HIDDEN_WEIGHTS}"
        )


def _check_lists(config: FederationConfig) -> None:
    for name in ("classes", "feature_columns", "drop_columns"):
        items = listed(getattr(config, name))
        twice = next((item for place, item in enumerate(items) if item in items[:place]), None)
        if twice is not None:
            raise SettingsError(
                f"{key_of(name)}={shown(getattr(config, name))}: '{shown(twice)}' stands there twice, expected once"
            )
    if len(listed(config.classes)) == 1:
        raise SettingsError(f"classes={shown(config.classes)}: one class only, expected at least two")
    for item in listed(config.feature_columns):
        if item in listed(config.drop_columns):
            raise SettingsError(
                f"feature-columns names '{shown(item)}', which drop-columns leaves out: expected in one"
            )


def app_config_table() -> str:
    """Return the ``[tool.flwr.app.config]`` table of ``pyproject.toml``: every setting with its default."""
    lines = ["[tool.flwr.app.config]"]
    lines += [f"{key} = {_toml(default)}" for key, _, default, *_ in schema()]
    return "\n".join(lines) + "\n"
