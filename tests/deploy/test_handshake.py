"""Every way in which a connection is refused has a line of its own: real certificates, real TLS."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from email.utils import formatdate

import pytest
from processes import ipv6

from edgefed.deploy.certificates import make_authority, make_server_certificate
from edgefed.deploy.handshake import HandshakeError, UnreachableError, resolve, shake_hands, unanswered

HOST = "127.0.0.1"


@contextlib.contextmanager
def serving(folder=None, ahead=0.0, host=HOST, says=None):
    """Answer on a port of this machine: over TLS with a folder's certificate, or in the clear."""
    listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    context = None
    if folder is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with contextlib.suppress(OSError), connection:
                    answering = context.wrap_socket(connection, server_side=True) if context else connection
                    with answering:
                        answering.recv(1000)
                        date = formatdate(time.time() + ahead, usegmt=True) if says is None else says
                        answering.sendall(f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n".encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ca")
    make_authority(folder)
    return folder


def certified(authority, folder, *, names=(HOST,), days=30):
    folder.mkdir()
    make_server_certificate(authority, folder, names, days)
    return folder


def test_a_good_certificate_is_taken_and_the_clocks_are_compared(authority, tmp_path):
    with serving(certified(authority, tmp_path / "server"), ahead=600) as port:
        found = shake_hands(HOST, port, authority / "ca.crt")

    assert found.address == HOST
    assert found.skew == pytest.approx(600, abs=2)
    assert found.expires == pytest.approx(time.time() + 30 * 86400, abs=120)


@ipv6
def test_a_server_at_an_ipv6_address(authority, tmp_path):
    certificate = certified(authority, tmp_path / "server")
    with serving(certificate, host="::1") as port:
        assert shake_hands("::1", port, authority / "ca.crt").address == "::1"
    with serving(host="::1") as port, pytest.raises(HandshakeError, match=rf"^\[::1\]:{port} does not speak TLS"):
        shake_hands("::1", port, authority / "ca.crt")


def test_of_a_names_addresses_the_first_that_answers_is_taken(authority, tmp_path, monkeypatch):
    with serving(certified(authority, tmp_path / "server", names=["fl.lab.example"])) as port:
        monkeypatch.setattr("edgefed.deploy.handshake.addresses_of", lambda host, port: ("127.0.0.2", HOST))
        assert shake_hands("fl.lab.example", port, authority / "ca.crt").address == HOST
        assert unanswered("fl.lab.example", port) == {"127.0.0.2": "nobody listens"}


@pytest.mark.parametrize("says", ["", "half past nine", "Thu, 99 Nov 2026 00:00:00 GMT"])
def test_a_server_that_says_no_time_is_none_to_compare_with(says):
    with serving(says=says) as port:
        assert shake_hands(HOST, port, None).skew is None


def test_another_authority(authority, tmp_path):
    (tmp_path / "other").mkdir()
    make_authority(tmp_path / "other")
    with (
        serving(certified(authority, tmp_path / "server")) as port,
        pytest.raises(HandshakeError, match=r"signed by another authority than ca.crt: copy the deployment's own"),
    ):
        shake_hands(HOST, port, tmp_path / "other" / "ca.crt")


def test_an_expired_certificate(authority, tmp_path):
    with (
        serving(certified(authority, tmp_path / "server", days=-3)) as port,
        pytest.raises(HandshakeError, match=r"certificate has expired; on the server: edgefed provision .* --renew"),
    ):
        shake_hands(HOST, port, authority / "ca.crt")


def test_a_certificate_for_another_name(authority, tmp_path, monkeypatch):
    monkeypatch.setattr("edgefed.deploy.certificates.ON_THIS_MACHINE", ())
    with (
        serving(certified(authority, tmp_path / "server", names=["fl.lab.example"])) as port,
        pytest.raises(HandshakeError, match=rf"for other names than {HOST}: provision with --server {HOST},..."),
    ):
        shake_hands(HOST, port, authority / "ca.crt")


def test_a_clock_that_is_behind(authority, tmp_path, monkeypatch):
    import datetime as dt

    monkeypatch.setattr("edgefed.deploy.certificates.BACKDATED", dt.timedelta(days=-2))
    with (
        serving(certified(authority, tmp_path / "server")) as port,
        pytest.raises(HandshakeError, match="not valid yet by this device's clock: set the clock"),
    ):
        shake_hands(HOST, port, authority / "ca.crt")


def test_plain_text_against_tls_and_tls_against_plain_text(authority, tmp_path):
    with (
        serving(certified(authority, tmp_path / "server")) as port,
        pytest.raises(HandshakeError, match="it speaks TLS; leave out --insecure"),
    ):
        shake_hands(HOST, port, None)
    with serving() as port, pytest.raises(HandshakeError, match=r"does not speak TLS: .*started without --insecure"):
        shake_hands(HOST, port, authority / "ca.crt")


def test_plain_text_where_that_is_spoken():
    with serving() as port:
        assert shake_hands(HOST, port, None).expires is None


def test_nobody_there(authority, tmp_path):
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        port = unused.getsockname()[1]
        with pytest.raises(UnreachableError, match=rf"nobody listens on port {port} of {HOST}: start the server"):
            shake_hands(HOST, port, authority / "ca.crt")
    with pytest.raises(UnreachableError, match=r"the name no-such-host.invalid cannot"):
        shake_hands("no-such-host.invalid", 1, authority / "ca.crt")
    with serving() as port, pytest.raises(HandshakeError, match=r"none.crt: not a certificate"):
        shake_hands(HOST, port, tmp_path / "none.crt")


@pytest.mark.parametrize("linger", [None, struct.pack("ii", 1, 0)], ids=["closed", "reset"])
def test_a_connection_that_is_cut_at_once_is_tried_again(authority, linger):
    """As a forwarder does whose server is not up yet: no reason to give up."""
    with socket.create_server((HOST, 0)) as listener:

        def cut():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                if linger is not None:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        thread = threading.Thread(target=cut)
        thread.start()
        with pytest.raises(UnreachableError, match=r"took the connection and cut it: is the server up\?"):
            shake_hands(HOST, listener.getsockname()[1], authority / "ca.crt")
        thread.join()


def test_a_server_that_says_nothing_is_tried_again(authority, monkeypatch):
    monkeypatch.setattr("edgefed.deploy.handshake.PATIENCE", 0.1)
    with (
        socket.create_server((HOST, 0)) as listener,
        pytest.raises(UnreachableError, match=r"took the connection and said nothing"),
    ):
        shake_hands(HOST, listener.getsockname()[1], authority / "ca.crt")


def test_a_name_that_is_none_cannot_be_resolved():
    with pytest.raises(UnreachableError, match=r"the name a..b cannot be resolved"):
        resolve("a..b", 8000)
