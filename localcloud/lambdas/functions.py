"""Deployed functions, run: `Functions.invoke` is the embedded cloud's Lambda service.

Each function has a pool of workers (pool.py), each worker is a process (worker.py) that AWS's runtime client runs. One thread
watches all of them: every 50 ms while somebody works, once a second otherwise. Memory is watched as resident size and not limited by
RLIMIT_AS, because threads and libraries reserve address space that they never touch; so a function that grows quickly can
pass its MemorySize by what it allocates in 50 ms before it is killed.
"""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from localcloud.front import Front
from localcloud.identity import Identities, UnknownRole
from localcloud.lambdas import aws_api
from localcloud.lambdas.config import FunctionConfig, deployed, deployed_everywhere, function_name
from localcloud.lambdas.environment import environment
from localcloud.lambdas.invocation import Invocation, Pending
from localcloud.lambdas.logs import LogFile, LogPump
from localcloud.lambdas.package import PackageError, Packages
from localcloud.lambdas.pool import GROW_AFTER_S, FunctionStats, Pool
from localcloud.lambdas.runtime_api import error_document
from localcloud.lambdas.worker import Worker

WATCH_S = 0.05
QUIET_WATCH_S = 1.0
CONCURRENCY_DEFAULT = 4  # workers of one function on a laptop, where Lambda would allow a thousand
PAYLOAD_MAX_BYTES = 6_291_456
ASYNC_PAYLOAD_MAX_BYTES = 1_048_576
CREDENTIALS_S = 3600.0
DEFAULT_REGION = "us-east-1"

log = logging.getLogger("localcloud.functions")


