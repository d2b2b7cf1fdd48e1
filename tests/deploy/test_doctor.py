"""The doctor's lines: what is found, and the command that mends it."""

import shutil
from pathlib import Path

import pytest

from edgefed.cli import _exit_code
from edgefed.deploy import doctor
from edgefed.deploy.certificates import make_server_certificate
from edgefed.deploy.control import Control
from edgefed.deploy.doctor import BAD, GOOD, WARN, Finding, _admitted, _clock, _lasting, examine
from edgefed.deploy.folder import Deployment, DeviceIdentity
from edgefed.deploy.handshake import SignatureError, UnreachableError
from edgefed.deploy.launch import last_run
from edgefed.deploy.provision import provision, renew_server_certificate
from edgefed.deploy.status import part_in
from edgefed.errors import SettingsError
from edgefed.runs import write_json


@pytest.fixture
def deployment(tmp_path):
    return provision(tmp_path / "lab", ["127.0.0.1"], 1, port=1)  # nobody listens on port 1


def found_by(check, *arguments):
    (finding,) = [finding for finding in examine(*arguments) if finding.check == check]
    return finding


def test_this_machine_is_well():
    states = {finding.check: finding.state for finding in examine(None)}
    assert states == dict.fromkeys(["python", "packages", "memory", "disk"], GOOD)


def test_a_device_whose_server_is_not_there(deployment):
    finding = found_by("server", deployment.device_folder("device-0"))
    assert finding.state == BAD
    assert "nobody listens on port 1 of 127.0.0.1" in finding.found
    assert "edgefed launch-server" in finding.mend


@pytest.mark.parametrize(
    ("failed", "state", "says"),
    [
        ({}, GOOD, "fl.lab.example:8000 answers"),
        (
            {"2001:db8::20": "no answer"},
            WARN,
            "answers at 192.168.1.20, not at 2001:db8::20 (no answer): it is tried first, and waited for",
        ),
        ({"2001:db8::20": "nobody listens"}, GOOD, "answers at 192.168.1.20, not at 2001:db8::20 (nobody listens)"),
        ({"192.168.1.20": "no answer"}, GOOD, "answers at 2001:db8::20, not at 192.168.1.20 (no answer)"),
    ],
)
def test_a_name_of_whose_addresses_one_does_not_answer(monkeypatch, failed, state, says):
    monkeypatch.setattr(doctor, "unanswered", lambda host, port: failed)
    finding = doctor._port(DeviceIdentity("d", 0, "fl.lab.example:8000"), ["2001:db8::20", "192.168.1.20"])
    assert (finding.state, finding.found.endswith(says)) == (state, True)
    assert ("let port 8000 through on the server's firewall" in finding.mend) == (state == WARN)


def test_a_name_of_whose_addresses_none_answers(monkeypatch):
    both = {"2001:db8::20": "no answer", "192.168.1.20": "nobody listens"}
    monkeypatch.setattr(doctor, "unanswered", lambda host, port: both)
    with pytest.raises(UnreachableError) as caught:
        doctor._port(DeviceIdentity("d", 0, "fl.lab.example:8000"), list(both))
    assert str(caught.value) == (
        "port 8000 of fl.lab.example cannot be reached (2001:db8::20: no answer, 192.168.1.20: nobody listens); "
        "is a firewall between?"
    )


@pytest.mark.parametrize(
    ("served", "resolved", "state", "says"),
    [
        ({"127.0.0.1", "::1"}, ("2001:db8::20", "192.168.1.20"), GOOD, "over IPv4 and IPv6"),
        ({"127.0.0.1", "::1"}, ("192.168.1.20",), GOOD, "over IPv4 and IPv6"),
        ({"127.0.0.1"}, ("2001:db8::20", "192.168.1.20"), WARN, "over IPv4, and fl.lab.example has IPv6 and IPv4"),
        ({"::1"}, ("2001:db8::20",), GOOD, "over IPv6"),
    ],
)
def test_a_server_that_does_not_serve_all_that_its_name_leads_to(tmp_path, monkeypatch, served, resolved, state, says):
    lab = provision(tmp_path / "lab", ["fl.lab.example"], 1)
    monkeypatch.setattr(doctor, "unanswered", lambda host, port: {} if host in served else {host: "nobody listens"})
    monkeypatch.setattr(doctor, "resolve", lambda host, port: resolved)
    finding = doctor._serving(lab)
    assert (finding.state, finding.found.endswith(says)) == (state, True), finding


