"""Provisioning: what is made, who may read it, and what is taken in and out later."""

import datetime as dt
import json
import shutil
import stat
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from edgefed.cli import _exit_code
from edgefed.deploy.certificates import expires, make_device_key, names_in, read_public_key
from edgefed.deploy.folder import ACTIVE, AWAITING_KEY, REVOKED, Deployment, DeviceIdentity
from edgefed.deploy.provision import accept_key, add_devices, provision, renew_server_certificate, revoke
from edgefed.errors import SettingsError


@pytest.fixture
def deployment(tmp_path):
    return provision(tmp_path / "lab", ["fl.lab.example", "192.168.1.20"], 3, port=8443)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_private_files_are_for_their_owner_alone_and_no_other_file_holds_a_secret(deployment):
    files = [path for path in deployment.folder.rglob("*") if path.is_file()]
    private = {path for path in files if b"PRIVATE KEY" in path.read_bytes()}
    assert {path.name for path in private} == {"ca.key", "server.key", "device.key"}
    assert len(private) == 2 + 3
    assert all(mode(path) == 0o600 for path in private)
    assert mode(deployment.folder) == 0o700


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to ask")
def test_the_servers_certificate_is_for_its_names_and_this_machine_and_openssl_agrees(deployment):
    server = deployment.server
    certificate = (server / "server.crt").read_bytes()
    assert names_in(certificate) == ["fl.lab.example", "192.168.1.20", "localhost", "127.0.0.1", "::1"]
    left = expires(certificate) - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=364) < left < dt.timedelta(days=366)
    verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", server / "ca.crt"]
    for name in (["-verify_hostname", "fl.lab.example"], ["-verify_ip", "192.168.1.20"]):
        done = subprocess.run([*verify, *name, server / "server.crt"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    wrong = subprocess.run([*verify, "-verify_hostname", "other", server / "server.crt"], capture_output=True)
    assert wrong.returncode != 0


def test_an_authority_signs_servers_and_nothing_that_signs(deployment):
    ca = x509.load_pem_x509_certificate((deployment.folder / "ca" / "ca.crt").read_bytes())
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    server = x509.load_pem_x509_certificate((deployment.server / "server.crt").read_bytes())
    assert server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert not (deployment.server / "ca.key").exists()


def test_a_devices_folder_holds_a_key_that_flower_reads_and_says_whom_it_dials(deployment):
    home = deployment.device_folder("device-2")
    assert DeviceIdentity.read(home) == DeviceIdentity("device-2", 2, "fl.lab.example:8443")
    key = load_ssh_private_key((home / "device.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp384r1"
    public = (home / "device.pub").read_text().strip()
    assert deployment.find("device-2").public_key == public
    assert len({device.public_key for device in deployment.devices}) == 3
    assert (home / "ca.crt").read_bytes() == (deployment.server / "ca.crt").read_bytes()
    assert mode(home / "start") == 0o755


def test_devices_are_added_and_revoked_and_a_number_is_never_given_twice(deployment):
    deployment = revoke(deployment, "device-2")
    deployment = add_devices(deployment, 1)
    again = Deployment.read(deployment.folder)
    assert [(d.name, d.partition_id, d.state) for d in again.devices] == [
        ("device-0", 0, ACTIVE),
        ("device-1", 1, ACTIVE),
        ("device-2", 2, REVOKED),
        ("device-3", 3, ACTIVE),
    ]
    assert [device.name for device in again.active] == ["device-0", "device-1", "device-3"]
    with pytest.raises(SettingsError, match="no device 'device-9'; there are device-0, "):
        revoke(again, "device-9")


def test_a_key_can_be_made_where_it_stays(tmp_path):
    deployment = provision(tmp_path / "lab", ["127.0.0.1"], 2, keys_on_device=True)
    assert not list(deployment.folder.rglob("device.key"))
    assert [device.state for device in deployment.devices] == [AWAITING_KEY] * 2
    assert deployment.active == ()
    device = tmp_path / "device"
    device.mkdir()
    public = make_device_key(device)

    deployment = accept_key(deployment, "device-1", device / "device.pub")

    assert deployment.active[0].public_key == public
    assert deployment.active[0].partition_id == 1
    with pytest.raises(SettingsError, match="the key of device-1 already; each device needs its own"):
        accept_key(deployment, "device-0", device / "device.pub")
    with pytest.raises(SettingsError, match=r"a private key, which must not leave its device; give .*device.pub"):
        accept_key(deployment, "device-0", device / "device.key")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a public key in OpenSSH's format"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8c", "not a public key|not an elliptic-curve key"),
    ],
)
def test_what_is_no_key_is_refused(text, says):
    with pytest.raises(SettingsError, match=says):
        read_public_key(text, "device.pub")


def test_a_new_certificate_is_of_the_same_authority_and_names(deployment):
    before = (deployment.server / "server.crt").read_bytes()
    renew_server_certificate(deployment, 30)
    after = (deployment.server / "server.crt").read_bytes()
    assert names_in(after) == names_in(before)
    assert expires(after) < expires(before)
    assert mode(deployment.server / "server.key") == 0o600


def test_the_page_has_this_deployments_own_commands(deployment):
    page = (deployment.folder / "README.md").read_text()
    assert "Server fl.lab.example:8443, 3 devices" in page
    assert "edgefed launch-server lab" in page
    assert "scp -rp lab/devices/device-0" in page


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out", "x"], "give one of --server"),
        (["--server", "https://host", "--out", "x"], "expected a host name or an address"),
        (["--server", "host", "--devices", "0", "--out", "x"], "--devices 0: expected 1 to 10000"),
        (["--server", "host", "--port", "70000", "--out", "x"], "--port 70000: expected 1 to 65535"),
        (["--server", "example.org:8000", "--out", "x"], "without scheme and port"),
        (["--server", "a..b", "--out", "x"], "expected a host name or an address"),
        (["--server", f"{'a' * 64}.org", "--out", "x"], "expected a host name or an address"),
        (["--server", ",", "--out", "x"], "expected a host name or an address"),
        (["--server", "host,fe80::1%eth0", "--out", "x"], "a zone (%eth0) is a link of one machine"),
        (["--server", "host,2001:db8::g", "--out", "x"], "--server 2001:db8::g: not an IPv6 address"),
        (["--server", "[2001:db8::1]", "--out", "x"], "without brackets, and without port (--port)"),
        (["--server", "host", "--days", "-3", "--out", "x"], "--days -3: expected 1 to 3650"),
        (["--server", "host", "--days", "99999999", "--out", "x"], "--days 99999999: expected 1 to 3650"),
        (["--add", "1", "--out", "nowhere"], "nowhere: no deployment.json"),
        (["--server", "host", "--add", "1", "--out", "x"], "give one of"),
        (["--device", "device-0", "--revoke", "device-0", "--out", "x"], "--public-key and --device go together"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["edgefed", "provision", *arguments])
    assert _exit_code() == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert says in err
    assert not (tmp_path / "x").exists()


def test_the_command_makes_adds_and_revokes_and_says_so(tmp_path, monkeypatch, capsys):
    lab = str(tmp_path / "lab")
    for arguments, says in (
        (["--server", "127.0.0.1", "--devices", "1"], "127.0.0.1:8000: 1 devices may join"),
        (["--add", "2"], "3 devices may join"),
        (["--revoke", "device-0"], "2 devices may join"),
        (["--renew"], "2 devices may join"),
    ):
        monkeypatch.setattr("sys.argv", ["edgefed", "provision", *arguments, "--out", lab])
        assert _exit_code() == 0
        assert says in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["edgefed", "provision", "--server", "127.0.0.1", "--out", lab])
    assert _exit_code() == 2
    said = capsys.readouterr().err
    assert f"--out {lab}: a deployment exists already: --add, --revoke, --public-key or --renew" in said
    assert "--resume" not in said
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    monkeypatch.setattr("sys.argv", ["edgefed", "provision", "--server", "127.0.0.1", "--out", str(tmp_path / "other")])
    assert _exit_code() == 2
    assert capsys.readouterr().err.endswith("other: exists already; give another folder\n")


def test_mistakes_in_a_deployment_that_is_there_are_one_line_and_change_nothing(
    deployment, tmp_path, monkeypatch, capsys
):
    binary, lab = tmp_path / "binary", deployment.folder
    binary.write_bytes(bytes(range(256)))
    before = (lab / "deployment.json").read_bytes(), (lab / "server" / "server.crt").read_bytes()
    (lab / "devices" / "device-3").mkdir()  # of an --add that was stopped
    (lab / "ca" / "ca.key").rename(tmp_path / "kept-offline")
    for arguments, says in (
        (["--add", "1"], "device-3: exists, and "),
        (["--renew"], "ca.key: no such file; the authority signs: bring it back"),
        (["--add", "-1"], "--add -1: expected 1 to 10000"),
        (["--add", "0"], "--add 0: expected 1 to 10000"),
        (["--renew", "--days", "99999999"], "--days 99999999: expected 1 to 3650"),
        (["--public-key", str(binary), "--device", "device-0"], "holds NUL bytes"),
        (["--public-key", str(tmp_path / "none"), "--device", "device-0"], "no such file"),
    ):
        monkeypatch.setattr("sys.argv", ["edgefed", "provision", *arguments, "--out", str(lab)])
        assert _exit_code() == 2
        err = capsys.readouterr().err
        assert (len(err.splitlines()), says in err) == (1, True), err
    assert before == ((lab / "deployment.json").read_bytes(), (lab / "server" / "server.crt").read_bytes())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to ask")
def test_addresses_of_both_kinds_are_in_the_certificate_and_in_brackets_where_a_port_follows(tmp_path):
    names = ["2001:DB8:0::20", "fl.lab.example", "192.168.1.20", "2001:db8::20"]
    deployment = provision(tmp_path / "lab", names, 1, port=8443)
    home = deployment.device_folder("device-0")

    assert Deployment.read(deployment.folder).names == ("2001:db8::20", "fl.lab.example", "192.168.1.20")
    certificate = (deployment.server / "server.crt").read_bytes()
    assert names_in(certificate)[:3] == ["2001:db8::20", "fl.lab.example", "192.168.1.20"]
    verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", deployment.server / "ca.crt"]
    for name, code in (
        (["-verify_ip", "2001:db8:0:0:0:0:0:20"], 0),
        (["-verify_ip", "192.168.1.20"], 0),
        (["-verify_ip", "2001:db8::21"], 2),
    ):
        assert (
            subprocess.run([*verify, *name, deployment.server / "server.crt"], capture_output=True).returncode == code
        )
    found = DeviceIdentity.read(home)
    assert (found.server, found.host, found.port) == ("[2001:db8::20]:8443", "2001:db8::20", 8443)
    assert "Server [2001:db8::20]:8443, 1 devices" in (deployment.folder / "README.md").read_text()
    assert "Dials [2001:db8::20]:8443." in (home / "README.md").read_text()
    for path in deployment.folder.rglob("*"):
        if path.is_file():
            assert b"20:8443" not in path.read_bytes().replace(b"[2001:db8::20]:8443", b"").replace(b"1.20:8443", b"")


@pytest.mark.parametrize("server", ["2001:db8::20:8443", "[fe80::1%eth0]:8443", "fl.lab.example"])
def test_an_edited_server_of_a_device_is_named(deployment, server):
    home = deployment.device_folder("device-0")
    DeviceIdentity("device-0", 0, server).write(home)
    with pytest.raises(SettingsError, match=r'device\.json: "server": ') as caught:
        DeviceIdentity.read(home)
    assert server in str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (None, "127.0.0.1"),  # it was never started
        ('[superlink.edgefed]\naddress = "[::1]:8443"\n', "::1"),
        ('[superlink.edgefed]\naddress = "127.0.0.1:8443"\n', "127.0.0.1"),
        ("[superlink]\nedgefed = 1\n", "127.0.0.1"),
        ("not TOML", "127.0.0.1"),
    ],
)
def test_where_this_machines_commands_find_the_server_is_where_it_was_last_started(deployment, text, address):
    if text is not None:
        deployment.flowers_file.parent.mkdir()
        deployment.flowers_file.write_text(text)
    assert deployment.loopback == address


