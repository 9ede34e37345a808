"""The fleet's end of the hypervisor: starts the process, sends it orders, reads its reports and the machines' messages.

One thread does all of it and nothing else, so what a machine says is heard in order. Callbacks run in that thread and must not block.
"""

import contextlib
import heapq
import itertools
import json
import logging
import os
import queue
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localcloud.instances import cgroups

log = logging.getLogger("localcloud.instances")

ROOT = Path(__file__).resolve().parents[2]
START_S = 20.0
STOP_S = 10.0
# By -c and not -m: -I keeps the developer's environment out of the interpreter, and with it the project's folder.
START = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from localcloud.instances.hypervisor import main; main()"


class HypervisorFailed(Exception):
    """The hypervisor did not start; the message holds its own words."""


class VmHost:
    """Runs callables, timers and sockets in one thread. `isolation` after `start()` is "namespaces" or "none", `why` says why none."""

    def __init__(self, on_report: Callable[[dict[str, Any]], None]) -> None:
        self._on_report = on_report
        self.isolation = "none"
        self.why = ""
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
        self._thread = threading.Thread(target=self._run, name="instances", daemon=True)
        self._stopping = False

    def start(self, image: Path, isolation: str, log: Path) -> None:
        """Start the hypervisor. Raises HypervisorFailed."""
        cgroups.remove_stale(cgroups.hierarchies())
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = control
        self.slice = f"spillway-{os.getpid()}-{id(self):x}"
        arguments = [sys.executable, "-I", "-S", "-c", START, str(theirs.fileno()), str(image), isolation, self.slice]
        with theirs, log.open("ab") as errors:
            self.process = subprocess.Popen(
                arguments,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
                env={"PATH": os.defpath},
                cwd="/",
            )
        control.settimeout(START_S)
        try:
            ready = json.loads(control.recv(65536) or b"{}")
        except OSError:
            ready = {}
        if not ready:
            control.close()
            self.process.kill()
            self.process.wait()
            raise HypervisorFailed(f"Machines cannot be started: {log.read_text(errors='replace').strip()[-500:]}")
        control.settimeout(None)
        self.isolation, self.why = ready["isolation"], ready["why"]
        self._selector.register(control, selectors.EVENT_READ, self._report)
        self._thread.start()

    def stop(self) -> None:
        """End the hypervisor, which ends all machines; returns when they are gone. Harmless when it never started."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # What the hypervisor removes itself, unless it was killed.
        cgroups.remove([(name, f"{folder}/{self.slice}") for name, folder in cgroups.hierarchies()])
        self._stopping = True
        self.do(lambda: None)
        self._thread.join(STOP_S)
        self._control.close()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # For everyone

    def do(self, work: Callable[[], None]) -> None:
        """Run `work` in the thread, soon."""
        self._inbox.put(work)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b".")

    def do_now(self, work: Callable[[], None]) -> None:
        """Run `work` in the thread and return when it is done, so that the caller sees its effect."""
        done = threading.Event()

        def both() -> None:
            try:
                work()
            finally:
                done.set()

        if threading.current_thread() is self._thread:
            work()
        else:
            self.do(both)
            done.wait(START_S)

    # For callbacks, in the thread

    def later(self, delay_s: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._order), work))

    def boot(self, order: dict[str, Any], on_message: Callable[[dict[str, Any]], None]) -> socket.socket:
        """Boot a machine and answer the channel to it."""
        ours, theirs = socket.socketpair()
        with theirs:
            packet = json.dumps({"do": "boot", **order}).encode()
            socket.send_fds(self._control, [packet], [theirs.fileno()])
        buffer = bytearray()
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._message(ours, buffer, on_message))
        return ours

    def send(self, channel: socket.socket, message: dict[str, Any]) -> bool:
        """Say `message` to a machine; False when it does not listen. A machine that hangs must not hang the fleet."""
        data = json.dumps(message).encode() + b"\n"
        try:
            sent = channel.send(data, socket.MSG_DONTWAIT)
        except OSError:
            return False
        if sent < len(data):
            self.hang_up(channel)  # half a message would spoil the next one; its end of file ends the machine
            return False
        return True

    def kill(self, machine: str) -> None:
        with contextlib.suppress(OSError):
            self._control.send(json.dumps({"do": "kill", "id": machine}).encode())

    def hang_up(self, channel: socket.socket) -> None:
        """Close a machine's channel."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(channel)
        channel.close()

    # The thread

    def _run(self) -> None:
        while not self._stopping:
            wait_s = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            for key, _ in self._selector.select(wait_s):
                self._try(key.data)
            while self._timers and self._timers[0][0] <= time.monotonic():
                self._try(heapq.heappop(self._timers)[2])

    def _try(self, work: Callable[[], None]) -> None:
        """One machine's trouble must not end the thread that all machines hang on."""
        try:
            work()
        except Exception:
            log.exception("work on a machine failed")

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        with contextlib.suppress(queue.Empty):
            while True:
                self._try(self._inbox.get_nowait())

    def _report(self) -> None:
        try:
            data = self._control.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(self._control)
            self._on_report({"is": "hypervisor-gone"})
            return
        self._on_report(json.loads(data))

    def _message(self, channel: socket.socket, buffer: bytearray, on_message: Callable[[dict[str, Any]], None]) -> None:
        try:
            data = channel.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.hang_up(channel)
            return
        buffer += data
        while (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            on_message(json.loads(line))
