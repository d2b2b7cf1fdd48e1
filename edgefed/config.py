"""Settings: one schema, validated once at the boundary, from TOML, ``-s key=value`` or Flower's run config.

Keys are kebab-case, as in Flower's ``[tool.flwr.app.config]``; the attribute of :class:`FederationConfig` is
the same name with underscores. Every value is a scalar (``int``, ``float`` or ``str``), since that is what
Flower's run config carries; lists are comma- or dash-separated text.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, cast

from edgefed.contradictions import check_together, parsed_options
from edgefed.errors import SettingsError, read_utf8, shown, unknown
from edgefed.names import (
    ACTIVATIONS,
    COMPRESSIONS,
    DIFFERENTIALLY_PRIVATE,
    DTYPES,
    EXPLAIN,
    FEDPROX_MU,
    LOSSES,
    OPTIMIZERS,
    OTHER_NAMES,
    PARTIAL_WORK,
    PRIVACY,
    SELECTIONS,
    STANDARDIZATIONS,
    STRATEGIES,
    TRACKING,
)
from edgefed.schema import (
    Scalar,
    as_toml,
    checked,
    choices_of,
    count,
    default_of,
    key_of,
    names_of,
    parsed,
    positive,
    range_in_words,
    setting,
    share,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = [
    "FederationConfig",
    "Scalar",
    "SettingsError",
    "app_config_table",
    "catalogue",
    "key_of",
    "read_settings",
    "schema",
    "unknown",
]

LARGEST_SEED = 2**32 - 1


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

    def __new__(cls, *values: Scalar, **settings: Scalar) -> Self:
        """Refuse a name that is no setting as every other mistake is refused: Python's own line names no other."""
        known = [spec.name for spec in dataclasses.fields(cls)]
        for name in settings:
            if name not in known:
                raise SettingsError(_unknown_setting(name, known))
        return super().__new__(cls)

    # -- data
    dataset: str = setting("iris", "what to learn from", choices="edgefed.data.datasets:DATASETS")
    data_path: str = setting("", "the CSV file of dataset=csv; a device's own is in its node config")
    test_path: str = setting("", "the server's CSV of test rows, for dataset=devices (empty: clients test)")
    label_column: str = setting("", "the CSV's label column (empty: the last one)")
    client_column: str = setting("", "the CSV column that names each row's client, for partition=natural")
    feature_columns: str = setting("", "CSV columns to learn from, comma-separated (empty: all others)")
    drop_columns: str = setting("", "CSV columns to leave out, comma-separated")
    categories: str = setting(
        "", "CSV columns of categories, as color=blue|green,size=S|M|L; a name alone: with the values in the file"
    )
    classes: str = setting("", "class labels in order, comma-separated (empty: the sorted union)")
    missing: str = setting(
        "refuse",
        "empty cells in a CSV",
        choices={
            "refuse": "an empty cell is an error that names it",
            "mean": "the feature's federated mean: the mean of the training rows that have it",
        },
    )
    synthetic: str = setting("1,1", "alpha,beta of dataset=fedprox-synthetic, or iid")
    test_fraction: float = share(0.2, "share of the rows held out by the server as test set", open_low=True)
    validation_fraction: float = share(0.2, "share held out by the server for tuning and convergence only")
    client_test_fraction: float = setting(
        -1.0,
        "share of each client's own rows that it never trains on (-1: 0.2 on devices and where a CSV's column names "
        "clients, else and under differential privacy 0)",
        low=-1,
        high=1,
        open_high=True,
    )
    long_tail: float = setting(1.0, "largest class over smallest in the training rows", low=1)
    long_tail_order: str = setting("rotate", "classes from common to rare, comma-separated; rotate: by seed")
    # -- who holds what
    partition: str = setting(
        "dirichlet", "how training rows are shared out", choices="edgefed.data.partition:PARTITIONS"
    )
    num_clients: int = count(10, "number of clients (partition=natural takes it from the column)", high=10**6)
    alpha: float = positive(0.3, "Dirichlet concentration; smaller is more skewed", high=1e6)
    classes_per_client: int = count(2, "classes that a client holds, for partition=classes")
    shards_per_client: int = count(2, "label-sorted shards dealt to a client, for partition=shards")
    min_rows: int = setting(0, "fewest rows that a client may hold, its own test rows included", low=0)
    standardize: str = setting("federated", "how features are scaled", choices=STANDARDIZATIONS)
    # -- randomness
    seed: int = setting(0, "varies everything below", low=0, high=LARGEST_SEED)
    split_seed: int = setting(-1, "train/validation/test split and tail (-1: seed)", low=-1, high=LARGEST_SEED)
    partition_seed: int = setting(-1, "who holds what (-1: seed)", low=-1, high=LARGEST_SEED)
    init_seed: int = setting(-1, "initial weights (-1: seed)", low=-1, high=LARGEST_SEED)
    # -- the model and its local training
    hidden: str = setting("16", "widths of the hidden layers: 16, 32-16, empty for none")
    activation: str = setting("relu", "of the hidden layers", choices=ACTIVATIONS)
    loss: str = setting("cross-entropy", "what local training minimises", choices=LOSSES)
    optimizer: str = setting("sgd", "of local training", choices=OPTIMIZERS)
    learning_rate: float = positive(0.1, "of local training", high=1e3)
    momentum: float = share(0.0, "of sgd")
    weight_decay: float = setting(0.0, "L2 penalty added to the gradient", low=0, high=1e3)
    batch_size: int = setting(10, "rows a step; 0 takes the whole shard", low=0)
    local_epochs: int = count(5, "passes over a client's rows in a round", high=10_000)
    match: str = setting(
        "steps",
        "what every remedy gets the same of",
        choices={
            "steps": "local-epochs x ceil(rows before resampling / batch-size) steps a round",
            "epochs": "passes over the rows that the remedy draws",
        },
    )
    proximal_mu: float = setting(
        0.0,
        "FedProx pull towards the global weights, under any strategy; 0 is FedAvg (0.1 of fedprox)",
        low=0,
        high=1e6,
    )
    imbalance: str = setting("none", "the imbalance remedy", choices="edgefed.imbalance:REMEDIES")
    logit_adjustment_tau: float = setting(1.0, "strength of post-hoc and balanced-softmax; 0 is none", low=0, high=100)
    focal_gamma: float = setting(2.0, "focusing exponent of focal; 0 is cross-entropy", low=0, high=20)
    effective_number_beta: float = share(0.99, "beta of effective-number weights; 0 weighs all classes alike")
    histogram_epsilon: float = positive(1.0, "privacy of noisy class counts: Laplace noise of scale 1/epsilon a count")
    ldam_margin: float = setting(0.5, "largest margin of ldam, the rarest class's; 0 is none", low=0, high=100)
    fedlc_tau: float = setting(1.0, "strength of fedlc's calibration; 0 is none", low=0, high=100)
    fedrs_alpha: float = setting(0.5, "factor of fedrs on the logits of absent classes; 1 is none", low=0, high=1)
    smote_neighbors: int = count(5, "nearest rows of the class that SMOTE interpolates to")
    bootstrap_shrinkage: float = setting(1.0, "width of smoothed-bootstrap's kernel; 0 repeats rows", low=0, high=100)
    jitter_scale: float = setting(0.1, "SD of jitter's noise, in a feature's SDs; 0 is none", low=0, high=100)
    mixup_alpha: float = setting(0.2, "mixup's lambda ~ Beta(alpha, alpha); 0 is none", low=0, high=100)
    climb_rate: float = setting(2.0, "step of climb's dual variables; 0 is uniform", low=0, high=1e3)
    climb_tolerance: float = setting(0.1, "excess loss that climb leaves a client", low=0, high=1e3)
    imbalance_options: str = setting("", "settings of the remedy, as a=1,b=2; of one of several, NAME.a=1")
    # -- the federation
    strategy: str = setting("fedavg", "the server's aggregation", choices=STRATEGIES)
    server_learning_rate: float = setting(
        0.0,
        "of the server's optimiser (0: 1 of fedavgm and scaffold, 0.1 of fedadagrad and fedadam, 0.01 of fedyogi)",
        low=0,
        high=1e3,
    )
    server_momentum: float = share(0.9, "of fedavgm")
    server_beta_1: float = share(0.9, "of fedadam and fedyogi: decay of the first moment")
    server_beta_2: float = share(0.99, "of fedadam and fedyogi: decay of the second moment")
    server_tau: float = positive(1e-3, "of fedadagrad, fedadam and fedyogi: smaller is more adaptive", high=1e3)
    qfedavg_q: float = setting(0.1, "of qfedavg: 0 weighs clients alike, more those with a high loss", low=0, high=100)
    # -- the edge
    devices: str = setting("raspberry-pi-4", "what clients run on, for modelled time and energy; NAME:0.7,NAME:0.3")
    device_profiles: str = setting("", "a TOML file of further devices, a table each (docs/edge.md)")
    device_spread: float = setting(0.0, "SD of the log of clients' speeds and bandwidths; 0: alike", low=0, high=10)
    availability: str = setting("", "a JSON file of when clients are there, in FedScale's form (empty: always)")
    round_deadline: float = setting(0.0, "modelled seconds that a round may take; 0: as long as the slowest", low=0)
    drop_out: float = setting(0.0, "share of the clients drawn that stop before they have sent anything", low=0, high=1)
    stragglers: float = setting(0.0, "share of a round's clients that get through fewer local epochs", low=0, high=1)
    partial_work: str = setting("drop", "what becomes of clients that do not finish", choices=PARTIAL_WORK)
    selection: str = setting("uniform", "which clients a round is drawn from", choices=SELECTIONS)
    selection_pool: float = setting(
        2.0, "clients that power-of-choice looks at for each that it takes", low=1, high=1e6
    )
    compression: str = setting("none", "of the updates that clients send", choices=COMPRESSIONS)
    top_k_share: float = setting(0.1, "share of an update that top-k sends", low=0, high=1, open_low=True)
    # -- privacy
    privacy: str = setting("none", "what protects a client's update (docs/privacy.md)", choices=PRIVACY)
    noise_multiplier: float = setting(
        1.0, "of dp-fixed and dp-adaptive: SD of the noise on the sum of updates, in clipping norms", low=1e-3, high=1e3
    )
    clipping_norm: float = setting(
        1.0,
        "of dp-fixed: largest L2 norm of an update, longer ones are shortened; of dp-adaptive: the first round's",
        low=1e-6,
    )
    privacy_delta: float = share(0.0, "delta at which epsilon is stated (0: a tenth of one over num-clients)")
    secagg_threshold: float = setting(
        0.66,
        "share of a client's neighbours that bring its secrets back; the others may drop out (over a half)",
        low=0.5,
        high=1,
        open_low=True,
    )
    secagg_neighbors: int = setting(
        24, "clients that each shares its secrets with: even, or all others where there are fewer", low=6, high=1000
    )
    secagg_clipping_range: float = positive(8.0, "numbers of an update beyond this are clipped", high=1e6)
    secagg_max_norm: float = setting(
        0.0, "largest L2 norm of a round's average update; a longer one changes nothing (0: no bound)", low=0
    )
    secagg_bits: int = setting(22, "of the whole numbers that updates are rounded to", low=16, high=30)
    # -- the rounds
    num_server_rounds: int = count(50, "rounds of federated training", high=100_000)
    fraction_train: float = positive(1.0, "share of the clients drawn for a round", high=1)
    min_replies: int = setting(
        0,
        "good replies that a round needs; with fewer the run stops (0: it goes on, unchanged by a round without)",
        low=0,
    )
    round_timeout: float = positive(600.0, "seconds that a round waits for devices (simulated clients are never late)")
    max_update_norm: float = setting(
        0.0, "largest L2 norm of a client's update; a longer one is refused (0: no bound)", low=0
    )
    malicious_share: float = setting(
        0.2,
        "of fedtrimmedavg, krum, multikrum and bulyan: share of a round's replies that they stand against",
        low=0,
        high=0.5,
        open_high=True,
    )
    evaluate_every: int = count(1, "rounds between evaluations (the last round is always evaluated)")
    checkpoint_every: int = setting(1, "rounds between checkpoints of a run that has a folder; 0: none", low=0)
    run_folder: str = setting("", "where a ServerApp keeps its run (empty: nowhere); --out on the command line")
    wait_for_clients: float = positive(60.0, "seconds that a run on Flower's runtimes waits for its clients", high=1e6)
    tracking: str = setting("none", "where results go beside the run's folder", choices=TRACKING)
    explain: str = setting("no", "whether clients are asked what the finished model uses", choices=EXPLAIN)
    # -- numbers
    dtype: str = setting("float32", "of weights and arithmetic", choices=DTYPES)
    device: str = setting(
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
            try:
                object.__setattr__(self, spec.name, checked(spec, getattr(self, spec.name)))
            except SettingsError as error:
                raise SettingsError(f"{error}{_meant_for(spec, getattr(self, spec.name))}") from None
        check_together(self)

    # ---- derived
    @property
    def data_name(self) -> str:
        """What the data are called in titles: a dataset's name, or a person's file."""
        return re.split(r"[/\\]", self.data_path)[-1] if self.dataset == "csv" else self.dataset

    @property
    def hidden_layers(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return tuple(int(width) for width in self.hidden.split("-")) if self.hidden else ()

    @property
    def pull(self) -> float:
        """FedProx's mu: ``proximal-mu``, or under ``strategy=fedprox`` what it is where that is unset."""
        return self.proximal_mu or (FEDPROX_MU if self.strategy == "fedprox" else 0.0)

    @property
    def keeps_state(self) -> bool:
        """Whether clients keep arrays from round to round: SCAFFOLD's control variates, what top-k left out."""
        return self.strategy == "scaffold" or self.compression == "top-k"

    @property
    def tells_moments(self) -> bool:
        """Whether clients are asked for each feature's mean and deviation."""
        return self.standardize in ("federated", "local") or self.missing == "mean"

    @property
    def differentially_private(self) -> bool:
        """Whether updates are clipped and their average gets noise; class counts then leave under noise too."""
        return self.privacy in DIFFERENTIALLY_PRIVATE

    @property
    def delta(self) -> float:
        """Delta at which epsilon is stated."""
        return self.privacy_delta or 0.1 / self.num_clients

    @property
    def cohort_size(self) -> int:
        """Clients that a round draws, whether or not they hold rows or answer."""
        return max(1, round(self.fraction_train * self.num_clients))

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
        """``imbalance-options`` of the remedy as a dict of numbers, without those that it leaves unsaid."""
        options = parsed_options(self.imbalance_options)
        return {option: value for (whose, option), value in options.items() if whose in ("", self.imbalance)}

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
                raise SettingsError(_unknown_setting(key, names))
        return cls(**{names[key]: value for key, value in values.items()})

    def to_mapping(self) -> dict[str, Scalar]:
        """Return every setting under its kebab-case key."""
        return {key_of(spec.name): getattr(self, spec.name) for spec in dataclasses.fields(self)}

    def replace(self, **changes: Scalar) -> FederationConfig:
        """Return a copy with some settings changed (validated again)."""
        return dataclasses.replace(self, **cast("dict[str, Any]", changes))

    def to_toml(self) -> str:
        """Return the settings as a TOML document that :func:`read_settings` reads back: first what was chosen."""
        lines: dict[bool, list[str]] = {False: [], True: []}
        values = self.to_mapping()
        for key, _, default, *_ in schema():
            value = values[key]
            lines[value == default].append(f"{key} = {as_toml(value)}\n")
        parts = [heading + "".join(lines[usual]) for usual, heading in HEADINGS.items() if lines[usual]]
        return "\n".join(parts)


HEADINGS = {False: "# Chosen\n", True: "# Defaults\n"}
"""Of a settings file's two parts, by whether they hold defaults."""


def checked_config(config: object) -> FederationConfig:
    """Return settings as they are, where they are settings.

    Raises
    ------
    SettingsError
        For anything else, as a dict, with what makes settings of it.
    """
    if not isinstance(config, FederationConfig):
        raise SettingsError(
            f"config={shown(config)}: expected a FederationConfig, found {type(config).__name__}; "
            "FederationConfig.from_mapping makes one of a dict"
        )
    return config


def schema() -> Iterable[tuple[str, type, Scalar, str, str]]:
    """Yield (key, type, default, range in words, help) for each setting."""
    for spec in dataclasses.fields(FederationConfig):
        yield (
            key_of(spec.name),
            type(default_of(spec)),
            default_of(spec),
            range_in_words(spec),
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
        if key_of(spec.name) == key and (names := choices_of(spec)) is not None:
            return names
    raise SettingsError(f"setting {shown(key)} takes no names")


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
            raise SettingsError(_unknown_setting(key, specs))
        values[key] = parsed(specs[key], value.strip())
    return values


def _read_toml(path: Path) -> dict[str, Scalar]:
    text = read_utf8(path, "settings as TOML")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML ({error})") from None
    except (ValueError, RecursionError):
        raise SettingsError(f"{path}: not settings (a number of thousands of digits, or brackets too deep)") from None
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
            raise SettingsError(f"{path}: {_unknown_setting(key, known)}")
    return cast("dict[str, Scalar]", table)


def _unknown_setting(found: str, known: Iterable[str]) -> str:
    """Return the line for a name that is no setting: with ours where it is another tool's, else with the nearest."""
    names = {key_of(name): name for name in known}
    ours = OTHER_NAMES.get(key_of(found.casefold()), "")
    return (
        f"unknown setting '{shown(found)}': did you mean {names[ours]}?" if ours else unknown("setting", found, known)
    )


def _meant_for(spec: dataclasses.Field[Any], value: Any) -> str:
    """Return a hint where a name is one of another setting's, as ``strategy=focal`` is a remedy; else empty text."""
    for other in dataclasses.fields(FederationConfig):
        if other.name != spec.name and value != "none" and isinstance(value, str) and value in (names_of(other) or ()):
            return f" ({key_of(other.name)}={shown(value)} is there)"
    return ""


def app_config_table() -> str:
    """Return the ``[tool.flwr.app.config]`` table of ``pyproject.toml``: every setting with its default."""
    lines = ["[tool.flwr.app.config]"]
    lines += [f"{key} = {as_toml(default)}" for key, _, default, *_ in schema()]
    return "\n".join(lines) + "\n"