def test_a_servers_certificate_is_signed_by_its_own_authority_or_not_at_all(deployment, tmp_path):
    other = provision(tmp_path / "other", ["127.0.0.1"], 1)
    before = (deployment.server / "server.key").read_bytes()
    key = deployment.folder / "ca" / "ca.key"
    for content, says in (
        ((other.folder / "ca" / "ca.key").read_bytes(), "ca.key: not the key of .*ca.crt"),
        (b"garbage", "not a private key and a certificate"),
    ):
        key.write_bytes(content)
        with pytest.raises(SettingsError, match=says):
            renew_server_certificate(deployment)
    assert (deployment.server / "server.key").read_bytes() == before


@pytest.mark.parametrize("name", ["deployment.json", "device.json"])
def test_an_edited_file_is_named(deployment, name):
    folder = deployment.folder if name == "deployment.json" else deployment.device_folder("device-0")
    (folder / name).write_text('{"format": 1}')
    with pytest.raises(SettingsError, match=f"{name}: the file was edited"):
        (Deployment if name == "deployment.json" else DeviceIdentity).read(folder)


def test_a_deployments_folder_in_place_of_a_devices_says_which_it_may_be(deployment):
    with pytest.raises(SettingsError, match=r"not a device's folder; is it .*devices/device-0\?"):
        DeviceIdentity.read(deployment.folder)


@pytest.mark.parametrize(
    ("key", "found", "says"),
    [
        ("names", [], '"names": expected a list of names and addresses; devices dial the first'),
        ("names", "fl", '"names": expected a list of names and addresses; devices dial the first'),
        ("names", [5], '"names": 5: not an IPv4 address, and no host name ends in a number'),
        ("names", ["fl.lab.example", "::"], '"names": ::: no device can dial it; give an address of the server\'s own'),
        ("port", 99999, '"port": 99999: expected 1 to 65535'),
        ("port", 0, '"port": 0: expected 1 to 65535'),
        ("port", float("inf"), "the file was edited (OverflowError: cannot convert float infinity to integer)"),
    ],
)
def test_an_edited_name_or_port_of_a_deployment_is_named(deployment, key, found, says):
    path = deployment.folder / "deployment.json"
    content = json.loads(path.read_text())
    content["server"][key] = found
    path.write_text(json.dumps(content))
    with pytest.raises(SettingsError) as caught:
        Deployment.read(deployment.folder)
    assert str(caught.value) == f"{path}: {says}"
