"""Attacks on the deployed system: by a job's own code, by a client of the API, and by garbage on every queue.

After each of them the same host runs the next job, and nobody else notices.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from deployed_town import Town, deployed, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

FIRST_UID = 200000  # the agent's: attempts run as such users
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    if shutil.which("bwrap") is None or os.geteuid() != 0:
        pytest.skip("needs bubblewrap and root: elsewhere no untrusted job runs at all")
    with deployed(tmp_path_factory.mktemp("hostile")) as found:
        for pool in ("one", "other"):
            answer = found.api.put(f"pools/{pool}", json={"hosts_max": 1, "linger_s": 600, "slots_per_host": 4})
            assert answer.status_code == 200, answer.text
        yield found


def python(code: str) -> str:
    """A command that runs `code`."""
    return f"exec python3 - <<'END'\n{code}\nEND\n"


LOOK_AROUND = """
import glob, os, socket
found = []
for pattern in ('/var/lib/spillway/*', '/run/spillway/*', '/root/*', '/home/*', '/var/lib/cloud/*', '/var/log/*', '/sys/fs/*'):
    found += glob.glob(pattern)
for path in ('/etc/shadow', '/etc/gshadow', '/proc/1/environ', '/proc/1/root/var', '/proc/kcore', '/dev/mem', '/dev/vda'):
    try:
        found += [path] if (os.listdir(path) if os.path.isdir(path) else open(path, 'rb').read(1)) else []
    except OSError:
        pass
found += [name for name in os.environ if name.startswith(('AWS_', 'SPILLWAY_ROOT'))]
for address in (('169.254.169.254', 80), ('127.0.0.1', PORT)):
    try:
        socket.create_connection(address, 1)
        found.append(address)
    except OSError:
        pass
for call in (lambda: os.setuid(0), lambda: os.mknod('/job/disk', 0o60600, os.makedev(253, 0)), lambda: os.chroot('/job'),
             lambda: open('/usr/bin/mine', 'w'), lambda: open('/opt/mine', 'w'), lambda: open('/etc/mine', 'w')):
    try:
        call()
        found.append('a call that needs root')
    except OSError:
        pass
others = [pid for pid in os.listdir('/proc') if pid.isdigit() and int(pid) > 1 and int(pid) != os.getpid()]
print('found', found, 'others', len(others) > 3, 'root', os.getuid() == 0)
"""

STAY = """
import os, signal, sys, time
for number in range(1, 32):
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_IGN)
for way in range(6):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            if way % 2:
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(1000)
        os._exit(0)
