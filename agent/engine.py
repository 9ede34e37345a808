"""The container engine of a host, through its own client: one program, run for each question. Docker's; what speaks its language will do.

The client is given nothing of a job's: no variable, no configuration. It reads the machine's own (/root/.docker, for private registries)
and talks to the engine that the machine's own variables name.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import Callable, Mapping, NamedTuple

TIMEOUT_S = 30.0
STEP_S = 0.1
SAID_MAX_BYTES = 64 * 1024
OWN = ("DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "DOCKER_CONTEXT", "HOME")
LOST = 124  # as `timeout` says it


class Said(NamedTuple):
    """What the client answered."""

    code: int
    out: str
    err: str

    @property
    def why(self) -> str:
        """Its last words, for people."""
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        return (lines[-1] if lines else "exit code %d" % self.code)[-300:]


class Engine:
    """`program` is the client's path."""

    def __init__(self, program: str, path: str) -> None:
        self.program = program
        self.environment: Mapping[str, str] = {
            "PATH": path,
            **{name: os.environ[name] for name in OWN if os.environ.get(name)},
        }

    def ask(self, *words: str, timeout_s: float = TIMEOUT_S, stopped: Callable[[], bool] = lambda: False) -> Said:
        """Run the client until it answers, `timeout_s` are over or somebody has `stopped` it. Never raises for what it answers."""
        try:
            process = subprocess.Popen(
                [self.program, *words],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            return Said(LOST, "", "%s: %s" % (self.program, error.strerror))
        give_up = time.monotonic() + timeout_s
        with process:
            while True:
                left = give_up - time.monotonic()
                if left <= 0 or stopped():
                    process.kill()
                    process.communicate()
                    return Said(LOST, "", "no answer within %d s" % timeout_s)
                try:
                    out, err = process.communicate(timeout=min(left, STEP_S))
                    break
                except subprocess.TimeoutExpired:
                    continue
        return Said(process.returncode, _text(out), _text(err))


def _text(data: bytes) -> str:
    return data[-SAID_MAX_BYTES:].decode("utf-8", "replace")
