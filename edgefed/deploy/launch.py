"""A run on real devices: submitted, watched, and read back from its folder as a simulation's is."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefed.api.progress import shown
from edgefed.api.single import check_same_settings
from edgefed.config import FederationConfig, read_settings
from edgefed.deploy.control import Control
from edgefed.deploy.folder import Deployment
from edgefed.errors import SettingsError
from edgefed.federation.federation import FederationError
from edgefed.runs import Interrupted, Run, is_folder_of, new_folder, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOK_EVERY = 0.2
"""Seconds between two looks at a run's folder."""
AWAY = 10.0
"""Seconds that a server may be away while a run is watched."""
RUNS = "runs.jsonl"
"""Which runs a deployment has been given: a line each, in its server folder."""


def launch(
    folder: Path,
    given: Mapping[str, Any],
    *,
    out: Path | None = None,
    insecure: bool = False,
    resume: bool = False,
    progress: bool | None = None,
) -> Run:
    """Train one federation on the devices of a deployment. Runs on the server's own machine.

    Parameters
    ----------
    folder : Path
        The deployment's.
    given : mapping of str to scalar
        Settings; ``dataset=devices`` is understood, and ``num-clients`` is the number of devices where it is not said.
    out : Path, optional
        The run's folder, made new. Neutral: a new one under ``runs``.
    insecure : bool
        The server was started so.
    resume : bool
        Go on with the run in ``out``; a finished one is returned as it is.
    progress : bool, optional
        Show each round on stderr. Neutral: in a terminal.

    Returns
    -------
    Run

    Raises
    ------
    SettingsError, FederationError
        In one line.
    """
    deployment = Deployment.read(folder)
    config = settings_for(deployment, given)
    if resume and out is None:
        raise SettingsError("--resume needs --out: the folder of the run to go on with")
    if resume and out is not None and (out / "config.toml").is_file():
        home = out.resolve()
        config = config.replace(run_folder=str(home))
        if is_folder_of(home, "run") and "summary" in read_json(home / "manifest.json"):
            check_same_settings(home, _as_kept(home, config))
            return Run.read(home)
    else:
        home = new_folder(out, f"devices-{config.imbalance}-seed-{config.seed}").resolve()
        config = config.replace(run_folder=str(home))
    control = Control(deployment.port, None if insecure else deployment.server / "ca.crt")
    try:
        try:
            run = control.start(config.to_mapping())
        except (SettingsError, FederationError):
            if not resume:
                home.rmdir()
            raise
        _remember(deployment, run, home)
        try:
            _watch(control, run, home, config, progress)
        except KeyboardInterrupt as stop:
            with suppress(SettingsError, FederationError):
                control.stop(run)
            raise Interrupted(home) from stop
    finally:
        control.close()
    return Run.read(home)


def settings_for(deployment: Deployment, given: Mapping[str, Any]) -> FederationConfig:
    """Return a run's settings on a deployment's devices."""
    active = deployment.active
    if not active:
        raise SettingsError(
            f"{deployment.folder}: no device may join; edgefed provision --add, or --public-key, adds one"
        )
    devices = {"dataset": "devices", "num-clients": active[-1].partition_id + 1}
    settings = {**devices, **given}
    if settings["dataset"] != "devices":
        raise SettingsError(f"dataset={settings['dataset']}: devices train on their own files; leave it out")
    if path := settings.get("test-path"):
        path = Path(str(path)).expanduser().resolve()
        if not path.is_file():
            raise SettingsError(f"test-path={path}: no such file")
        settings["test-path"] = str(path)
    return FederationConfig.from_mapping(settings)


def _as_kept(home: Path, config: FederationConfig) -> FederationConfig:
    """Return settings with what the devices' files turned out to be, as the run's folder has it."""
    kept = read_settings(home / "config.toml")
    found = ("classes", "feature-columns", "label-column")
    return FederationConfig.from_mapping({**config.to_mapping(), **{key: kept[key] for key in found}})


def _remember(deployment: Deployment, run: int, home: Path) -> None:
    with (deployment.server / RUNS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"run": str(run), "folder": str(home)}) + "\n")


def last_run(deployment: Deployment) -> Path | None:
    """Return the folder of the newest run that was launched; None where there is none."""
    path = deployment.server / RUNS
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    return Path(json.loads(lines[-1])["folder"]) if lines else None


def _watch(control: Control, run: int, home: Path, config: FederationConfig, progress: bool | None) -> None:
    """Show each round as it comes, until the run ends.

    Raises
    ------
    FederationError
        One line, where it did not end well.
    """
    seen: list[dict[str, Any]] = []
    asked = 0.0
    with shown(progress, config.num_server_rounds, "devices") as show:
        while True:
            for row in _rows(home)[len(seen) :]:
                seen.append(row)
                show(seen)
            if time.monotonic() - asked > 5 * LOOK_EVERY or len(seen) == config.num_server_rounds:
                asked = time.monotonic()
                status, ending, details = _status(control, run, home)
                if status == "finished":
                    break
            time.sleep(LOOK_EVERY)
    if ending != "completed":
        reason = " ".join(details.removeprefix("ServerApp failed with exception: ").split()) or f"the run was {ending}"
        raise FederationError(reason)


def _status(control: Control, run: int, home: Path) -> tuple[str, str, str]:
    """Return a run's status, from a server that may be away for a moment.

    Raises
    ------
    FederationError
        One line, where it stays away or has forgotten the run.
    """
    deadline = time.monotonic() + AWAY
    while True:
        try:
            return control.status(run)
        except (SettingsError, FederationError, KeyError) as error:
            if time.monotonic() > deadline:
                why = "knows nothing of this run any more" if isinstance(error, KeyError) else "went away"
                raise FederationError(
                    f"the server {why}; once it serves again, --resume --out {home} goes on"
                ) from None
            time.sleep(LOOK_EVERY)


def _rows(home: Path) -> list[dict[str, Any]]:
    """Return the rounds that are written out whole."""
    try:
        lines = (home / "history.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]