def test_a_private_key_that_others_can_read_or_that_is_not_there(deployment):
    home = deployment.device_folder("device-0")
    assert found_by("private key", home).state == GOOD
    (home / "device.key").chmod(0o644)
    finding = found_by("private key", home)
    assert (finding.state, finding.mend) == (BAD, f"chmod 600 {home / 'device.key'}")
    (home / "device.key").unlink()
    assert "is not there" in found_by("private key", home).found


@pytest.mark.parametrize(
    ("terms", "given", "state", "says"),
    [
        (None, None, GOOD, "no terms.toml: it answers whatever a run asks of it"),
        ("", None, GOOD, "none are in it: it answers whatever a run's settings call for"),
        (
            "min-rows = 20\n[settings]\nprivacy = ['secagg']\nlocal-epochs = [1, 5]\n"
            "[leaves]\nmasked = ['train/masked']\n[answers]\ntrain = 9",
            {"query": 1, "train": 4},
            GOOD,
            "privacy=secagg; local-epochs=1 to 5; masked: train/masked; min-rows=20; 1 of any answers to query given; "
            "4 of 9 answers to train given",
        ),
        ("[answers]\ntrain = 4", {"train": 4}, WARN, "4 of 4 answers to train given: no more of train"),
        ("[leaves]", None, GOOD, "no field leaves"),
        ("[settings]\nmin-rows = 20", None, BAD, "min-rows is a term: it belongs above the tables"),
        ("min-rows = 'many'", None, BAD, "min-rows=many: expected a whole number, at least 0"),
        ("", {"train": "four"}, BAD, "answers.json: no numbers of answers; the file was edited"),
    ],
)
def test_a_devices_terms(deployment, terms, given, state, says):
    home = deployment.device_folder("device-0")
    if terms is not None:
        (home / "terms.toml").write_text(terms)
    if given is not None:
        write_json(home / "answers.json", {"answers": given})
    finding = found_by("terms", home)
    assert ("answers whatever" in finding.found) == (not terms and given is None)
    assert (finding.state, finding.mend == "") == (state, state == GOOD)
    assert says in finding.found


def test_a_link_to_no_terms_is_no_lack_of_terms(deployment):
    home = deployment.device_folder("device-0")
    (home / "terms.toml").symlink_to(home / "gone.toml")
    finding = found_by("terms", home)
    assert (finding.state, "no such file" in finding.found) == (BAD, True)


@pytest.mark.parametrize(
    ("text", "state", "says"),
    [
        ("x,y\n1,a\n2,b\n", GOOD, "2 rows of 1 features, label 'y': a, b"),
        ("x,y\n", WARN, "this device has nothing to train on"),
        ("x,y\none,a\n", BAD, "row 2, column 'x': 'one' is not a number"),
        (None, BAD, "no such file"),
    ],
)
def test_a_devices_rows(tmp_path, text, state, says):
    path = tmp_path / "rows.csv"
    if text is not None:
        path.write_text(text)
    finding = found_by("data", None, path)
    assert finding.state == state
    assert says in finding.found
    assert (finding.mend == "") == (state == GOOD)
    assert finding.mend.startswith("edit") == (state == BAD and path.is_file())
    assert finding.mend.startswith("--data FILE") == (not path.is_file())


def test_a_devices_rows_are_read_as_the_run_reads_them(tmp_path, monkeypatch, capsys):
    path = tmp_path / "rows.csv"
    path.write_text("id,color,y\nr1,red,a\nr2,blue,b\n")
    finding = found_by("data", None, path, {"label-column": "y"})
    assert (finding.state, "categories=id=r1|r2,color=blue|red" in finding.found) == (BAD, True)
    assert finding.mend.endswith("-s KEY=VALUE as the run has it (categories, drop-columns, label-column, missing)")
    finding = found_by("data", None, path, {"drop-columns": "id", "categories": "color=red|blue"})
    assert (finding.state, finding.found) == (GOOD, f"{path}: 2 rows of 2 features, label 'y': a, b")
    with pytest.raises(SettingsError, match="categories=color: list the values of 'color'"):
        found_by("data", None, path, {"categories": "color"})
    arguments = ["--data", str(path), "-s", "drop-columns=id", "-s", "categories=color=red|blue"]
    monkeypatch.setattr("sys.argv", ["edgefed", "doctor", *arguments])
    assert _exit_code() == 0
    assert "2 rows of 2 features" in capsys.readouterr().out


