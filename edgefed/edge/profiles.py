"""What a device can do, in a few numbers with their sources, and which device each client is."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.errors import SettingsError, read_utf8, shown, unknown
from edgefed.rng import counter_keys, uniforms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """A device as the clock and the energy model see it.

    Attributes
    ----------
    step_seconds : float
        What a training step costs whatever it computes: the framework's own time.
    flops : float
        Operations a second in training, single precision.
    memory : float
        Bytes. Nothing is refused for not fitting; a note says what cannot (:mod:`edgefed.edge.memory`).
    down, up : float
        Bits a second.
    latency : float
        Seconds before the first byte of a message, either way.
    idle, compute, receive, send : float
        Watts of the whole device while it waits, trains, downloads and uploads.
    battery : float
        Joules; 0: on the mains.
    source : str
        Where the numbers come from, and which are estimates.
    """

    step_seconds: float
    flops: float
    memory: float
    down: float
    up: float
    latency: float
    idle: float
    compute: float
    receive: float
    send: float
    battery: float = 0.0
    source: str = ""


_HPL = "HPL Linpack and watts under it: github.com/geerlingguy/top500-benchmark (README, 2025)"
_FLOPS = "flops = 2 (single precision) x HPL Gflop/s a core: training here reaches what matrix products reach"
_STEP = "step-seconds: 56 us measured on the reference machine (Xeon, PyTorch 2.13, one thread), scaled (estimate)"
_WIFI = "Wi-Fi behind the median fixed line: latency Ookla 2022 (10 ms); 50/20 Mbit/s is an estimate of Wi-Fi in use"
_LTE = "LTE medians 13/6 Mbit/s and radio power 1.29 W + 52 or 438 mW a Mbit/s: Huang et al. 2012 (MobiSys)"

#: name -> profile; the keys are what the setting ``devices`` takes.
PROFILES: dict[str, Profile] = {
    "microcontroller": Profile(
        step_seconds=1e-5,
        flops=5e7,
        memory=128 * 2**10,
        down=1e6,
        up=1e6,
        latency=0.05,
        idle=0.001,
        compute=0.03,
        receive=0.03,
        send=0.05,
        battery=8_100.0,
        source="MAX78000: Cortex-M4F at 100 MHz with 128 KiB SRAM (datasheet). Its CNN accelerator infers only, so "
        "training runs on the core: 1 multiply-add in 4 cycles, an estimate. Bluetooth LE at 1 Mbit/s (LE 1M PHY). "
        "Power and latency are estimates of the order that its application notes show; battery: 3 V, 750 mAh.",
    ),
    "raspberry-pi-4": Profile(
        step_seconds=2.6e-4,
        flops=5.9e9,
        memory=4 * 2**30,
        down=50e6,
        up=20e6,
        latency=0.01,
        idle=2.7,
        compute=3.8,
        receive=3.0,
        send=3.2,
        source=f"BCM2711, 4 Cortex-A72. {_HPL}: 11.889 Gflop/s at 7.2 W on four cores. {_FLOPS}. {_STEP} by "
        "sysbench's single-core ratio to the Pi 5, 1478 to 2737 events/s (leoncode.co.uk). Idle 2.7 W: 540 mA at 5 V "
        f"(Pi Dramble); one busy core idle + (7.2 - 2.7) / 4 W. {_WIFI}; receive and send 0.3 and 0.5 W above idle "
        "are estimates.",
    ),
    "raspberry-pi-5": Profile(
        step_seconds=1.4e-4,
        flops=15.1e9,
        memory=8 * 2**30,
        down=50e6,
        up=20e6,
        latency=0.01,
        idle=3.3,
        compute=5.2,
        receive=3.6,
        send=3.8,
        source=f"BCM2712, 4 Cortex-A76 at 2.4 GHz. {_HPL}: 30.249 Gflop/s at 11 W on four cores. {_FLOPS}. {_STEP}, "
        "2.5 times. Idle 3.3 W: the middle of 3.0 to 3.5 W as reported; one busy core idle + (11 - 3.3) / 4 W. "
        f"{_WIFI}; receive and send 0.3 and 0.5 W above idle are estimates.",
    ),
    "jetson-orin-nano": Profile(
        step_seconds=2.2e-4,
        flops=9.4e9,
        memory=8 * 2**30,
        down=50e6,
        up=20e6,
        latency=0.01,
        idle=4.5,
        compute=7.0,
        receive=4.8,
        send=5.0,
        source="6 Cortex-A78AE at 1.5 GHz, 8 GB, 7 and 15 W modes (NVIDIA datasheet). The processor alone, since the "
        f"models of an edge federation are too small for its GPU: a core's share of the Pi 5's HPL by clock, an "
        f"estimate. {_STEP} by clock. Compute is the 7 W mode, idle an estimate. {_WIFI}.",
    ),
    "phone": Profile(
        step_seconds=8e-5,
        flops=17.6e9,
        memory=8 * 2**30,
        down=13e6,
        up=6e6,
        latency=0.028,
        idle=0.5,
        compute=3.0,
        receive=2.5,
        send=4.4,
        battery=64_800.0,
        source="A phone of 2023 with one large core at 2.8 GHz: the Pi 5's HPL by clock, and 1.4 x the reference "
        f"machine's step (estimates). {_LTE}, plus idle; latency Ookla 2022 (28 ms). Idle with the screen off 0.5 W "
        "and one busy large core 3 W are estimates; battery 5,000 mAh at 3.85 V, rounded to 18 Wh.",
    ),
    "laptop": Profile(
        step_seconds=5.6e-5,
        flops=52e9,
        memory=16 * 2**30,
        down=50e6,
        up=20e6,
        latency=0.01,
        idle=5.0,
        compute=15.0,
        receive=5.5,
        send=5.7,
        source=f"{_HPL}: M2 MacBook Air 104.68 Gflop/s, over its 4 large cores. {_FLOPS}. Step: as measured on the "
        f"reference machine. Power is an estimate for a thin laptop. {_WIFI}.",
    ),
}

_NUMBERS = tuple(spec.name for spec in fields(Profile) if spec.name != "source")


@dataclass(frozen=True)
class Fleet:
    """Each client's device: arrays with an entry a client, named as in :class:`Profile`.

    ``kind`` [clients] indexes ``names``.
    """

    names: tuple[str, ...]
    kind: NDArray[np.int64]
    step_seconds: Floats
    flops: Floats
    memory: Floats
    down: Floats
    up: Floats
    latency: Floats
    idle: Floats
    compute: Floats
    receive: Floats
    send: Floats
    battery: Floats


def fleet(mixture: str, clients: int, seed: int, spread: float = 0.0, own: str = "") -> Fleet:
    """Return which device each client is, drawn by its name from a mixture.

    Parameters
    ----------
    mixture : str
        A profile, or profiles with shares: ``raspberry-pi-4:0.7,jetson-orin-nano:0.3``.
    clients : int
    seed : int
        Names the draws, with the client.
    spread : float
        SD of the logarithm of each client's speed, and of its bandwidth. Neutral: 0.
    own : str
        A TOML file of further profiles, a table each.

    Raises
    ------
    SettingsError
        For an unknown profile, or shares that are none.
    """
    known = {**PROFILES, **own_profiles(own)}
    shares = parsed_mixture(mixture, known)
    ids = np.arange(clients)
    edges = np.cumsum(list(shares.values()))
    kind = np.searchsorted(edges[:-1] / edges[-1], uniforms(counter_keys(seed, "devices", 0, ids, 0)), side="right")
    table = {name: np.array([getattr(known[device], name) for device in shares]) for name in _NUMBERS}
    # One device alike for all lies in memory once: a cohort of a million is not fetched from all over it.
    table = {name: np.broadcast_to(row, clients) if len(row) == 1 else row[kind] for name, row in table.items()}
    if spread:
        factor = np.exp(spread * _normals(seed, ids))
        table["flops"] = table["flops"] * factor[:, 0]
        table["step_seconds"] = table["step_seconds"] / factor[:, 0]
        table["down"], table["up"] = table["down"] * factor[:, 1], table["up"] * factor[:, 1]
    return Fleet(tuple(shares), kind, **table)


def _normals(seed: int, ids: NDArray[np.int64]) -> Floats:
    """Return two standard normal numbers a client [clients, 2], by Box and Muller (1958)."""
    first, second = (uniforms(counter_keys(seed, "devices", 0, ids, place)) for place in (1, 2))
    radius, angle = np.sqrt(-2 * np.log(first)), 2 * np.pi * second
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def parsed_mixture(text: str, known: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of each profile that a mixture names, as written.

    Raises
    ------
    SettingsError
    """
    shares: dict[str, float] = {}
    for part in (part.strip() for part in text.split(",")):
        name, colon, share = (piece.strip() for piece in part.partition(":"))
        if name not in known:
            raise SettingsError(f"devices={shown(text)}: {unknown('device', name, known)}")
        again = name in shares
        try:
            shares[name] = float(share) if colon else 1.0
        except ValueError:
            shares[name] = -1.0
        if not 0 < shares[name] < float("inf"):
            raise SettingsError(f"devices={shown(text)}: '{shown(share)}' is no share of {name}; expected NAME:0.7")
        if again:
            raise SettingsError(f"devices={shown(text)}: {name} is there twice, expected once with its whole share")
    return shares


