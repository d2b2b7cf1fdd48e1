"""A device's process, in parts: how it is started, how long it sleeps, and what it keeps between messages."""

import os
import signal
import socket
import threading
from contextlib import closing
from types import SimpleNamespace

import httpx
import pytest
from flwr.common.config import parse_config_args
from flwr.common.constant import SubStatus
from flwr.supercore.run import RunNotRunningException
from httpcore._backends import sync
from processes import free_port

from edgefed.cli import _exit_code
from edgefed.config import FederationConfig
from edgefed.data.device_file import last_column
from edgefed.deploy import launch as launching
from edgefed.deploy import supernode as node
from edgefed.deploy import worker as warm
from edgefed.deploy.control import Control, NoServerError
from edgefed.deploy.dialling import Dialling
from edgefed.deploy.folder import DeviceIdentity
from edgefed.deploy.provision import provision
from edgefed.deploy.supernode import Dismissal, Pace, Start, _arguments, _in_words, _same_again
from edgefed.deploy.worker import APP, KeptClients, Worker
from edgefed.errors import FederationError, SettingsError
from edgefed.runs import write_json

ROWS = "x,y\n" + "1,a\n2,b\n" * 5


@pytest.fixture
def device(tmp_path):
    deployment = provision(tmp_path / "lab", ["fl.lab.example"], 1, port=free_port())
    (tmp_path / "rows.csv").write_text(ROWS)
    return deployment.device_folder("device-0")


def refused(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["edgefed", *map(str, words)])
    code = _exit_code()
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1), err
    return code, err


def test_mistakes_are_one_line(device, tmp_path, monkeypatch, capsys):
    rows = tmp_path / "rows.csv"
    code, said = refused(monkeypatch, capsys, "launch-device", device, "--data", tmp_path / "none.csv")
    assert (code, "no such file; expected this device's rows" in said) == (2, True)
    code, said = refused(monkeypatch, capsys, "launch-device", tmp_path, "--data", rows)
    assert (code, "no device.json" in said) == (2, True)
    code, said = refused(monkeypatch, capsys, "launch-device", device, "--data", rows, "--insecure")
    assert (code, "leave it out, or say --on-network as well" in said) == (2, True)
    lab = tmp_path / "lab"
    code, said = refused(monkeypatch, capsys, "launch-server", lab, "--insecure")
    assert (code, "lets anybody who reaches 0.0.0.0 or :: take part" in said) == (2, True)
    for host in ("0.0.0.0", "::"):
        code, said = refused(monkeypatch, capsys, "launch-server", lab, "--insecure", "--host", host)
        assert (code, f"lets anybody who reaches {host} take part" in said) == (2, True)
    for host in ("192.168.1.7", "2001:db8::1", "fl.lab.example"):
        code, said = refused(monkeypatch, capsys, "launch-server", lab, "--host", host)
        assert (code, f"--host {host}: this machine's own commands reach the server at loopback" in said) == (2, True)
    quoted = tmp_path / 'a"b.csv'
    quoted.write_text(ROWS)
    code, said = refused(monkeypatch, capsys, "launch-device", device, "--data", quoted)
    assert (code, "a path that holds a double quote: rename it" in said) == (2, True)
    (device / "ca.crt").unlink()
    code, said = refused(monkeypatch, capsys, "launch-device", device, "--data", rows)
    assert (code, "copy the device's folder from the server again" in said) == (2, True)
    (lab / "server" / "server.crt").unlink()
    code, said = refused(monkeypatch, capsys, "launch-server", lab, "--host", "127.0.0.1")
    assert (code, "--renew makes it again" in said) == (2, True)


def test_a_device_without_a_key_makes_one_and_says_where_it_goes(device, tmp_path, monkeypatch, capsys):
    (device / "device.key").unlink()
    (device / "device.pub").unlink()
    code, said = refused(monkeypatch, capsys, "launch-device", device, "--data", tmp_path / "rows.csv")
    assert code == 1
    assert "--public-key device.pub --device device-0" in said
    assert (device / "device.key").stat().st_mode & 0o777 == 0o600
    assert (device / "device.pub").read_text().startswith("ecdsa-sha2-nistp384 ")


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern")  # what Flower uses to build its bundles
def test_launch_refuses_what_cannot_be_before_it_asks_the_server(tmp_path, monkeypatch, capsys):
    lab = provision(tmp_path / "lab", ["127.0.0.1"], 1, port=1).folder
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launching, "COMING", 0.0)
    (tmp_path / "test.csv").write_text("petal,species\n1,setosa\n2,virginica\n")
    for words, says in (
        (["-s", "dataset=iris"], "dataset=iris: devices train on their own files"),
        (["-s", "test-path=nowhere.csv"], "nowhere.csv: no such file"),
        (
            ["-s", "test-path=test.csv", "-s", "classes=setosa,versicolor"],
            "row 3, column 'species': not in classes=setosa,versicolor",
        ),
        (["-s", "test-path=", "-s", "client-test-fraction=0"], "nothing to test on: give test-path, or a client-test"),
        (["-s", "privacy=dp-fixed", "-s", "standardize=none"], "privacy=dp-fixed has devices test nothing, give test"),
        (["--resume"], "--resume needs --out"),
        (["-s", "alhpa=1"], "did you mean alpha?"),
        ([], "no server on port 1 of this machine (not running): edgefed launch-server"),
    ):
        code, said = refused(monkeypatch, capsys, "launch", lab, *words)
        assert (code, says in said) == (2, True), said
    assert not list((tmp_path / "runs").glob("*"))


