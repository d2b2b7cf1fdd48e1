"""The real command line as a person calls it, from the shell to the end: ``run`` or ``compare``, imports included."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workload import emit

try:
    import resource
except ImportError:  # not on Windows
    resource = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["run", "compare"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, help="compare: fewer seeds than the default")
    asked = parser.parse_args()
    options = [word for text in asked.set for word in ("--set", text)]
    if asked.seeds:
        options += ["--seeds", str(asked.seeds)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "edgefed", asked.command, *options, "--out", str(out), "--format", "json"]
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begun
        if done.returncode:
            raise SystemExit(done.stderr)
        result = json.loads(done.stdout)
        pictures = sum(1 for path in out.rglob("*.png"))
    emit(
        [seconds],
        ["edgefed", "flwr", "torch"],
        command=" ".join(["edgefed", asked.command, *options]),
        federations=result.get("federations", 1),
        client_updates=result["client_updates"],
        pictures=pictures,
        peak_mib=None if resource is None else resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    )


if __name__ == "__main__":
    main()