def own_profiles(path: str) -> dict[str, Profile]:
    """Return the profiles of a person's TOML file: a table a device, every number of :class:`Profile` in it.

    Raises
    ------
    SettingsError
        One line: the file, the table, the key, and what would do.
    """
    if not path:
        return {}
    text = read_utf8(Path(path), "device profiles as TOML")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a whole number of thousands of digits too
        raise SettingsError(f"{path}: not valid TOML ({error})") from None
    return {name: _profile(path, name, table) for name, table in document.items()}


def _profile(path: str, name: str, table: Any) -> Profile:
    wanted = {key.replace("_", "-"): key for key in _NUMBERS}
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: '{shown(name)}' is no table; expected [{shown(name)}] with {', '.join(wanted)}")
    for key in table:
        if key != "source" and key not in wanted:
            raise SettingsError(f"{path} [{shown(name)}]: {unknown('number', key, wanted)}")
    values: dict[str, float] = {}
    for key, attribute in wanted.items():
        value = table.get(key, 0 if attribute == "battery" else None)
        may_be_none = attribute in ("battery", "latency", "idle", "step_seconds")
        least = "at least 0" if may_be_none else "more than 0"
        if value is None:
            raise SettingsError(f"{path} [{shown(name)}]: {key} is missing; expected a number, {least}")
        good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max
        if not good or (value == 0 and not may_be_none):
            raise SettingsError(f"{path} [{shown(name)}]: {key}={shown(value)}: expected a number, {least}")
        values[attribute] = float(value)
    source = table.get("source", path)
    return Profile(**values, source=source if isinstance(source, str) else shown(source))


def as_toml_table(name: str, profile: Profile) -> str:
    """Return a profile as :func:`own_profiles` reads it."""
    lines = [f"{key.replace('_', '-')} = {getattr(profile, key)!r}" for key in _NUMBERS]
    return "\n".join([f"[{name}]", *lines, f'source = "{profile.source}"']) + "\n"