class Functions:
    """Runs deployed functions.

    `concurrency_default` limits a function without reserved concurrency. `async_retry_s` is how long an asynchronous
    invocation that failed waits before its second and its third try; Lambda waits one minute, then two. `prewarm` starts one worker for a
    function as soon as it is deployed, while the deployment goes on. `grow_after_s`: see pool.py.
    """

    def __init__(
        self,
        front: Front,
        identities: Identities,
        state_dir: Path,
        *,
        concurrency_default: int = CONCURRENCY_DEFAULT,
        async_retry_s: tuple[float, ...] = (60.0, 120.0),
        prewarm: bool = False,
        grow_after_s: float = GROW_AFTER_S,
    ) -> None:
        self._grow_after_s = grow_after_s
        self._front = front
        self._prewarm = prewarm
        self._identities = identities
        self._state_dir = state_dir
        self._concurrency_default = concurrency_default
        self._async_retry_s = async_retry_s
        self._packages = Packages(state_dir / "lambda")
        self._pools: dict[tuple[str, str], Pool] = {}
        self._logs: dict[tuple[str, str], LogFile] = {}
        self._lock = threading.Lock()
        self._wake = threading.Condition()
        self._retries: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._stopping = False
        self._pump: LogPump | None = None
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="functions-watch")

    def start(self) -> None:
        """Begin to watch and to answer `lambda:Invoke`; invocations may come."""
        aws_api.register(self._front, self)
        self._pump = LogPump()
        self._watcher.start()

    def stop(self) -> None:
        """End every worker and wait until none is left (at most 10 s)."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        deadline = time.monotonic() + 10
        for pool in self._all_pools():
            pool.close()
        while any(pool.workers() for pool in self._all_pools()) and time.monotonic() < deadline:
            time.sleep(0.005)
        if self._watcher.is_alive():
            self._watcher.join(2)
        if self._pump is not None:
            self._pump.stop()
        for log in self._logs.values():
            log.close()

    def invoke(self, name: str, payload: bytes, *, wait: bool, region: str = DEFAULT_REGION) -> Invocation:
        """Run the function `name` (or its ARN) on `payload`, JSON.

        `wait`: return how it ended. Otherwise it is accepted (202), and tried up to three times.
        """
        if not wait:
            return self._accept(name, payload, region)
        done = threading.Event()
        outcome: list[Invocation] = []

        def settle(invocation: Invocation) -> None:
            outcome.append(invocation)
            done.set()

        self.begin(name, payload, settle, region=region)
        done.wait()
        return outcome[0]

    def begin(
        self,
        name: str,
        payload: bytes,
        on_done: Callable[[Invocation], None],
        *,
        region: str = DEFAULT_REGION,
        wait_if_full: bool = False,
    ) -> None:
        """Run it and call `on_done` once with how it ended, in another thread or in this one; do not block there."""
        config = deployed(function_name(name), region)
        if config is None:
            on_done(_no_such_function(name, region))
            return
        if len(payload) > PAYLOAD_MAX_BYTES:
            on_done(Invocation(413, error_document("RequestTooLargeException", f"more than {PAYLOAD_MAX_BYTES} bytes")))
            return
        pool = self._pool(config)

        def settle(invocation: Invocation) -> None:
            if invocation.error is not None:
                pool.stats.errors += 1
            on_done(invocation)

        pool.submit(config, Pending(payload, settle), wait_if_full=wait_if_full)
        with self._wake:
            self._wake.notify()  # somebody works: watch closely

    def free_slots(self, name: str, region: str = DEFAULT_REGION) -> int:
        """How many more invocations could run now without being throttled or having to wait."""
        config = deployed(function_name(name), region)
        if config is None:
            return 0
        pool = self._pool(config)
        pool.configure(config)
        return max(0, pool.limit() - pool.in_use())

    def prepare(self, name: str, region: str = DEFAULT_REGION) -> None:
        """Unpack a function's package in the background, so that its first invocation need not, and prewarm it if so configured."""
        config = deployed(function_name(name), region)
        if config is not None:
            threading.Thread(target=self._prepare, args=(config,), daemon=True, name="unpack-package").start()

    def forget(self, name: str, region: str = DEFAULT_REGION) -> None:
        """A function was deleted: end its workers."""
        with self._lock:
            pool = self._pools.pop((region, function_name(name)), None)
        if pool is not None:
            pool.close()

    def prewarm(self) -> None:
        """Start one worker for each deployed function that has none. Counted as cold starts."""
        for config in deployed_everywhere():
            self._warm(config)

    def kill(self, name: str, region: str = DEFAULT_REGION) -> int:
        """A fault: kill the workers of `name` that are in the middle of an invocation; how many there were."""
        pool = self._pools.get((region, function_name(name)))
        return 0 if pool is None else pool.kill_busy("Runtime exited with error: signal: killed")

    def stats(self) -> list[FunctionStats]:
        """What happened to each function that was invoked or warmed, by name."""
        return sorted((pool.stats for pool in self._all_pools()), key=lambda stats: (stats.region, stats.name))

    def pids(self) -> list[int]:
        """The worker processes that live now."""
        return [worker.pid for pool in self._all_pools() for worker in pool.workers() if worker.pid is not None]

    # --- asynchronous invocations ---

    def _accept(self, name: str, payload: bytes, region: str) -> Invocation:
        if deployed(function_name(name), region) is None:
            return _no_such_function(name, region)
        if len(payload) > ASYNC_PAYLOAD_MAX_BYTES:
            sentence = f"more than {ASYNC_PAYLOAD_MAX_BYTES} bytes in an asynchronous invocation"
            return Invocation(413, error_document("RequestTooLargeException", sentence))
        self._try(name, payload, region, 0)
        return Invocation(202, b"")

    def _try(self, name: str, payload: bytes, region: str, failed: int) -> None:
        def settle(invocation: Invocation) -> None:
            if invocation.ok or self._stopping:
                return
            if failed < len(self._async_retry_s):
                self._later(self._async_retry_s[failed], lambda: self._try(name, payload, region, failed + 1))
            elif (log := self._logs.get((region, function_name(name)))) is not None:
                sentence = f"DROPPED RequestId: {invocation.request_id} an event was dropped after {failed + 1} tries\n"
                log.write(sentence.encode())

        self.begin(name, payload, settle, region=region, wait_if_full=True)

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        with self._wake:
            heapq.heappush(self._retries, (time.monotonic() + delay_s, next(self._sequence), action))
            self._wake.notify()

    def _watch(self) -> None:
        while not self._stopping:
            try:
                self._watch_once()
            except Exception:
                log.exception("watching the functions failed, and goes on")
                time.sleep(WATCH_S)

    def _watch_once(self) -> None:
        now = time.monotonic()
        active = sum(pool.watch(now) for pool in self._all_pools()) > 0  # every pool is looked at, no short cut
        due: list[Callable[[], None]] = []
        with self._wake:
            while self._retries and self._retries[0][0] <= now:
                due.append(heapq.heappop(self._retries)[2])
            if not due and not self._stopping:
                pause = WATCH_S if active else QUIET_WATCH_S
                if self._retries:
                    pause = min(pause, max(0.0, self._retries[0][0] - now))
                self._wake.wait(pause)
            if self._stopping:
                return
        for action in due:
            action()
        if active:
            time.sleep(WATCH_S / 5)  # a burst of invocations wakes this thread, and need not be watched more often

    # --- workers ---

    def _all_pools(self) -> list[Pool]:
        with self._lock:
            return list(self._pools.values())

    def _pool(self, config: FunctionConfig) -> Pool:
        with self._lock:
            pool = self._pools.get(config.key)
            if pool is None:
                pool = self._pools[config.key] = Pool(
                    config, self._spawn, self._concurrency_default, self._grow_after_s
                )
                if self._stopping:
                    pool.close()
            return pool

    def _log(self, config: FunctionConfig) -> LogFile:
        with self._lock:
            log = self._logs.get(config.key)
            if log is None:
                suffix = "" if config.region == DEFAULT_REGION else f".{config.region}"
                path = self._state_dir / "logs" / f"{config.name}{suffix}.log"
                log = self._logs[config.key] = LogFile(path)
            return log

    def _spawn(self, config: FunctionConfig, pool: Pool) -> None:
        threading.Thread(target=self._start_worker, args=(config, pool), daemon=True, name="start-worker").start()

    def _start_worker(self, config: FunctionConfig, pool: Pool) -> None:
        worker = None
        try:
            task_root = self._packages.task_root(config.code_sha256, config.code)
            runtime_root = self._packages.runtime_root()
            credentials = self._identities.issue(config.role, config.name, CREDENTIALS_S)
            home = self._state_dir / "lambda" / "tmp" / f"{config.region}-{config.name}"
            home.mkdir(parents=True, exist_ok=True)
            variables = environment(config, credentials, task_root, runtime_root, home, self._front.url)
            if self._pump is None:
                raise RuntimeError("Functions.start() comes before the first invocation")
            worker = Worker(config, pool, self._log(config), self._pump, credentials.expires_at - config.timeout_s - 60)
            if not pool.started(worker):
                raise ProcessLookupError("the embedded cloud is stopping")
            worker.start(task_root, runtime_root, variables)
        except (PackageError, UnknownRole, OSError) as error:
            self._log(config).write(f"INIT_REPORT Status: error\t{error}\n".encode())
            pool.start_failed(error_document("Runtime.InvalidEntrypoint", str(error)), worker)

    def _prepare(self, config: FunctionConfig) -> None:
        try:
            self._packages.task_root(config.code_sha256, config.code)
        except (PackageError, OSError) as error:
            self._log(config).write(f"INIT_REPORT Status: error\t{error}\n".encode())
            return
        if self._prewarm:
            self._warm(config)

    def _warm(self, config: FunctionConfig) -> None:
        pool = self._pool(config)
        pool.configure(config)
        pool.prewarm()


def _no_such_function(name: str, region: str) -> Invocation:
    sentence = f"Function not found: {function_name(name)} in {region}"
    return Invocation(404, error_document("ResourceNotFoundException", sentence))
