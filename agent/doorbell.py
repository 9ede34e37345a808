"""The Unix socket on which Run Command's `agent.pyz ring` says: look into the inbox."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Callable

RING_MAX_S = 2.0


class Doorbell:
    """Listens in `folder`; `rung` is called in the listening thread, before the ringer is told "ok"."""

    def __init__(self, folder: str, rung: Callable[[], None]) -> None:
        self._rung = rung
        os.makedirs(folder, mode=0o700, exist_ok=True)
        os.chmod(folder, 0o700)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Through the descriptor: a Unix socket's path has to be shorter than 108 bytes, a root folder need not be.
        path = "/proc/self/fd/%d/agent.sock" % held
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        self._socket.listen(16)
        os.close(held)
        self._thread = threading.Thread(target=self._listen, name="doorbell", daemon=True)

    def start(self) -> None:
        """Start listening."""
        self._thread.start()

    def _listen(self) -> None:
        while True:
            ringer, _ = self._socket.accept()
            with ringer, contextlib.suppress(OSError):
                ringer.settimeout(RING_MAX_S)
                if ringer.recv(16).strip() == b"ring":
                    self._rung()
                    ringer.sendall(b"ok\n")