class Server:
    """A server that answers from a moment on, and has forgotten its runs so many times."""

    def __init__(self, now, *, back=0.0, forgets=0):
        self.now, self.back, self.forgets, self.submitted = now, back, forgets, 0

    def status(self, run):
        if self.now.value < self.back:
            raise SettingsError("no server")
        if self.forgets:
            self.forgets -= 1
            raise KeyError(run)
        return "finished", "completed", ""

    port = 8000

    def start(self, settings):
        if self.now.value < self.back:
            raise NoServerError("no server")
        self.submitted += 1
        return 7 + self.submitted


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """Watch a run that was submitted to a server, on a clock that passes as it is waited for."""
    now = SimpleNamespace(value=0.0)

    def later(seconds):
        now.value += seconds

    monkeypatch.setattr(launching, "time", SimpleNamespace(monotonic=lambda: now.value, sleep=later))
    deployment = provision(tmp_path / "lab", ["127.0.0.1"], 1, port=1)
    config = FederationConfig(dataset="devices", num_clients=1)

    def watch(**how):
        server = Server(now, **how)
        launching._watch(submitted_to(server), False)
        return server.submitted

    def submitted_to(server):
        return launching._Submitted(server, deployment, tmp_path, config, 7)

    watch.now, watch.submitted_to = now, submitted_to
    return watch


def test_a_server_that_stays_away_is_a_failed_run_and_one_that_is_back_in_time_is_not(watched, tmp_path):
    assert watched(back=launching.AWAY / 2) == 0
    with pytest.raises(FederationError, match=f"the server went away; .* --resume --out {tmp_path} goes on"):
        watched(back=float("inf"))


def test_a_server_that_is_still_starting_is_waited_for(watched, tmp_path, capsys):
    run = watched.submitted_to(Server(watched.now, back=launching.COMING / 2))
    run.submit_when_served()
    assert run.number == 8
    assert capsys.readouterr().err == "edgefed: nobody serves on port 8000 yet; waiting 30 s at most\n"
    with pytest.raises(NoServerError):
        watched.submitted_to(Server(watched.now, back=float("inf"))).submit_when_served()


@pytest.mark.parametrize(("error", "kind"), [(httpx.ConnectError, NoServerError), (httpx.ReadTimeout, SettingsError)])
def test_a_request_that_may_have_come_is_not_taken_for_one_that_did_not(error, kind):
    with closing(Control(1, None)) as control, pytest.raises(SettingsError) as caught, control._answering():
        raise error("cut")
    assert type(caught.value) is kind


