"""The keys that a running server knows: taken out first, one by one, whatever goes wrong with another."""

import pytest

from edgefed.deploy import superlink
from edgefed.deploy.certificates import as_flower_keeps_it, make_device_key
from edgefed.deploy.folder import Deployment
from edgefed.deploy.provision import accept_key, provision, revoke
from edgefed.deploy.superlink import Serve, match_keys, places_of
from edgefed.errors import FederationError, SettingsError


class Link:
    """A SuperLink as Flower 1.41 keeps keys: one that was taken out is never free again."""

    def __init__(self):
        self.known, self.used = {}, set()

    def nodes(self):
        return [{"public-key": key, "node": node, "status": "registered"} for key, node in self.known.items()]

    def register(self, device):
        key = as_flower_keeps_it(device.public_key)
        if key in self.used:
            raise FederationError("Public key already in use")
        self.used.add(key)
        self.known[key] = 100 + len(self.used)

    def unregister(self, node):
        self.known = {key: known for key, known in self.known.items() if known != node}

    def close(self):
        pass


@pytest.fixture
def deployment(tmp_path):
    return provision(tmp_path / "lab", ["127.0.0.1"], 3)


def keys(deployment, *names):
    return {as_flower_keeps_it(deployment.find(name).public_key) for name in names}


def test_a_key_that_cannot_come_back_keeps_no_other_from_being_taken_out(deployment, caplog):
    link = Link()
    match_keys(link, deployment)
    match_keys(link, revoke(deployment, "device-0"))
    both = revoke(deployment, "device-1")  # device-0 is active again, under its old key

    match_keys(link, both)

    assert set(link.known) == keys(deployment, "device-2")
    assert "device-0 cannot join until the server is restarted: Public key already in use" in caplog.text


def test_a_node_that_cannot_be_taken_out_is_tried_again_after_the_others(deployment):
    link = Link()
    match_keys(link, deployment)
    stuck, unregister = link.known[next(iter(keys(deployment, "device-0")))], link.unregister

    def failing(node):
        if node == stuck:
            raise FederationError("busy")
        unregister(node)

    link.unregister = failing
    with pytest.raises(FederationError, match="busy"):
        match_keys(link, revoke(revoke(deployment, "device-0"), "device-1"))
    assert set(link.known) == keys(deployment, "device-0", "device-2")


def test_the_keeper_outlives_a_folder_that_is_away_and_a_certificate_that_cannot_be_read(deployment, monkeypatch):
    """Each was an exception that ended the thread: from then on no key was taken out."""
    link, looks = Link(), []

    class Over(BaseException):
        pass

    def between(seconds):
        looks.append(seconds)
        home = deployment.folder
        if len(looks) == 1:
            revoke(deployment, "device-0")
            (home / "deployment.json").rename(home / "away.json")
        elif len(looks) == 2:
            (home / "away.json").rename(home / "deployment.json")
            (home / "server" / "ca.crt").unlink()
        elif len(looks) == 3:
            (home / "server" / "ca.crt").touch()
        elif len(looks) > 4:
            raise Over

    def control(port, authority, host):
        authority.read_bytes()
        return link

    monkeypatch.setattr("edgefed.deploy.control.Control", control)
    monkeypatch.setattr(superlink.time, "sleep", between)
    said = []
    terminal = type("Terminal", (), {"write": said.append})
    with pytest.raises(Over):
        superlink._keep_keys(Serve(deployment.folder), deployment, "IPv4", terminal, deployment.folder / "log")
    assert set(link.known) == keys(deployment, "device-1", "device-2")
    assert len(said) == 1
    assert "3 devices may join" in said[0]


def test_a_server_whose_keys_are_not_taken_up_says_so(deployment, monkeypatch, caplog):
    now, said = [0.0], []

    class Over(BaseException):
        pass

    def later(seconds):
        now[0] += 20
        if now[0] > 100:
            raise Over

    def control(port, authority, host):
        raise SettingsError("no server on port 8000")

    monkeypatch.setattr("edgefed.deploy.control.Control", control)
    monkeypatch.setattr(superlink, "time", type("Clock", (), {"sleep": later, "monotonic": lambda: now[0]}))
    terminal = type("Terminal", (), {"write": said.append})
    with pytest.raises(Over):
        superlink._keep_keys(Serve(deployment.folder), deployment, "IPv4", terminal, deployment.folder / "log")
    assert said == ["edgefed: devices' keys are not taken up since 30 s (no server on port 8000); trying on\n"]
    assert "not taken up" in caplog.text


def test_a_revoked_device_does_not_come_back_under_the_same_key(deployment):
    home = deployment.device_folder("device-1")
    deployment = revoke(deployment, "device-1")
    with pytest.raises(SettingsError, match="this key of device-1 was revoked; make a new key"):
        accept_key(deployment, "device-1", home / "device.pub")
    for name in ("device.key", "device.pub"):
        (home / name).unlink()
    make_device_key(home)
    assert len(accept_key(deployment, "device-1", home / "device.pub").active) == 3


def test_a_key_that_was_edited_is_named(deployment):
    path = deployment.folder / "deployment.json"
    path.write_text(path.read_text().replace(deployment.find("device-1").public_key, "ecdsa-sha2-nistp384 AAAA"))
    with pytest.raises(SettingsError, match=r"deployment.json: public-key of device-1: not a public key"):
        Deployment.read(deployment.folder)


def test_the_server_writes_whose_place_each_node_has(deployment):
    link = Link()
    match_keys(link, deployment)
    assert places_of(link, deployment) == {101: 0, 102: 1, 103: 2}
    assert places_of(link, revoke(deployment, "device-1")) == {101: 0, 103: 2}
