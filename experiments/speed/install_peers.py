"""Make an environment for each peer that the project's own cannot hold.

    python experiments/speed/install_peers.py [pfl fedjax fused] [--folder experiments/speed/.peers]

`flower` and `loop` need none: they run in the project's environment (with its extra `simulation`, for Ray). An
environment that is there and complete is kept; one that is not is made again. About 1 GB each for pfl and fused, half
a GB for fedjax.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from systems import ENVIRONMENTS, python_of

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from pytorch import install_torch  # noqa: E402  (the project's scripts are no package)
from steps import call, finish, step  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

DONE = "edgefed-peer.json"
"""Written into an environment last, with what was installed: one without it was never finished."""
TIME_LIMIT = 1800.0


class Peer(NamedTuple):
    """What an environment holds: requirements, and whether PyTorch (the project's version, no CUDA) comes first."""

    torch: bool
    requirements: tuple[str, ...]


PEERS = {
    "pfl": Peer(torch=True, requirements=("pfl[pytorch]==0.6.0",)),
    # The last fedjax, of 2023; it names no versions of JAX, and runs on this one with one name put back.
    "fedjax": Peer(torch=False, requirements=("fedjax==0.0.17", "jax[cpu]==0.10.2")),
    # PyTorch is what the kernel's weights are checked against.
    "fused": Peer(torch=True, requirements=("numba==0.68.1", "numpy==2.4.6")),
}


def install(name: str, peer: Peer, folder: Path) -> None:
    """Make one environment, where it is not there yet."""
    home, wanted = folder / name, json.dumps(peer._asdict())
    if (home / DONE).is_file() and (home / DONE).read_text(encoding="utf-8") == wanted:
        print(f"{name}: there already", file=sys.stderr)
        return
    if home.exists() and not (home / "pyvenv.cfg").is_file():
        raise OSError(f"{home}: is no environment of ours; name another --folder")
    shutil.rmtree(home, ignore_errors=True)
    log, variables = folder / f"{name}.log", dict(os.environ)
    with step(f"{name}: environment"):
        venv.create(home, with_pip=True)
    python = python_of(name, folder)
    if peer.torch:
        install_torch(python, ROOT, log, variables)
    with step(f"{name}: {', '.join(peer.requirements)}"):
        call([python, "-m", "pip", "install", *peer.requirements], ROOT, log, variables, TIME_LIMIT)
    (home / DONE).write_text(wanted, encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"{', '.join(PEERS)} (default: all)")
    parser.add_argument("--folder", type=Path, default=ENVIRONMENTS, help="where the environments are kept")
    asked = parser.parse_args(arguments)
    for name in asked.peers:
        if name not in PEERS:
            parser.error(f"no peer {name!r} needs an environment (known: {', '.join(PEERS)})")
    asked.folder.mkdir(parents=True, exist_ok=True)
    for name in asked.peers or PEERS:
        install(name, PEERS[name], asked.folder.resolve())
    return 0


if __name__ == "__main__":
    finish(main)