def test_a_devices_label_that_is_not_last_is_proposed_as_no_category(tmp_path, monkeypatch, capsys):
    path = tmp_path / "rows.csv"
    path.write_text("ward,outcome,age,site\na,died,70,0\nb,lived,30,0\na,lived,40,0\n")
    finding = found_by("data", None, path, {"client-column": "site"})
    assert finding.state == BAD
    assert finding.found.endswith(
        "'a' is not a number; 'age', the last column left, is taken for the label: give --label COL, "
        "that or another (ward,outcome hold text), to be told what would do"
    )
    assert f"edit {path}, --label COL where the label is not its last column, or -s KEY=VALUE" in finding.mend

    def doctor_says(*arguments):
        monkeypatch.setattr("sys.argv", ["edgefed", "doctor", *arguments])
        code, printed = _exit_code(), capsys.readouterr()
        return code, printed.out + printed.err

    code, said = doctor_says("--data", str(path), "--label", "outcome")
    assert (code, "categories=ward=a|b;" in said, "--label" in said) == (1, True, False)
    code, said = doctor_says("--data", str(path), "--label", "outcome", "-s", "categories=ward=a|b")
    assert (code, "3 rows of 4 features, label 'outcome': died, lived" in said) == (0, True)
    assert doctor_says("--label", "outcome") == (
        2,
        "edgefed: --label outcome: of which rows? give --data FILE.csv too\n",
    )


def test_a_servers_certificate(deployment):
    assert found_by("certificate", deployment.folder).state == GOOD
    renew_server_certificate(deployment, 5)
    assert found_by("certificate", deployment.folder).state == WARN
    renew_server_certificate(deployment, -2)
    finding = found_by("certificate", deployment.folder)
    assert (finding.state, finding.found) == (BAD, "the server's certificate expired 2 days ago")
    assert "--renew" in finding.mend
    assert found_by("names", deployment.folder).state == GOOD


def test_a_certificate_in_capitals_is_for_the_same_name(deployment):
    make_server_certificate(deployment.folder / "ca", deployment.server, ["FL.lab.example"], 365)
    path = deployment.folder / "deployment.json"
    path.write_text(path.read_text().replace('"127.0.0.1"', '"FL.lab.example"'))
    assert Deployment.read(deployment.folder).names == ("fl.lab.example",)
    assert found_by("names", deployment.folder).state == GOOD


def test_private_keys_of_devices_that_are_left_on_the_server(deployment):
    finding = found_by("device keys", deployment.folder)
    assert (finding.state, "device-0" in finding.found) == (WARN, True)
    assert finding.mend.endswith("/devices/*/device.key")
    for path in deployment.folder.glob("devices/*/device.key"):
        path.unlink()
    assert "device keys" not in [finding.check for finding in examine(deployment.folder)]


def test_clocks():
    assert _clock(2.0).found == "2.0 s behind the server, up to 300 s behind or 5 s ahead will do"
    assert (_clock(-6.0).state, _clock(-6.0).mend) == (BAD, "sudo timedatectl set-ntp true")
    assert "6.0 s ahead of the server" in _clock(-6.0).found
    assert [_clock(skew).state for skew in (-5.0, 5.0, 61.0, 300.0, 301.0)] == [GOOD, GOOD, WARN, WARN, BAD]
    assert _clock(None).state == WARN
    assert _lasting("tls", 0.0).state == BAD


def test_a_signature_that_is_not_believed_is_mended_by_the_clock_and_not_by_a_key(deployment, monkeypatch):
    home = deployment.device_folder("device-0")
    parts = (DeviceIdentity.read(home), home / "ca.crt", home / "device.key")

    def key_is_known(*_):
        raise errors.pop()

    monkeypatch.setattr("edgefed.deploy.admission.key_is_known", key_is_known)
    errors = [UnreachableError("no answer"), SignatureError("is a clock off?")]
    assert _admitted(*parts) == Finding("key", BAD, "is a clock off?", "sudo timedatectl set-ntp true")
    assert "--public-key device.pub" in _admitted(*parts).mend


