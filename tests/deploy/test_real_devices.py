"""Servers and devices as processes, over TLS with keys: refusals while a run goes on, late devices."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import closing

import httpx
import pytest
from processes import address_of_this_machine, free_port, has_ipv6, stage
from test_handshake import certified, serving

from edgefed.config import FederationConfig
from edgefed.data.device_file import write_shards
from edgefed.data.shards import federate
from edgefed.deploy.certificates import make_authority, make_device_key
from edgefed.deploy.control import Control
from edgefed.deploy.folder import Deployment, DeviceIdentity
from edgefed.deploy.provision import provision, revoke
from edgefed.runs import Run

pytestmark = pytest.mark.runtime


def rounds_of(folder):
    """Return the rounds that each client took part in, as far as they are written."""
    rounds = {}
    for line in (folder / "clients.csv").read_text().split("\n")[1:-1]:
        number, client = map(int, line.split(",")[:2])
        rounds.setdefault(client, []).append(number)
    return rounds


def online(deployment):
    """Return the nodes that the server counts as connected."""
    with closing(Control(deployment.port, deployment.server / "ca.crt")) as control:
        return [node for node in control.nodes() if node["status"] == "online"]


def answered(*words):
    """Run a command that prints JSON; return what it prints."""
    command = [sys.executable, "-P", "-m", "edgefed", *map(str, words), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def other_device(deployment, folder, *, server=None):
    """Copy the last device's folder, under another name and perhaps another server."""
    shutil.copytree(deployment.device_folder("device-2"), folder)
    identity = DeviceIdentity.read(folder)
    DeviceIdentity(folder.name, identity.partition_id, server or identity.server).write(folder)
    return folder