"""

ODD_OUTPUTS = """
import os, socket
os.mkdir('out'); os.chdir('out')
os.symlink('/etc/passwd', 'passwd'); os.symlink('/var/lib/spillway/manifest.json', 'manifest'); os.symlink('/proc/self/environ', 'e')
os.symlink('/', 'root'); os.symlink('loop', 'loop'); os.mkfifo('fifo'); os.link('/usr/bin/env', 'hard') if 0 else None
socket.socket(socket.AF_UNIX).bind('socket')
open('new\\nline', 'w').write('x'); open('..x', 'w').write('x'); open('%2e%2e%2fetc', 'w').write('x'); open('a b+c&d=?#', 'w').write('x')
open(b'\\xff\\xfe', 'w').write('x'); open('sparse', 'w').truncate(1 << 30); open('\\u202e\\U0001f600', 'w').write('x')
"""

PLACES = {"new\nline", "..x", "%2e%2e%2fetc", "a b+c&d=?#", "\u202e\U0001f600"}


def is_(state: str, says: str = "") -> Callable[[dict[str, Any], str], bool]:
    return lambda job, log: job["state"] == state and says in job["reason"]


def result_is_refused(job: dict[str, Any], log: str) -> bool:
    return job["state"] == "succeeded" and job["result"] is None and "result" in job["reason"]


def result_of(code: str) -> dict[str, Any]:
    return {"command": python(code), "result": "r"}


Check = Callable[[dict[str, Any], str], bool]
ATTACKS: dict[str, tuple[dict[str, Any], Check]] = {
    "looks around": (
        {"command": python(LOOK_AROUND)},
        lambda job, log: log == "found [] others False root False\n",
    ),
    "stays for ever": ({"command": python(STAY + "time.sleep(1000)"), "timeout_s": 1}, is_("timed_out")),
    "leaves daemons": ({"command": python(STAY)}, is_("succeeded")),
    "stops everybody": ({"command": "kill -STOP -1; sleep 100", "timeout_s": 1}, is_("timed_out")),
    "kills everybody": ({"command": "kill -9 -1; kill -9 1; echo here"}, lambda job, log: job["state"] in ("failed", "succeeded")),
    "forks for ever": ({"command": "f() { f | f & }; while :; do f; done", "timeout_s": 10}, lambda job, log: job["state"] in ("failed", "timed_out")),
    "eats memory": ({"command": python("x = []\nwhile True: x.append(bytearray(1 << 24))")}, is_("failed")),
    "eats memory in /dev/shm": ({"command": "head -c 1G /dev/zero > /dev/shm/x"}, is_("failed")),
    "prints binary": (
        {"command": "printf 'a\\377\\376\\0b\\355\\240\\200\\033[2J'"},
        lambda job, log: job["state"] == "succeeded" and log.startswith("a") and "\0b" in log,
    ),
    "prints without end": (
        {"command": "yes spam | head -c 100000000"},
        lambda job, log: job["state"] == "succeeded" and job["log"]["cut"] and job["log"]["bytes"] <= 1 << 20,
    ),
    "one file too large": ({"command": "truncate -s 100G big && echo made"}, lambda job, log: "made" not in log),
    "nests folders": (
        {"command": python("import os\nfor n in range(2500): os.mkdir('d'); os.chdir('d')"), "outputs": ["**"]},
        is_("succeeded", "not all looked at"),
    ),
    "makes folders unreadable": ({"command": "mkdir -p a/b; chmod 0 a/b a .", "outputs": ["**"]}, is_("succeeded")),
    "odd outputs": (
        {"command": python(ODD_OUTPUTS), "outputs": ["out/*", "out/root/etc/*", "out/manifest"]},
        lambda job, log: {o["path"].removeprefix("out/") for o in job["outputs"]} - {"sparse"} == PLACES,
    ),
    "result is infinite": (result_of("open('r', 'w').write('[1e999, -1e999]')"), result_is_refused),
    "result is not a number": (result_of("open('r', 'w').write('NaN')"), result_is_refused),
    "result is deep": (result_of("open('r', 'w').write('[' * 978 + ']' * 978)"), result_is_refused),
    "result is half a surrogate": (result_of("open('r', 'w').write('\"' + chr(92) + 'ud800\"')"), result_is_refused),
    "result is huge": (result_of("open('r', 'w').truncate(1 << 30)"), result_is_refused),
    "result is a folder": (result_of("import os; os.mkdir('r')"), result_is_refused),
    "result is a pipe": (result_of("import os; os.mkfifo('r')"), result_is_refused),
    "result is a link": (result_of("import os; os.symlink('/proc/self/environ', 'r')"), result_is_refused),
    "result is a wide number": (result_of("open('r', 'w').write('1' * 4000)"), is_("succeeded")),
    "result has NULs": (
        result_of("open('r', 'w').write('{\"a' + chr(92) + 'u0000\": null}')"),
        lambda job, log: job["result"] == {"a\0": None},
    ),
}  # fmt: skip


def work_folders(town: Town) -> list[Path]:
    """What attempts have left in the machines' work folders."""
    return [
        path for path in town.state.glob("cloud/**/var/lib/spillway/work/*") if path.name != ".probe"
    ]  # fmt: skip


def attempts_processes() -> list[psutil.Process]:
    """Processes that run as users of attempts."""
    found = []
    for process in psutil.process_iter(["uids", "status"]):
        uids = process.info["uids"]
        if uids and FIRST_UID <= uids.real < FIRST_UID + 640000 and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def test_no_job_harms_its_host_or_gets_anything_of_it(town: Town) -> None:
    """Every attack ends as it should, all on one host, which then runs the next jobs and keeps nothing of them."""
    port = town.endpoint.rpartition(":")[2]
    specs = {name: spec | {"command": spec["command"].replace("PORT", port)} for name, (spec, _) in ATTACKS.items()}
    ids = {name: town.submit(pool="one", name=name, **spec) for name, spec in specs.items()}
    jobs = {job["name"]: job for job in town.ended(ids.values(), 90)}
    wrong = {}
    for name, (_, check) in ATTACKS.items():
        log = town.log(ids[name])
        if not check(jobs[name], log):
            wrong[name] = (jobs[name]["state"], jobs[name]["reason"], jobs[name]["result"], jobs[name]["outputs"], log[:500])
    assert not wrong, wrong
    after = town.ended([town.submit("echo $((6 * 7))", pool="one", memory_mib=64) for _ in range(8)])
    assert [job["state"] for job in after] == ["succeeded"] * 8
    assert [town.log(job["id"]) for job in after] == ["42\n"] * 8
    assert len({job["host"] for job in [*jobs.values(), *after]}) == 1, "the host was replaced"
    assert eventually(lambda: not work_folders(town), 5)
    assert eventually(lambda: not attempts_processes(), 5)
