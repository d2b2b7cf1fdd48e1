"""A run on real devices: submitted, watched, and read back from its folder as a simulation's is."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefed.api.progress import shown
from edgefed.config import FederationConfig, read_settings
from edgefed.data.device_file import server_test_rows
from edgefed.deploy.control import Control, NoServerError
from edgefed.deploy.folder import Deployment
from edgefed.errors import FederationError, SettingsError
from edgefed.runs import Interrupted, Run, check_same_settings, is_finished, new_folder, read_json
from edgefed.terminal import note

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOK_EVERY = 0.2
"""Seconds between two looks at a run's folder."""
COMING = 30.0
"""Seconds that a server is waited for before a run is given to it: it may have been started a moment ago."""
AWAY = 60.0
"""Seconds that a server may be away while a run is watched; one that was started again is given the run again."""
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
        if is_finished(home):
            check_same_settings(home, _as_kept(home, config))
            return Run.read(home)
    else:
        home = new_folder(out, f"devices-{config.imbalance}-seed-{config.seed}").resolve()
        config = config.replace(run_folder=str(home))
    control = Control(deployment.port, None if insecure else deployment.server / "ca.crt", deployment.loopback)
    try:
        run = _Submitted(control, deployment, home, config)
        try:
            run.submit_when_served()
        except (SettingsError, FederationError, KeyboardInterrupt):
            if not resume:
                with suppress(OSError):  # the run may have begun
                    home.rmdir()
            raise
        try:
            _watch(run, progress)
        except KeyboardInterrupt as stop:
            with suppress(SettingsError, FederationError):
                control.stop(run.number)
            raise Interrupted(home) from stop
    finally:
        control.close()
    return Run.read(home)


def settings_for(deployment: Deployment, given: Mapping[str, Any]) -> FederationConfig:
    """Return a run's settings on a deployment's devices, with something to test on.

    Raises
    ------
    SettingsError
        One line, before a server is asked for anything.
    """
    if not deployment.clients:
        raise SettingsError(
            f"{deployment.folder}: no device may join; edgefed provision --add, or --public-key, adds one"
        )
    devices = {"dataset": "devices", "num-clients": deployment.clients}
    settings = {**devices, **given}
    if settings["dataset"] != "devices":
        raise SettingsError(f"dataset={settings['dataset']}: devices train on their own files; leave it out")
    if path := settings.get("test-path"):
        path = Path(str(path)).expanduser().resolve()
        if not path.is_file():
            raise SettingsError(f"test-path={path}: no such file")
        settings["test-path"] = str(path)
    config = FederationConfig.from_mapping(settings)
    server_test_rows(config)
    return config


def _as_kept(home: Path, config: FederationConfig) -> FederationConfig:
    """Return settings with what the devices' files turned out to be, as the run's folder has it."""
    kept = read_settings(home / "config.toml")
    found = ("classes", "feature-columns", "label-column")
    return FederationConfig.from_mapping({**config.to_mapping(), **{key: kept[key] for key in found}})


@dataclass
class _Submitted:
    """A run that a server was given, and is given again where it was started anew and has forgotten it."""

    control: Control
    deployment: Deployment
    home: Path
    config: FederationConfig
    number: int = 0

    def submit(self) -> None:
        """Give it to the server, and write down that it was."""
        self.number = self.control.start(self.config.to_mapping())
        with (self.deployment.server / RUNS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"run": str(self.number), "folder": str(self.home)}) + "\n")

    def submit_when_served(self) -> None:
        """Give it to a server that may still be starting.

        Raises
        ------
        SettingsError, FederationError
            One line: nobody serves by then, or the server refuses.
        """
        deadline, told = time.monotonic() + COMING, False
        while True:
            try:
                return self.submit()
            except NoServerError:
                if time.monotonic() > deadline:
                    raise
                if not told:
                    told = True
                    note(f"edgefed: nobody serves on port {self.control.port} yet; waiting {COMING:g} s at most")
                time.sleep(LOOK_EVERY)

    def status(self) -> tuple[str, str, str]:
        """Return its status, from a server that may be away for a while.

        Raises
        ------
        KeyError
            Where the server knows nothing of it.
        FederationError
            One line, where it stays away.
        """
        deadline, told = time.monotonic() + AWAY, False
        while True:
            try:
                return self.control.status(self.number)
            except (SettingsError, FederationError):
                if time.monotonic() > deadline:
                    raise FederationError(
                        f"the server went away; once it serves again, --resume --out {self.home} goes on"
                    ) from None
                if not told:
                    told = True
                    note(f"edgefed: the server does not answer; waiting for it, {AWAY:g} s at most")
                time.sleep(LOOK_EVERY)


def last_run(deployment: Deployment) -> Path | None:
    """Return the folder of the newest run that was launched; None where there is none."""
    path = deployment.server / RUNS
    if not path.is_file():
        return None
    for line in reversed(path.read_text(encoding="utf-8").splitlines()):
        with suppress(ValueError, KeyError, TypeError):  # a line that was not written to its end
            return Path(json.loads(line)["folder"])
    return None


def _watch(run: _Submitted, progress: bool | None) -> None:
    """Show each round as it comes, until the run ends; a server that has forgotten it is given it again.

    Raises
    ------
    FederationError
        One line, where it did not end well.
    """
    seen: list[dict[str, Any]] = []
    asked, given_again = 0.0, -1
    with shown(progress, run.config.num_server_rounds, "devices") as show:
        while True:
            new = _rows(run.home, len(seen))
            if new and not seen:
                for absent in left_out_of(run.home):
                    note(f"edgefed: {absent['name']} is left out: {absent['why']}")
            for row in new:
                seen.append(row)
                show(seen)
            if time.monotonic() - asked > 5 * LOOK_EVERY or len(seen) == run.config.num_server_rounds:
                asked = time.monotonic()
                try:
                    status, ending, details = run.status()
                except KeyError:
                    if is_finished(run.home):
                        return
                    if given_again == len(seen):
                        raise FederationError(
                            f"the server was started again twice and no round came between: see {run.deployment.server}"
                            f"/logs; --resume --out {run.home} goes on"
                        ) from None
                    given_again = len(seen)
                    note("edgefed: the server was started again: the run goes on from its last committed round")
                    run.submit()
                    continue
                if status == "finished":
                    break
            time.sleep(LOOK_EVERY)
    if ending != "completed":
        reason = " ".join(details.removeprefix("ServerApp failed with exception: ").split()) or f"the run was {ending}"
        raise FederationError(reason)


def left_out_of(home: Path) -> list[dict[str, Any]]:
    """Return the devices that a run does without: ``partition-id``, ``name`` and ``why``."""
    try:
        return list(read_json(home / "manifest.json").get("left-out", ()))
    except SettingsError:
        return []


def _rows(home: Path, since: int) -> list[dict[str, Any]]:
    """Return the rounds that are written out whole, but for the first so many."""
    try:
        lines = (home / "history.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines[since:]]
