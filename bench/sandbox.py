"""What the agent and its sandbox cost, on this machine.

    python -m bench.sandbox [--json] [--runs N]

`bare_ms`, `bwrap_ms`: a fork and exec of `true`, and the same in the sandbox a job gets (p50, measured in turns, so that whatever else
the machine does slows both; `overhead_ms` is the p50 of the differences). `agent_memory_mib`: the most that a real agent has needed while
it ran eight jobs that print. `first_ping_ms`: from the start of its process to its `hello`, by the clock in it. `zip_bytes`: what a new
host fetches. The agent is the built one, against moto's AWS in a process of its own.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.build import BuiltAgent, build
from agent.sandbox import Ask, Launch, Sandbox, bwrap

ROOT = Path(__file__).resolve().parents[1]
UID = 200_001
JOBS = 8
LIMITS = {"overhead_ms": 10.0, "agent_memory_mib": 40.0, "zip_bytes": 150_000, "first_ping_ms": 300.0}


def pairs(folder: Path, runs: int) -> list[tuple[float, float]]:
    """Milliseconds of a command that does nothing, bare and in the sandbox, in turns."""
    box, why = bwrap.find(str(folder / "probe"), UID)
    if box is None:
        raise SystemExit(f"there is no sandbox on this machine: {why}")
    for name in ("work", "tmp"):
        (folder / name).mkdir()
        if box.drops_uid:
            os.chown(folder / name, UID, UID)
    bare = Launch(("/bin/sh", "-c", "true"), {"PATH": "/usr/bin:/bin"}, "/", (), False)
    found = []
    for number in range(runs + 3):
        pair = _timed(lambda: bare), _timed(lambda: _asked(box, folder))
        if number >= 3:  # the first ones read programs from the disk
            found.append(pair)
    return found


def overhead(found: list[tuple[float, float]]) -> dict[str, float]:
    """The p50 of each, and of what the sandbox adds."""
    return {
        "bare_ms": round(statistics.median(one for one, _ in found), 2),
        "bwrap_ms": round(statistics.median(other for _, other in found), 2),
        "overhead_ms": round(statistics.median(other - one for one, other in found), 2),
    }


def _asked(box: Sandbox, folder: Path) -> Launch:
    return box.launch(Ask("true", str(folder / "work"), str(folder / "tmp"), False, {}, "job-1", 1, UID))


def _timed(made: Callable[[], Launch]) -> float:
    """Of making it, starting it, and waiting for its end."""
    started = time.perf_counter()
    launch = made()
    child = subprocess.Popen(
        launch.argv, env=dict(launch.environment), cwd=launch.cwd, pass_fds=launch.inherit, stdin=subprocess.DEVNULL
    )
    code = child.wait()
    ended = time.perf_counter()
    for fd in launch.inherit:
        os.close(fd)
    if code:
        raise SystemExit(f"{launch.argv[0]} ended with {code}")
    return (ended - started) * 1000


@contextmanager
def aws() -> Iterator[str]:
    """moto in a process of its own: in this one it would take turns with what is measured."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def of_the_agent(folder: Path, built: BuiltAgent, starts: int) -> dict[str, float]:
    """Memory with eight jobs, and the time to the first ping: the p50 of some starts."""
    sys.path.insert(0, str(ROOT / "tests" / "agent"))
    machines = importlib.import_module("agent_machine")

    command = "head -c 3000000 /dev/zero; while [ ! -e /job/go ]; do sleep 0.2; done"
    jobs = [machines.a_job(f"job-{number}", command, timeout_s=120) | {"cpu": 0.1} for number in range(JOBS)]
    with aws() as url:
        pings = []
        for number in range(starts):
            last = number == starts - 1
            one = machines.Machine(
                url, built, folder / f"host{number}", settings={"slots": JOBS}, assignments=jobs if last else ()
            )
            try:
                begun = time.time()
                one.start()
                pings.append((one.wait("hello")["at"] - begun) * 1000)
                peak = _peak(one, jobs) if last else 0.0
            finally:
                one.close()
    return {"agent_memory_mib": round(peak, 1), "first_ping_ms": round(statistics.median(pings), 1)}


def _peak(one: Any, jobs: list[dict[str, Any]]) -> float:
    for job in jobs:
        one.wait("start", job["job"], timeout_s=60)
    one.wait("alive", count=3)
    status = Path(f"/proc/{one.process.pid}/status").read_text()
    for job in jobs:
        (one.root / f"var/lib/spillway/work/{job['job']}.1/work/go").touch()
    for job in jobs:
        one.wait("finish", job["job"], timeout_s=60)
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(runs: int, starts: int) -> dict[str, Any]:
    """All figures."""
    with tempfile.TemporaryDirectory(prefix="spillway-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        built = build(folder / "built")
        return overhead(pairs(folder, runs)) | of_the_agent(folder, built, starts) | {"zip_bytes": built.bytes}


def main() -> int:
    """The exit code: 1 where a figure is beyond its limit."""
    parser = argparse.ArgumentParser(prog="python -m bench.sandbox", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--starts", type=int, default=7)
    options = parser.parse_args()
    found = measure(options.runs, options.starts)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:18}{value:>10}" + (f"   (at most {LIMITS[name]:g})" if name in LIMITS else ""))
    return int(any(found[name] > most for name, most in LIMITS.items()))


if __name__ == "__main__":
    raise SystemExit(main())