def test_the_command_is_well_or_ends_in_1_and_names_what_is_neither(deployment, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["edgefed", "doctor"])
    assert _exit_code() == 0
    assert capsys.readouterr().out.startswith("ok      python: ")
    monkeypatch.setattr("sys.argv", ["edgefed", "doctor", str(deployment.device_folder("device-0"))])
    assert _exit_code() == 1
    assert "PROBLEM server: nobody listens" in capsys.readouterr().out
    with pytest.raises(SettingsError, match="neither a deployment"):
        list(examine(tmp_path))


def test_another_version_of_flower_is_a_problem(monkeypatch):
    known = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: "1.42.0" if name == "flwr" else known(name))
    finding = found_by("packages", None)
    assert (finding.state, finding.mend) == (BAD, "pip install 'flwr>=1.41,<1.42'")


def test_a_full_disk_is_a_problem(monkeypatch, tmp_path):
    nearly_full = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: nearly_full)
    assert found_by("disk", None).state == BAD


def test_a_certificate_that_is_none_is_a_line_and_mended(deployment):
    (deployment.server / "server.crt").write_text("garbage")
    finding = found_by("certificate", deployment.folder)
    assert (finding.state, finding.mend) == (BAD, f"edgefed provision --out {deployment.folder} --renew")
    authority = deployment.server / "ca.crt"
    for change, what in ((lambda: authority.write_text("garbage"), "not a certificate"), (authority.unlink, "no such")):
        change()
        with pytest.raises(SettingsError, match=f"ca.crt: {what}.*copy the deployment's ca/ca.crt there again"):
            Control(1, authority)


def test_a_line_of_runs_that_was_not_written_to_its_end_is_passed_over(deployment):
    assert last_run(deployment) is None
    (deployment.server / "runs.jsonl").write_text('{"run": "1", "folder": "/runs/one"}\n{"run": "2", "fol')
    assert last_run(deployment) == Path("/runs/one")


def test_what_each_device_did_is_read_from_the_runs_folder(tmp_path):
    (tmp_path / "clients.csv").write_text(
        "round,client,rows,steps,train_loss,verdict\n"
        "1,0,30,6,0.5,ok\n1,1,0,0,,failed: ValueError: no\n2,0,30,6,0.4,ok\n2,1,20,4,0.6,ok\n3,0,0,0,,late: no reply\n"
    )
    assert part_in(tmp_path) == {
        0: {"rows": 30, "rounds": 2, "error": "round 3: late: no reply"},
        1: {"rows": 20, "rounds": 1, "error": "round 1: failed: ValueError: no"},
    }
    (tmp_path / "manifest.json").write_text('{"devices": [{"partition-id": 2, "rows": 7}]}')
    assert part_in(tmp_path)[2] == {"rows": 7, "rounds": 0, "error": ""}
    left = {"partition-id": 3, "name": "device-3", "why": "its terms have explain=no, the run has yes"}
    write_json(tmp_path / "manifest.json", {"devices": [], "left-out": [left]})
    assert part_in(tmp_path)[3] == {"rows": None, "rounds": 0, "error": f"left out: {left['why']}"}
    write_json(tmp_path / "manifest.json", {"devices": [], "left-out": [left | {"partition-id": 1}]})
    assert part_in(tmp_path)[1]["error"] == f"left out: {left['why']}"
    with (tmp_path / "clients.csv").open("a") as file:
        file.write("3,1,20,4,0.5,ok\n4,1,2")  # the last one is being written
    assert part_in(tmp_path)[1] == {"rows": 20, "rounds": 2, "error": "round 1: failed: ValueError: no"}  # let in since
    (tmp_path / "clients.csv").write_text('round,client,rows,verdict\n1,0,30,"ok, but unmask: false shares"\n')
    assert part_in(tmp_path)[0] == {"rows": 30, "rounds": 1, "error": "round 1: ok, but unmask: false shares"}
    assert part_in(tmp_path / "nowhere") == {}
