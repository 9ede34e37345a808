#!/usr/bin/env python3
"""Grades one submission: builds it, runs it against the assignment's tests, writes result.json.

    python3 grade.py ASSIGNMENT SUBMISSION [--result result.json] [--hide-tests]

ASSIGNMENT holds assignment.json, SUBMISSION the student's files. The result is
`{score, max_score, feedback, tests: [{name, points, max_points, passed, feedback}]}`. Exit code 0 means "graded",
whatever the mark; anything else means that the grader itself could not do its work. Standard library only.

How it keeps its own against a hostile submission, which runs under the same user in the same work folder:

- Time is *processor* time (RLIMIT_CPU): a busy machine flips no mark. The wall-clock limit is generous, only for sleepers.
- Output is read up to a limit, memory and file size are limited, and more than a few processes are too many.
- The grader makes itself the reaper of orphans, so that after each test it can kill and reap *every* process that
  the submission started, also those that fled its process group.
- With --hide-tests the tests are read into memory and erased from the (job's own copy of the) folder before the
  first foreign instruction runs; the grader is made undumpable, so that its memory cannot be read either.
- The result is written last, when nothing foreign is alive, over whatever stands there.

What it does not hold is the sandbox's part: the network, other people's files, `kill -9 -1`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

BUILD_CPU_S, BUILD_WALL_S, BUILD_MEMORY_MIB = 30, 240, 2048
WALL_S = 90  # many times RUN_CPU_S: twenty jobs may share two cores
PROCESSES_MAX = 6  # seen in one look
THREADS_MAX = 16  # held by the kernel between two looks, except for root
OUTPUT_BYTES_MAX = 64 * 1024
FILE_BYTES_MAX = 8 * 1024 * 1024
GIVE_UP_AFTER = 2  # tests stopped by a limit; the rest would only cost time
PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36


@dataclass
class Ran:
    """One run of a foreign program. `stopped` is the sentence of the limit that ended it, if one did."""

    exit_code: int
    out: str
    err: str
    stopped: str | None


def main() -> int:
    """Grade, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("assignment", type=Path)
    parser.add_argument("submission", type=Path)
    parser.add_argument("--result", type=Path, default=Path("result.json"))
    parser.add_argument("--hide-tests", action="store_true", help="erase assignment.json once it is read")
    options = parser.parse_args()
    description = options.assignment / "assignment.json"
    assignment = json.loads(description.read_text())
    if options.hide_tests:
        description.unlink()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    with tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True) as scratch:
        result = grade(assignment, options.submission, Path(scratch))
    write_result(options.result, result)
    print(f"{result['score']} of {result['max_score']} points. {result['feedback']}")
    for test in result["tests"]:
        print(f"  {'passed' if test['passed'] else 'FAILED'}  {test['name']}: {test['feedback']}")
    return 0


def grade(assignment: dict, submission: Path, scratch: Path) -> dict:
    """The result document."""
    tests = assignment["tests"]
    build_folder = scratch / "build"
    shutil.copytree(submission, build_folder, symlinks=True)
    words = {"{python}": sys.executable, "{cc}": compiler()}
    build = [words.get(word, word) for word in assignment["build"]]
    run = [words.get(word, word) for word in assignment["run"]]
    missing = [name for name in assignment["files"] if not (build_folder / name).is_file()]
    if missing:
        return nothing(tests, f"The file {missing[0]} is missing.")
    built = execute(build, build_folder, "", BUILD_CPU_S, BUILD_WALL_S, BUILD_MEMORY_MIB)
    if built.stopped or built.exit_code != 0:
        return nothing(tests, short(f"It does not compile: {built.stopped or built.err or built.out}", 2000))
    outcomes, stops = [], 0
    for number, test in enumerate(tests):
        if stops >= GIVE_UP_AFTER:
            outcomes.append(outcome(test, "Not run: earlier tests already hit the limits."))
            continue
        folder = scratch / f"run-{number}"
        shutil.copytree(build_folder, folder, symlinks=True)
        text = test["input"] * test.get("repeat", 1)
        ran = execute(
            run, folder, text, assignment["cpu_s"], WALL_S, assignment["memory_mib"], own_threads() + THREADS_MAX
        )
        stops += ran.stopped is not None
        outcomes.append(outcome(test, judge(test, ran)))
    score = sum(o["points"] for o in outcomes)
    passed = sum(o["passed"] for o in outcomes)
    return {
        "score": score,
        "max_score": sum(t["points"] for t in tests),
        "feedback": f"{passed} of {len(tests)} tests passed.",
        "tests": outcomes,
    }


def judge(test: dict, ran: Ran) -> str:
    """What is wrong with this run; "" if nothing is."""
    if ran.stopped:
        return ran.stopped
    if ran.exit_code < 0:
        return f"It crashed ({signal.Signals(-ran.exit_code).name})."
    if ran.exit_code > 0:
        last = ran.err.strip().rpartition("\n")[2]
        return short(f"It ended with exit code {ran.exit_code}. {last}".rstrip())
    expected, got = lines(test["expected"]), lines(ran.out)
    for number, (want, have) in enumerate(zip(expected, got, strict=False), start=1):
        if want != have:
            return short(f"Line {number}: expected {want!r}, got {short(have, 60)!r}. {test.get('hint', '')}")
    if len(expected) != len(got):
        return f"Expected {len(expected)} lines, got {len(got)}. {test.get('hint', '')}".strip()
    return ""


