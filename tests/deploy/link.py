"""A link between a device and its server that a test can cut and heal: bytes go through it untouched."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading

LOOK_EVERY = 0.05
RESET = struct.pack("ii", 1, 0)


class Link:
    """Forwards connections to a port of this machine; cut, it resets those that there are and refuses new ones."""

    def __init__(self, port: int) -> None:
        self.server = port
        self.port = 0
        self._whole = threading.Event()
        self._threads: list[threading.Thread] = []
        self.heal()

    def heal(self) -> None:
        """Take connections, at the same port as ever."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        listener.listen()
        listener.settimeout(LOOK_EVERY)
        self._whole.set()
        self._start(self._accept, listener)

    def cut(self) -> None:
        """Reset every connection and refuse further ones; when this returns, it is so."""
        self._whole.clear()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _start(self, work, *parts) -> None:
        thread = threading.Thread(target=work, args=parts, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while self._whole.is_set():
                with contextlib.suppress(TimeoutError):
                    self._start(self._forward, listener.accept()[0])

    def _forward(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.server)) as far:
            near.setblocking(True)
            ends = {near: far, far: near}
            with selectors.DefaultSelector() as chosen:
                for end in ends:
                    chosen.register(end, selectors.EVENT_READ)
                while self._whole.is_set():
                    for key, _ in chosen.select(LOOK_EVERY):
                        found = key.fileobj.recv(65536)
                        if not found:
                            return
                        ends[key.fileobj].sendall(found)
                for end in ends:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
