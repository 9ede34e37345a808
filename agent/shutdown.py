"""The end of the machine, asked for by its own agent."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time

from agent.pings import Pings

LAST_WORDS_MAX_S = 10.0
AGAIN_S = 30.0


def shut_down(pings: Pings, reason: str, last_words_s: float = LAST_WORDS_MAX_S) -> None:
    """Say bye for at most `last_words_s`, then end the machine; tried again for as long as it still runs."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # which is how the shutdown ends us: nothing is left to do
    pings.post("bye", reason=reason)
    pings.flush(last_words_s)
    shutdown = shutil.which("shutdown") or "/sbin/shutdown"
    while True:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([shutdown, "-h", "now"], stdin=subprocess.DEVNULL, timeout=30, check=False)
        time.sleep(AGAIN_S)
