"""One process that runs one function, one invocation at a time, through AWS's runtime client.

Its life: starting → idle ⇄ busy → gone. A worker is `busy` from the moment an invocation is given to it until it asks for the
next one. It leads a process group of its own, which is killed as a whole; it holds the reading end of a pipe that
nobody writes to, whose end tells it that this process is gone (see launch.py).
"""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Protocol

from localcloud.lambdas.config import FunctionConfig
from localcloud.lambdas.invocation import Pending
from localcloud.lambdas.logs import LogFile, LogPump, Outlet
from localcloud.lambdas.memory import resident_mib
from localcloud.lambdas.runtime_api import RuntimeApi, Work, error_document

LAUNCH = Path(__file__).with_name("launch.py")
RESPONSE_MAX_BYTES = 6_291_556


class Owner(Protocol):
    """The pool that a worker belongs to. Called in the worker's own threads."""

    def initialised(self, worker: "Worker") -> None:
        """The worker asks for work for the first time; called before `ready`."""

    def ready(self, worker: "Worker") -> None:
        """The worker asks for work; called before it waits on its inbox."""

    def returning(self, worker: "Worker") -> None:
        """The worker has answered and is about to ask for more."""

    def gone(self, worker: "Worker", unbegun: Pending | None, init_error: bytes | None) -> None:
        """The process has ended. `unbegun` was given to it and never begun; `init_error` says why it never asked for work."""


class Worker:
    """A process for `config`. `start` it once; then hand it invocations with `give`."""

    def __init__(self, config: FunctionConfig, owner: Owner, log: LogFile, pump: LogPump, expires_at: float) -> None:
        self.config = config
        self.expires_at = expires_at  # epoch seconds: when its credentials stop being good for a whole invocation
        self.started_at = time.monotonic()
        self.idle_since = self.started_at
        self.init_ms: float | None = None  # spawn to ready for the first invocation; None: still starting
        self.current: Pending | None = None
        self.killed_because: tuple[str, str] | None = None  # error type and message
        self.peak_mib = 0.0
        self.fresh = True  # it has not been given an invocation yet
        self._owner = owner
        self._outlet = Outlet(log)
        self._pump = pump
        self._inbox: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._api = RuntimeApi(self)
        self._process: subprocess.Popen[bytes] | None = None
        self._init_error: bytes | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self, task_root: Path, runtime_root: Path, environment: dict[str, str]) -> None:
        """Spawn the process. Raises OSError when that is not possible."""
        log = self._outlet.log
        log.write(f"INIT_START Runtime Version: {self.config.runtime} (awslambdaric)\n".encode())
        self.started_at = time.monotonic()
        try:
            with self._lock:
                if self.killed_because is not None:
                    raise ProcessLookupError("the embedded cloud is stopping")
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(LAUNCH), str(task_root), str(runtime_root), self.config.handler],
                    stdin=subprocess.PIPE,
                    stdout=self._outlet.writer,
                    stderr=subprocess.STDOUT,
                    env=environment | {"AWS_LAMBDA_RUNTIME_API": self._api.address},
                    cwd=task_root,
                    start_new_session=True,
                )
        except OSError:
            self._api.close()
            self._outlet.close()
            raise
        finally:
            os.close(self._outlet.writer)
        self._pump.add(self._outlet)
        name = f"worker-{self.config.name}"
        threading.Thread(target=self._wait, args=(self._process,), daemon=True, name=name).start()

    def give(self, pending: Pending) -> None:
        """Hand over an invocation. Only for a worker that is idle."""
        self.current = pending
        self._inbox.put(pending)

    def kill(self, kind: str, message: str) -> None:
        """End the process group now; an invocation that it works on fails with this error."""
        with self._lock:
            if self.killed_because is None:
                self.killed_because = (kind, message)
            process = self._process
        if process is not None and process.returncode is None:
            _kill_group(process.pid)

    def memory_mib(self) -> float:
        """Resident memory of the process and its children, now; 0 when it is gone."""
        mib = 0.0 if self.pid is None else resident_mib(self.pid)
        self.peak_mib = max(self.peak_mib, mib)
        return mib

    # --- runtime_api.Desk: called in the connection's thread ---

    def next(self) -> Work | None:
        if self.init_ms is None:
            self.init_ms = (time.monotonic() - self.started_at) * 1000
            self._owner.initialised(self)
        self._owner.ready(self)
        pending = self._inbox.get()
        if pending is None:
            return None
        pending.start(self.config.timeout_s)
        self._outlet.log.write(f"START RequestId: {pending.request_id} Version: $LATEST\n".encode())
        deadline_ms = int((time.time() + self.config.timeout_s) * 1000)
        return Work(pending.request_id, pending.payload, deadline_ms, self.config.arn)

    def respond(self, request_id: str, payload: bytes) -> None:
        if len(payload) > RESPONSE_MAX_BYTES:
            message = f"Response payload size exceeded maximum allowed payload size ({RESPONSE_MAX_BYTES} bytes)."
            self._settle(request_id, error_document("Function.ResponseSizeTooLarge", message), "Unhandled")
        else:
            self._settle(request_id, payload, None)

    def fail(self, request_id: str, error: bytes) -> None:
        self._settle(request_id, error, "Unhandled")

    def init_failed(self, error: bytes) -> None:
        self._init_error = error

    def _settle(self, request_id: str, payload: bytes, error: str | None) -> None:
        pending = self.current
        if pending is None or pending.request_id != request_id:
            return  # it came too late: the invocation timed out meanwhile
        self._report(pending)
        self.current = None
        self._owner.returning(self)
        pending.finish(payload, error)

    def _report(self, pending: Pending) -> None:
        self._outlet.drain()
        self.memory_mib()
        duration_ms = pending.duration_ms
        report = (
            f"REPORT RequestId: {pending.request_id}\tDuration: {duration_ms:.2f} ms\t"
            f"Billed Duration: {int(duration_ms) + 1} ms\tMemory Size: {self.config.memory_mib} MB\t"
            f"Max Memory Used: {self.peak_mib:.0f} MB"
        )
        if pending.cold_start and self.init_ms is not None:
            report += f"\tInit Duration: {self.init_ms:.2f} ms"
        self._outlet.log.write(f"END RequestId: {pending.request_id}\n{report}\n".encode())

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        _kill_group(process.pid)  # what it started and left behind
        if process.stdin is not None:
            process.stdin.close()
        self._api.close()
        self._inbox.put(None)
        self._outlet.drain()
        kind, message = self.killed_because or ("Runtime.ExitError", _exit_sentence(code))
        pending, self.current = self.current, None
        unbegun = None
        if pending is not None and pending.started_at is None:
            pending, unbegun = None, pending
        if pending is not None:
            self._outlet.log.write(f"{_now()} {pending.request_id} {message}\n".encode())
            self._report(pending)
        init_error = None
        if self.init_ms is None:
            init_error = self._init_error or error_document(kind, message)
            self._outlet.log.write(f"INIT_REPORT Status: error\t{message}\n".encode())
        self._owner.gone(self, unbegun, init_error)
        if pending is not None:
            pending.fail(kind, message)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # nobody is left in it


def _exit_sentence(code: int) -> str:
    if code < 0:
        return f"Runtime exited with error: signal: {signal.Signals(-code).name}"
    return f"Runtime exited with error: exit status {code}" if code else "Runtime exited without providing a reason"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
