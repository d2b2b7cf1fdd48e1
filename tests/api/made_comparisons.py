"""Small comparisons for tests."""

from federations import settings

import edgefed

ARMS = ("none", "post-hoc", "class-weights", "random-oversampling")
BASE = settings(num_server_rounds=4, local_epochs=1)


def compared(config=BASE, **arguments):
    return edgefed.compare(
        config, **({"strategies": ARMS, "seeds": 3, "tune": None, "progress": False, "processes": 1} | arguments)
    )


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_time(result):
    return {key: value for key, value in result.items() if key not in ("seconds", "comparison")}