def test_each_refusal_has_its_line_while_the_run_goes_on_and_a_late_device_takes_part(tmp_path):
    config = FederationConfig(num_clients=3, alpha=1.0, num_server_rounds=1000, wait_for_clients=10.0)
    config, data = federate(config)
    (tmp_path / "shards").mkdir()
    files = write_shards(config, data, tmp_path / "shards")
    port = free_port()
    deployment = provision(tmp_path / "lab", ["127.0.0.1"], 3, port=port)
    everywhere = "0.0.0.0,::" if has_ipv6() else "0.0.0.0"
    if has_ipv6():
        DeviceIdentity("device-1", 1, f"[::1]:{port}").write(deployment.device_folder("device-1"))
    unregistered = other_device(deployment, tmp_path / "unregistered")
    (unregistered / "device.key").unlink()
    make_device_key(unregistered)
    misled = other_device(deployment, tmp_path / "misled")
    (tmp_path / "ca").mkdir()
    make_authority(tmp_path / "ca")
    shutil.copy(tmp_path / "ca" / "ca.crt", misled / "ca.crt")
    elsewhere = other_device(deployment, tmp_path / "elsewhere", server=f"127.0.0.2:{port}")
    clear = other_device(deployment, tmp_path / "clear")
    (deployment.device_folder("device-1") / "terms.toml").write_text('[settings]\nexplain = "no"\n')
    expired = certified(deployment.folder / "ca", tmp_path / "expired", days=-3)

    with serving(expired) as other_port, stage(tmp_path) as here:
        overdue = other_device(deployment, tmp_path / "overdue", server=f"127.0.0.1:{other_port}")
        server = here.start("server", "launch-server", deployment.folder, "--host", everywhere)
        server.until(lambda: "3 devices may join" in server.said)
        assert f"over {'IPv4 and IPv6' if has_ipv6() else 'IPv4'}; 3 devices" in server.said
        for place in (0, 1):
            folder = deployment.device_folder(f"device-{place}")
            here.start(f"device-{place}", "launch-device", folder, "--data", files.clients[place])
        server.until(lambda: len(online(deployment)) == 2)
        run = here.start(
            "run", "launch", deployment.folder, files.settings, "--out", tmp_path / "run", "--format", "json"
        )
        run.until((tmp_path / "run" / "clients.csv").exists)
        refused = {
            "unregistered": here.start("u", "launch-device", unregistered, "--data", files.clients[2]),
            "misled": here.start("m", "launch-device", misled, "--data", files.clients[2]),
            "overdue": here.start("o", "launch-device", overdue, "--data", files.clients[2]),
            "elsewhere": here.start("e", "launch-device", elsewhere, "--data", files.clients[2]),
            "clear": here.start("c", "launch-device", clear, "--data", files.clients[2], "--insecure"),
        }
        codes = {name: device.ended() for name, device in refused.items()}
        begun = rounds_of(tmp_path / "run")[0]
        late = here.start("late", "launch-device", deployment.device_folder("device-2"), "--data", files.clients[2])
        fences = [_fenced(port, family) for family in (socket.AF_INET, socket.AF_INET6)]
        run.until(lambda: len(rounds_of(tmp_path / "run").get(2, ())) > 1)
        seen = {row["name"]: row for row in answered("status", deployment.folder)["devices"]}
        healthy = [answered("doctor", deployment.folder)]
        healthy.append(answered("doctor", deployment.device_folder("device-1"), "--data", files.clients[1]))
        ill = answered("doctor", unregistered)
        run.process.send_signal(signal.SIGINT)
        assert run.ended() == 130
        # A device whose owner's terms a run does not keep takes no part in it, and the run goes on: with the settings
        # of the simulation itself, whose columns, label column and classes the devices' files have.
        simulation = tmp_path / "simulation.toml"
        simulation.write_text(config.to_toml())
        words = ["-s", "num-server-rounds=1", "-s", "explain=yes", "--out", tmp_path / "asking", "--format", "json"]
        asking = here.start("asking", "launch", deployment.folder, simulation, *words)
        assert asking.ended() == 0
        without = {row["name"]: row for row in answered("status", deployment.folder)["devices"]}
        # A revoked key is refused within seconds, and the device says so.
        revoke(Deployment.read(deployment.folder), "device-2")
        assert late.ended() == 1
        # A server that is started again has forgotten its nodes, and knows their keys: devices join again.
        server.process.terminate()
        server.ended()
        again = here.start("again", "launch-server", deployment.folder, "--host", everywhere)
        again.until(lambda: "2 devices may join" in again.said)
        again.until(lambda: len(online(deployment)) == 2)

    assert all(row["connected"] and row["registered"] and row["seen"] < 60 for row in seen.values())
    assert [row["rows"] for row in seen.values()] == data.shards.train.sizes.tolist()
    assert seen["device-0"]["rounds"] > seen["device-2"]["rounds"] >= 2
    assert [report["well"] for report in healthy] == [True, True], healthy
    problems = [finding for finding in ill["findings"] if finding["state"] == "problem"]
    assert [finding["check"] for finding in problems] == ["key"]
    assert "--public-key device.pub --device unregistered" in problems[0]["mend"]
    assert codes == dict.fromkeys(refused, 1)
    assert "does not know the key of unregistered" in refused["unregistered"].said
    assert "signed by another authority than ca.crt" in refused["misled"].said
    assert "certificate has expired; on the server: edgefed provision" in refused["overdue"].said
    assert "is for other names than 127.0.0.2" in refused["elsewhere"].said
    assert "it speaks TLS; leave out --insecure" in refused["clear"].said
    for device in refused.values():
        assert len(device.said.splitlines()) == 1, device.said
    outside = {"/v1/control/list-nodes": 403, "/v1/runtime/get-nodes": 403, "/v1/fleet/register-node": 401}
    assert all(fence in (None, outside) for fence in fences), fences
    took_part = rounds_of(tmp_path / "run")
    assert took_part[0] == took_part[1] == list(range(1, len(took_part[0]) + 1))
    assert len(begun) < took_part[2][0]
    assert took_part[2] == took_part[0][took_part[2][0] - 1 :]
    terms = "its terms have explain=no, the run has yes"
    assert f"edgefed: device-1 is left out: {terms}" in asking.said
    assert Run.read(tmp_path / "asking").manifest["left-out"][0]["why"] == terms
    assert (without["device-1"]["connected"], without["device-1"]["error"]) == (True, f"left out: {terms}")
    assert [without[f"device-{place}"]["rounds"] for place in range(3)] == [1, 0, 1]
    given = json.loads((deployment.device_folder("device-1") / "answers.json").read_text())["answers"]
    assert given["query"] == 1
    assert given["train"] - len(took_part[1]) in (0, 1)  # one may have been on its way when the run was interrupted
    assert f"interrupted; --resume --out {tmp_path / 'run'} goes on" in run.said
    assert "does not know the key of device-2: it was revoked" in late.said
    for log in [*deployment.folder.rglob("*.jsonl"), *deployment.folder.rglob("*.out"), *tmp_path.glob("*.log")]:
        assert "PRIVATE KEY" not in log.read_text(errors="replace")
    lines = [json.loads(line) for line in (deployment.server / "logs" / "server.jsonl").read_text().splitlines()]
    assert {"device-0 may join", "device-2 may join"} <= {line["message"] for line in lines}


def _fenced(port, family):
    """Ask from another of this machine's addresses, as another machine would; None where there is none."""
    address = address_of_this_machine(family)
    if address is None:
        return None
    where = f"[{address}]" if ":" in address else address
    headers = {"content-type": "application/protobuf"}
    paths = ("/v1/control/list-nodes", "/v1/runtime/get-nodes", "/v1/fleet/register-node")
    with httpx.Client(verify=False) as client:
        return {path: client.post(f"https://{where}:{port}{path}", headers=headers).status_code for path in paths}