def test_a_launch_that_is_interrupted_leaves_what_has_begun(tmp_path, monkeypatch):
    lab = provision(tmp_path / "lab", ["127.0.0.1"], 1, port=1).folder

    def interrupted(run):
        (run.home / "config.toml").write_text("")
        raise KeyboardInterrupt

    monkeypatch.setattr(launching._Submitted, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launching.launch(lab, {}, out=tmp_path / "run", insecure=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.toml"]


def test_who_launches_a_run_is_told_whom_it_does_without(watched, tmp_path, capsys):
    why = "its terms have privacy=secagg, the run has none"
    write_json(tmp_path / "manifest.json", {"left-out": [{"partition-id": 1, "name": "device-1", "why": why}]})
    (tmp_path / "history.jsonl").write_text('{"round": 1}\n{"round": 2}\n')
    watched()
    assert capsys.readouterr().err == f"edgefed: device-1 is left out: {why}\n"


def test_a_server_that_was_started_again_is_given_the_run_again_and_not_for_ever(watched, tmp_path, capsys):
    assert watched(back=launching.AWAY / 2, forgets=1) == 1
    assert "the run goes on from its last committed round" in capsys.readouterr().err
    with pytest.raises(FederationError, match=f"twice and no round came between: .* --resume --out {tmp_path} goes on"):
        watched(forgets=2)


def test_the_longer_nothing_has_come_the_less_often_the_server_is_looked_at(monkeypatch):
    slept, now = [], SimpleNamespace(value=1000.0)
    monkeypatch.setattr("edgefed.deploy.supernode.time.sleep", slept.append)
    monkeypatch.setattr("edgefed.deploy.supernode.time.monotonic", lambda: now.value)
    pace = Pace()
    pace.sleep(3)
    pace.answered.set()
    pace.sleep(0.5)  # a message is there: the worker is told, and has answered already
    for passed in (0, 5, 30, 600):
        now.value = 1000.0 + passed
        pace.sleep(3)
    assert slept == [3, 0.1, 0.5, 3.0, 3]
    assert pace.arrived.is_set()
    assert not pace.answered.is_set()


def test_a_device_notes_when_flower_stops_it_and_passes_everything_else_on(monkeypatch):
    killed = []
    monkeypatch.setattr(os, "kill", lambda *arguments: killed.append(arguments))
    dismissal = Dismissal()
    assert dismissal.getpid() == os.getpid()
    assert not dismissal.came
    dismissal.kill(7, signal.SIGINT)
    assert (dismissal.came, killed) == (True, [(7, signal.SIGINT)])
    dismissal.kill(7, signal.SIGINT)  # its loop and its heartbeat each find that the node is not known
    assert killed == [(7, signal.SIGINT)]


def test_why_flower_ended_is_one_line():
    message = "Exit Code: 302\nUnable to parse the private key file.\n\nFor more information, visit: <x>"
    assert _in_words(message, DeviceIdentity("d", 0, "h:1")) == "d stopped: Unable to parse the private key file."


def test_rows_stay_in_memory_until_settings_or_file_change(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    context = SimpleNamespace(
        run_config={"classes": "a,b"}, node_config={"partition-id": 0, "data-path": str(path)}, state=None
    )
    kept = KeptClients()
    first = kept(context)
    assert kept(context) is first
    path.write_text(ROWS + "3,a\n")
    second = kept(context)
    assert second is not first
    assert len(second.shards.labels) == 11
    context.run_config = {"classes": "a,b", "seed": 1}
    assert kept(context) is not second


def failing(error):
    def app(message, context):
        raise error

    return app


@pytest.mark.parametrize(
    ("server", "fine"),
    [
        *(("127.0.0.1:1", True), ("localhost:1", True), ("[::1]:1", True), ("[0:0:0:0:0:0:0:1]:1", True)),
        *(("192.168.1.20:1", False), ("[2001:db8::20]:1", False), ("fl.lab.example:1", False)),
    ],
)
def test_plain_text_stays_on_this_machine(device, tmp_path, server, fine):
    start, identity = Start(device, tmp_path / "rows.csv", insecure=True), DeviceIdentity("d", 0, server)
    if fine:
        assert node._authority(start, identity) is None
    else:
        with pytest.raises(SettingsError, match=r"sends weights in the clear to .*, which is another machine"):
            node._authority(start, identity)


def test_a_devices_label_column_goes_with_it(device, tmp_path):
    data = tmp_path / "rows.csv"
    for label, found in (("", "y"), ("x", "x")):
        start = Start(device, data, label=label)
        words = _arguments(start, DeviceIdentity.read(device), data, label or last_column(data), None, 1, tmp_path)
        given = parse_config_args([words[words.index("--node-config") + 1]])
        assert given["label-column"] == found
        assert (_same_again(start)[-2:] == ["--label", "x"]) is bool(label)


def test_a_devices_terms_go_with_it_wherever_it_is_started(device, tmp_path, monkeypatch, capsys):
    data = tmp_path / "rows.csv"

    def given():
        words = _arguments(Start(device, data), DeviceIdentity.read(device), data, "y", None, 1, tmp_path)
        return parse_config_args([words[words.index("--node-config") + 1]])

    assert "terms-path" not in given()
    (device / "terms.toml").write_text("min-rows = 3\n")
    monkeypatch.chdir(device.parent)
    assert given()["terms-path"] == str(device / "terms.toml")
    (device / "terms.toml").write_text("min-row = 3\n")
    code, said = refused(monkeypatch, capsys, "launch-device", device, "--data", data)
    assert (code, "terms.toml: unknown term 'min-row': did you mean min-rows?" in said) == (2, True)
    (device / "terms.toml").unlink()
    (device / "terms.toml").symlink_to(device / "gone.toml")  # not found, and so not without terms
    code, said = refused(monkeypatch, capsys, "launch-device", device, "--data", data)
    assert (code, "terms.toml: no such file" in said) == (2, True)
    (device / "terms.toml").unlink()
    (device / "terms.toml").write_text("")
    (device / "answers.json").write_text('{"answers": 1}')
    code, said = refused(monkeypatch, capsys, "launch-device", device, "--data", data)
    assert (code, "answers.json: no numbers of answers; the file was edited" in said) == (2, True)


def test_a_worker_runs_no_app_but_edgefeds(monkeypatch):
    from flwr.app import ConfigRecord, Message, RecordDict

    from edgefed.engines.grid import _claim_identity

    _claim_identity()
    worker = Worker("127.0.0.1:1", b"secret", None, None)
    worker.app = lambda message, context: "answered"
    message = Message(RecordDict({"config": ConfigRecord({"a": 1})}), 1, "query")
    assert worker._reply(message, None, APP) == ("answered", "")
    # What an exception quotes of a row or names of this machine stays in the device's own log.
    for error, says in (
        (SettingsError("/data/rows.csv: row 2: 'abc'", "row 2: not a number"), "SettingsError: row 2: not a number"),
        (ValueError("patient 7 in /data/rows.csv"), "ValueError: the log of the device says more"),
    ):
        worker.app = failing(error)
        reply, problem = worker._reply(message, None, APP)
        assert (reply.error.reason, problem) == (says, says)
    reply, problem = worker._reply(message, None, "evil/app")
    assert reply.has_error()
    assert problem == "PermissionError: this device runs edgefed/edgefed alone, the server sent evil/app"


def test_a_workers_heart_has_stopped_when_its_task_ends(monkeypatch):
    """A beat that came after it would be refused, and on a busy device it may."""
    done = []
    monkeypatch.setattr(
        warm,
        "HeartbeatSender",
        lambda beat: SimpleNamespace(start=lambda: done.append("beats"), stop=lambda: done.append("stops")),
    )
    run = SimpleNamespace(fab_id=APP)
    monkeypatch.setattr(warm, "pull_task_input", lambda client: ("message", "context", run, None))
    monkeypatch.setattr(warm, "push_message", lambda client, reply, context: done.append(reply))
    monkeypatch.setattr(warm, "push_task_output", lambda client, context, status, problem: done.append(status))
    worker = Worker("127.0.0.1:1", b"secret", threading.Event(), threading.Event())
    worker.app = lambda message, context: "reply"

    worker._answer("token")

    assert done == ["beats", "reply", "stops", SubStatus.COMPLETED]
    assert worker.answered.is_set()

    worker.answered.clear()
    monkeypatch.setattr(warm, "push_task_output", refused_as_the_run_was_stopped)
    with pytest.raises(RunNotRunningException):
        worker._answer("token")
    assert worker.answered.is_set()


def refused_as_the_run_was_stopped(*arguments):
    raise RunNotRunningException


def test_a_token_that_is_refused_ends_nothing_but_the_call(monkeypatch):
    """Flower's own way ends the process: for a device that would be to leave in the middle of a round."""
    killed = []
    monkeypatch.setattr("flwr.supercore.retry.http_retry.os", SimpleNamespace(kill=killed.append, getpid=os.getpid))
    request = httpx.Request("POST", "http://127.0.0.1:1")

    def refused():
        httpx.Response(401, request=request).raise_for_status()

    with pytest.raises(httpx.HTTPStatusError):
        warm._retries().invoke(refused)
    assert killed == []


@pytest.mark.parametrize(
    ("ending", "said", "forgotten", "why"),
    [
        (None, "[Errno 104] Connection reset by peer", False, node.BROKEN),  # Flower's node returns, and does nothing
        (SystemExit(0), "", True, node.FORGOTTEN),
        (SystemExit(1), "The node could not be activated", False, node.COUNTED),
        (SystemExit(0), "", False, None),  # stopped by a signal
    ],
    ids=["broken", "forgotten", "counted", "stopped"],
)
def test_a_device_joins_again_unless_it_was_stopped(device, tmp_path, monkeypatch, ending, said, forgotten, why):
    begun = []

    def flowers_node(arguments, pace, dismissal, ready):
        dismissal.came = forgotten
        if ending is not None:
            raise ending

    monkeypatch.setattr(node, "_wait_for_server", lambda *arguments: None)
    monkeypatch.setitem(vars(sync), "socket", socket)
    monkeypatch.setattr(node, "_worker", lambda *arguments: SimpleNamespace(start=None, stop=lambda: None))
    monkeypatch.setattr(node, "_supernode", flowers_node)
    monkeypatch.setattr(node, "keep_logs", lambda folder, name: (folder, SimpleNamespace(message=said)))
    monkeypatch.setattr(node, "keep_output", lambda folder, name: os.fdopen(os.dup(2), "w"))
    monkeypatch.setattr(os, "execv", lambda program, words: begun.append((words[3:], os.environ[node.JOINED_BEFORE])))
    monkeypatch.setenv(node.JOINED_BEFORE, node.BROKEN)
    monkeypatch.setenv("FLWR_HOME", "")

    node.run_device(Start(device, tmp_path / "rows.csv"))

    words = ["edgefed", "launch-device", str(device), "--data", str(tmp_path / "rows.csv")]
    assert isinstance(sync.socket, Dialling)
    assert begun == ([] if why is None else [(words, why)])
