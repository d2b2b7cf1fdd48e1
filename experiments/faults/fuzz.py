"""Fuzz the readers of bytes from elsewhere, guided by coverage (Atheris, libFuzzer).

    pip install -c constraints.txt atheris
    python experiments/faults/fuzz.py [csv settings message checkpoint] [--runs 100000]

A traceback, an input that takes longer than 10 s or one that takes a gigabyte ends a target with an input that shows
it; such inputs are kept in tests/corpus, which the tests read. README.md says what was seen.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE.parents[1] / "tests" / "corpus"
NAMES = ("csv", "settings", "message", "checkpoint")
SECONDS, MEBIBYTES, LONGEST = 10, 1024, 4096


def fuzz(name: str, runs: int) -> int:
    """Fuzz one target in a process of its own; return libFuzzer's exit code."""
    kept = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    found = [f"-artifact_prefix={kept}/", f"-runs={runs}", f"-timeout={SECONDS}", f"-rss_limit_mb={MEBIBYTES}"]
    known = CORPUS / name
    folders = [str(kept), *([str(known)] if known.is_dir() else [])]
    command = [sys.executable, str(Path(__file__)), "--target", name, *found, f"-max_len={LONGEST}", *folders]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    print(f"{name}: {next((line for line in reversed(lines) if line.startswith('Done ')), 'stopped')}", flush=True)
    if done.returncode:
        print("\n".join(lines[-30:]))
    return done.returncode


def target(name: str, arguments: list[str]) -> None:
    """Be the process that is fuzzed."""
    import atheris

    sys.path.insert(0, str(HERE))
    with atheris.instrument_imports(include=["edgefed", "fuzz_targets"]):
        import fuzz_targets

        good = fuzz_targets.TARGETS[name][1]()
        Path(arguments[-1] if len(arguments) == 1 else next(a for a in arguments if not a.startswith("-"))).joinpath(
            "good"
        ).write_bytes(good)
    atheris.Setup([sys.argv[0], *arguments], lambda content: fuzz_targets.tried(name, content))
    atheris.Fuzz()


def main() -> int:
    """Fuzz the targets that are asked for, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], default=[])
    parser.add_argument("--runs", type=int, default=100_000)
    asked = parser.parse_args()
    return max(fuzz(name, asked.runs) for name in asked.names or NAMES)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--target"]:
        target(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
