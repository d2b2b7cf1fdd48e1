"""What a rehearsal starts is gone when it ends, however stubborn."""

import select
import subprocess

from edgefed.deploy import rehearse
from edgefed.deploy.provision import provision

STUBBORN = "trap '' TERM; sleep 60 & echo up; wait"


def test_what_does_not_stop_is_killed_with_all_that_it_started(tmp_path, monkeypatch):
    deployment = provision(tmp_path / "lab", ["127.0.0.1"], 1)
    monkeypatch.setattr(rehearse, "STOP_WITHIN", 0.2)
    monkeypatch.setattr(
        rehearse,
        "_edgefed",
        lambda *words: subprocess.Popen(["sh", "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True),
    )

    with rehearse._processes(deployment, (tmp_path / "rows.csv",)) as started:
        assert [process.stdout.readline() for _, process in started] == [b"up\n", b"up\n"]

    for _, process in started:
        with process.stdout as output:
            # It ends when nobody is left who could write to it.
            assert select.select([output], [], [], 10)[0]
            assert output.read() == b""
