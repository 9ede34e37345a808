"""The workers of one function: who is idle, who waits, when another worker is started.

The worker that was used last is used first, so that the others can grow old and end. A new worker is started only
for an invocation that no starting or returning worker will take; whoever is ready first takes the longest waiting invocation.
The first worker starts at once; another one beside busy ones only when somebody has waited for `grow_after_s`, because on two cores
a busy worker mostly comes back sooner than a new one has imported its package, and would come back later for the new one's sake.
With reserved concurrency the limit is Lambda's and an invocation above it is throttled. Without, the limit is the laptop's
(real Lambda would start another sandbox), so the invocation waits instead.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from localcloud.lambdas.config import FunctionConfig
from localcloud.lambdas.invocation import Pending
from localcloud.lambdas.worker import Worker

GROW_AFTER_S = 0.15
INIT_TIMEOUT_S = 60.0  # Lambda's is 10; a laptop with two busy cores imports more slowly
IDLE_MAX_S = 300.0
THROTTLED = b'{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}'


@dataclass
class FunctionStats:
    """What happened to one function since the embedded cloud started."""

    name: str
    region: str
    invocations: int = 0
    errors: int = 0  # the function raised, ended, timed out, or could not be started
    throttles: int = 0
    kills: int = 0  # ended by us: timeout, memory, fault
    cold_starts: int = 0
    cold_start_ms: list[float] = field(
        default_factory=list
    )  # spawn to ready for the first invocation, the latest thousand


class Pool:
    """Workers for one function. `spawn(config, pool)` starts a worker in another thread and may call `start_failed`."""

    def __init__(
        self,
        config: FunctionConfig,
        spawn: Callable[[FunctionConfig, "Pool"], None],
        limit_default: int,
        grow_after_s: float = GROW_AFTER_S,
    ) -> None:
        self._grow_after_s = grow_after_s
        self.stats = FunctionStats(config.name, config.region)
        self._config = config
        self._spawn = spawn
        self._limit_default = limit_default
        self._lock = threading.RLock()
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []
        self._returning: set[Worker] = set()
        self._starting = 0  # asked for, and not ready yet
        self._waiting: deque[Pending] = deque()
        self._closed = False

    def submit(self, config: FunctionConfig, pending: Pending, *, wait_if_full: bool) -> None:
        """Run `pending` on a worker of `config`, now or when one is free. Throttled only above reserved concurrency."""
        with self._lock:
            self.configure(config)
            self.stats.invocations += 1
            reserved = config.reserved_concurrency
            throttled = reserved is not None and not wait_if_full and self.in_use() >= reserved
            closed = self._closed
            if not throttled and not closed:
                self._waiting.append(pending)
                self._balance()
            elif throttled:
                self.stats.throttles += 1
        if throttled:
            pending.finish(THROTTLED, status=429)
        elif closed:
            pending.fail("Runtime.ExitError", "the embedded cloud is stopping")

    def configure(self, config: FunctionConfig) -> None:
        """Replace idle workers when code or configuration changed; busy ones end when they are done."""
        with self._lock:
            if config != self._config:
                self._config = config
                for worker in self._idle:
                    worker.kill("Runtime.ExitError", "replaced by a newer version")
                self._idle.clear()
            else:
                self._config = config  # reserved concurrency may differ

    def prewarm(self) -> None:
        """Start a worker when there is none, so that the first invocation finds one."""
        with self._lock:
            if not self._workers and not self._starting and self.limit() > 0:
                self._start()

    def limit(self) -> int:
        """How many invocations may run at a time."""
        reserved = self._config.reserved_concurrency
        return self._limit_default if reserved is None else min(reserved, self._limit_default * 4)

    def in_use(self) -> int:
        """Invocations that run or wait for a worker."""
        with self._lock:
            return len(self._waiting) + sum(1 for worker in self._workers if worker.current is not None)

    def workers(self) -> list[Worker]:
        with self._lock:
            return list(self._workers)

    def watch(self, now: float) -> bool:
        """Kill what is over its time or its memory, end what is idle too long. True while somebody is busy or starting."""
        with self._lock:
            self._balance()  # somebody may have waited long enough for another worker
            active = bool(self._waiting)
        for worker in self.workers():
            pending = worker.current
            if worker.init_ms is None:
                active = True
                if now - worker.started_at > INIT_TIMEOUT_S:
                    self._end(worker, "Sandbox.Timedout", f"Init timed out after {INIT_TIMEOUT_S:.0f} seconds")
            elif pending is None:
                self._end_if_old(worker, now)
            else:
                active = True
                if pending.deadline is not None and now > pending.deadline:
                    self._end(worker, "Sandbox.Timedout", f"Task timed out after {worker.config.timeout_s:.2f} seconds")
                elif (mib := worker.memory_mib()) > worker.config.memory_mib:
                    why = f"{mib:.0f} MiB used, {worker.config.memory_mib} MiB configured"
                    self._end(worker, "Runtime.ExitError", f"Runtime exited with error: signal: killed (memory: {why})")
        return active

    def kill_busy(self, message: str) -> int:
        """A fault: kill every worker that is at work; how many there were."""
        busy = [worker for worker in self.workers() if worker.current is not None]
        for worker in busy:
            self._end(worker, "Runtime.ExitError", message)
        return len(busy)

    def close(self) -> list[Worker]:
        """Start nothing more, fail what waits, kill everybody; the workers that were there."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = list(self._waiting), deque()
            workers = list(self._workers)
        for worker in workers:
            worker.kill("Runtime.ExitError", "the embedded cloud is stopping")
        for pending in waiting:
            pending.fail("Runtime.ExitError", "the embedded cloud is stopping")
        return workers

    # --- worker.Owner and the spawner ---

    def started(self, worker: Worker) -> bool:
        """A worker is about to be spawned for this pool; False when the pool closed meanwhile."""
        with self._lock:
            if not self._closed:
                self._workers.add(worker)
            return not self._closed

    def start_failed(self, error: bytes, worker: Worker | None = None) -> None:
        """A worker could not even be spawned; `error` goes to the longest waiting invocation."""
        with self._lock:
            if worker is not None:
                self._workers.discard(worker)
            self._starting -= 1
        self._fail_oldest(error)

    def initialised(self, worker: Worker) -> None:
        with self._lock:
            self._starting -= 1
            self.stats.cold_starts += 1
            self.stats.cold_start_ms.append(worker.init_ms or 0.0)
            del self.stats.cold_start_ms[:-1000]

    def ready(self, worker: Worker) -> None:
        with self._lock:
            worker.idle_since = time.monotonic()
            self._returning.discard(worker)
            self._idle.append(worker)
            self._balance()

    def returning(self, worker: Worker) -> None:
        with self._lock:
            self._returning.add(worker)

    def gone(self, worker: Worker, unbegun: Pending | None, init_error: bytes | None) -> None:
        with self._lock:
            self._workers.discard(worker)
            self._returning.discard(worker)
            if worker in self._idle:
                self._idle.remove(worker)
            if init_error is not None:
                self._starting -= 1
            if unbegun is not None:
                self._waiting.appendleft(unbegun)
        if init_error is not None:
            self._fail_oldest(init_error)
        with self._lock:
            self._balance()

    # --- inside ---

    def _balance(self) -> None:
        while self._waiting and (worker := self._take_idle()):
            pending = self._waiting.popleft()
            pending.cold_start = worker.fresh
            worker.fresh = False
            worker.give(pending)
        while len(self._waiting) > self._starting + len(self._returning) and self._room() and self._due_to_grow():
            self._start()

    def _due_to_grow(self) -> bool:
        """Whether the first invocation that nobody is starting for has waited long enough."""
        if not self._workers and not self._starting:
            return True
        unserved = self._waiting[self._starting + len(self._returning)]
        return time.monotonic() - unserved.submitted_at >= self._grow_after_s

    def _room(self) -> bool:
        return not self._closed and len(self._workers) + self._unspawned() < self.limit()

    def _unspawned(self) -> int:
        return self._starting - sum(1 for worker in self._workers if worker.init_ms is None)

    def _start(self) -> None:
        self._starting += 1
        self._spawn(self._config, self)

    def _take_idle(self) -> Worker | None:
        while self._idle:
            worker = self._idle.pop()
            if worker.config == self._config and time.time() < worker.expires_at and worker.killed_because is None:
                return worker
            worker.kill("Runtime.ExitError", "replaced: its configuration or its credentials are old")
        return None

    def _end_if_old(self, worker: Worker, now: float) -> None:
        with self._lock:
            if worker not in self._idle or now - worker.idle_since < IDLE_MAX_S:
                return
            self._idle.remove(worker)
        worker.kill("Runtime.ExitError", "idle for too long")

    def _end(self, worker: Worker, kind: str, message: str) -> None:
        if worker.killed_because is None:
            self.stats.kills += 1
            worker.kill(kind, message)

    def _fail_oldest(self, error: bytes) -> None:
        with self._lock:
            pending = self._waiting.popleft() if self._waiting else None
        if pending is not None:
            pending.finish(error, "Unhandled")
