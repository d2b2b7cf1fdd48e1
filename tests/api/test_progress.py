"""Progress: in a log a line at once, and none too often; in a terminal a bar."""

import re
from io import StringIO

import pytest
from rich.console import Console

from edgefed.api import afar, progress


@pytest.fixture
def clock(monkeypatch):
    """Return a list whose only entry is the time."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_long_work_says_so_at_once_and_then_every_ten_seconds_and_less_often_as_time_goes_by(clock, capsys):
    said = []
    with progress.shown(True, 20_000, "iris") as show:
        assert capsys.readouterr().err == "iris: round 0/20000  begins\n"
        for second in range(1, 301):
            clock[0] += 1.0
            show([])
            if line := capsys.readouterr().err:
                assert re.fullmatch(rf"iris: round {second}/20000 .* s left\n", line)
                said.append(second)

    assert said[:10] == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    # From then on a tenth of the time so far: n - last >= n / 10.
    assert said[10:] == [112, 125, 139, 155, 173, 193, 215, 239, 266, 296]


def test_short_work_gets_its_tenths(clock, capsys):
    with progress.shown(True, 50, "iris") as show:
        for _ in range(50):
            show([])

    places = [int(place) for place in re.findall(r"round (\d+)/50", capsys.readouterr().err)]
    assert places == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50]


def test_an_audit_of_many_runs_tells_how_far_it_is(clock, capsys):
    with progress.asking(True, "auditing iris", 30) as show:
        for place in range(30):
            clock[0] += 4.0
            show(place, 1, 1)

    first, *others = capsys.readouterr().err.splitlines()
    assert first == "auditing iris: asking the clients of 30 runs"
    # Each third run ends 12 s after the one last told of.
    assert others == [f"auditing iris: run {place} of 30" for place in range(3, 31, 3)]


def test_nothing_is_said_where_it_is_not_wanted(capsys):
    with progress.shown(False, 3, "iris") as show, progress.asking(False, "auditing iris", 3) as asked:
        show([])
        asked(0, 1, 1)
    progress.say(False, "a line")

    assert capsys.readouterr().err == ""


def test_where_tenths_are_not_wanted_only_time_brings_a_line_and_the_end(clock, capsys):
    with progress.shown(True, 50, "iris", tenths=False) as show:
        for _ in range(50):
            clock[0] += 0.5
            show([])

    places = [int(place) for place in re.findall(r"round (\d+)/50", capsys.readouterr().err)]
    assert places == [0, 20, 40, 50]


def test_time_left_follows_from_the_rounds_and_not_from_what_was_loaded_before_them(clock, capsys):
    with progress.shown(True, 100, "iris") as show:
        clock[0] += 500.0
        show([{"test": {"balanced_accuracy": 0.5}}])
        for _ in range(19):
            clock[0] += 1.0
            show([])

    first, *_, last = capsys.readouterr().err.splitlines()[1:]
    assert first == "iris: round 1/100  test balanced accuracy 0.500"
    assert last == "iris: round 20/100  80 s left"


def test_what_another_process_tells_is_shown_once_and_the_rest_at_its_end(monkeypatch):
    shown = []
    now = [0.0]
    monkeypatch.setattr(afar.time, "monotonic", lambda: now[0])
    with afar.Listener(lambda rounds, by: shown.append((rounds, by)), 10) as listener:
        tell = afar.Teller(listener.path(3))
        for number in range(1, 8):  # the first line after three seconds, then one a second: of rounds 3 and 6
            now[0] += 1.0 if number <= 3 else 0.4
            tell([{"validation": {"balanced_accuracy": number / 10, "log_loss": 1.0}}])
            listener.look()
        listener.finished(3, ["all"])
        listener.finished(4, ["quick"])
        folder = listener.path(0).parent
        assert list(folder.iterdir()) == []

    scored = [[{"validation": {"balanced_accuracy": score}}] for score in (0.3, 0.6)]
    assert shown == [(scored[0], 3), (scored[1], 3), (["all"], 4), (["quick"], 10)]
    assert not folder.exists()


@pytest.mark.parametrize("width", [90, 120])
def test_a_narrow_terminal_cuts_no_number(width):
    """What is trained takes a second line there."""
    console = Console(width=width, file=StringIO(), force_terminal=True, color_system=None)
    bar = progress._bar(console, "steps")
    what = "1200 federations in 18 blocks, references in 6 parts"
    bar.add_task(what, total=2400, completed=1234, metric="validation balanced accuracy 0.712")
    with console.capture() as captured:
        console.print(bar.get_renderable())

    shown = captured.get()
    assert "1234/2400 steps validation balanced accuracy 0.712 " in shown
    assert all(word in shown for word in what.split())