def outcome(test: dict, wrong: str) -> dict:
    """One entry of the result's `tests`."""
    points = 0 if wrong else test["points"]
    return {
        "name": test["name"],
        "points": points,
        "max_points": test["points"],
        "passed": not wrong,
        "feedback": wrong or "Right.",
    }


def nothing(tests: list, why: str) -> dict:
    """The result of a submission that no test can be run on."""
    return {
        "score": 0,
        "max_score": sum(t["points"] for t in tests),
        "feedback": why,
        "tests": [outcome(t, "Not run.") for t in tests],
    }


def execute(
    argv: list, folder: Path, text: str, cpu_s: int, wall_s: float, memory_mib: int, threads_max: int = 0
) -> Ran:
    """Run a program under all limits; when this returns, no process of it is left. `threads_max` 0: not limited."""

    def limit() -> None:
        lower(resource.RLIMIT_CPU, cpu_s, cpu_s + 1)  # first SIGXCPU, which says why; then SIGKILL
        lower(resource.RLIMIT_AS, memory_mib << 20, memory_mib << 20)
        lower(resource.RLIMIT_FSIZE, FILE_BYTES_MAX, FILE_BYTES_MAX)
        lower(resource.RLIMIT_CORE, 0, 0)
        if threads_max:
            lower(resource.RLIMIT_NPROC, threads_max, threads_max)

    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(folder), "LANG": "C.UTF-8"}
    with tempfile.TemporaryFile() as given:  # a file, not a pipe: nobody has to feed a program that does not read
        given.write(text.encode())
        given.seek(0)
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env={**environment, "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=limit,
        )
    collected = {process.stdout: bytearray(), process.stderr: bytearray()}
    stopped = watch(process, collected, wall_s)
    end_all(process)
    out, err = (bytes(collected[pipe]).decode(errors="replace") for pipe in (process.stdout, process.stderr))
    process.stdout.close()
    process.stderr.close()
    if stopped is None and process.returncode == -signal.SIGXCPU:
        stopped = f"It was stopped: it used more than {cpu_s} s of processor time."
    if stopped is None and process.returncode == -signal.SIGXFSZ:
        stopped = "It was stopped: it wrote too large a file."
    return Ran(process.returncode, out, err, stopped)


def lower(kind: int, soft: int, hard: int) -> None:
    """Set a limit, unless a lower one is in force already (nobody but root may raise it)."""
    now = resource.getrlimit(kind)[1]
    most = now if now != resource.RLIM_INFINITY else max(soft, hard)
    resource.setrlimit(kind, (min(soft, most), min(hard, most)))


def own_threads() -> int:
    """How many threads this user has: the kernel counts a user's threads against RLIMIT_NPROC, whoever started them."""
    count = 0
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{entry}").st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{entry}/task"))
    return count


def watch(process: subprocess.Popen, collected: dict, wall_s: float) -> str | None:
    """Collect what the program writes until it ends or hits a limit; the limit's sentence."""
    deadline = time.monotonic() + wall_s
    with selectors.DefaultSelector() as selector:
        for pipe in collected:
            selector.register(pipe, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(timeout=0.05):
                piece = os.read(key.fd, 16384)
                collected[key.fileobj] += piece
                if not piece:
                    selector.unregister(key.fileobj)
            if sum(map(len, collected.values())) > OUTPUT_BYTES_MAX:
                return f"It was stopped: it printed more than {OUTPUT_BYTES_MAX // 1024} KiB."
            ended = process.poll() is not None
            if ended and (not selector.get_map() or not selector.select(timeout=0)):
                return None  # a descendant may still hold the pipe open; its output does not count
            if not ended and len(descendants()) > PROCESSES_MAX:
                return f"It was stopped: it started more than {PROCESSES_MAX} processes."
            if time.monotonic() > deadline:
                return f"It was stopped: it had not ended after {wall_s:g} s."


def descendants() -> list:
    """Every process below this one, orphans included (this one is their reaper)."""
    children: dict = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue  # gone while we looked
            children.setdefault(parent, []).append(int(entry))
    found, left = [], [os.getpid()]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def end_all(process: subprocess.Popen) -> None:
    """Kill and reap until no process is below this one. Stopping them first lets no fork slip between two looks."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    while left := descendants():
        for sign in (signal.SIGSTOP, signal.SIGKILL):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sign)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.005)
        except ChildProcessError:
            pass


def write_result(path: Path, result: dict) -> None:
    """Put the result in place of whatever a submission may have left there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.write_text(json.dumps(result, indent=1) + "\n")
    fresh.replace(path)


def compiler() -> str:
    """The C compiler of this machine."""
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return found
    return "cc"


def lines(text: str) -> list:
    """Lines without trailing blanks and trailing empty lines."""
    return [line.rstrip() for line in text.rstrip().splitlines()]


def short(text: str, most: int = 300) -> str:
    """At most `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


if __name__ == "__main__":
    sys.exit(main())
