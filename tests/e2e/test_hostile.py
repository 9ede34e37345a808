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

import httpx
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
open('new\\tline', 'w').write('x'); open('..x', 'w').write('x'); open('%2e%2e%2fetc', 'w').write('x'); open('a b+c&d=?#', 'w').write('x')
open(b'\\xff\\xfe', 'w').write('x'); open('\\u202e\\U0001f600', 'w').write('x')
open('\\U0001f6ff', 'w').truncate(1 << 31)
"""

PLACES = {"new\tline", "..x", "%2e%2e%2fetc", "a b+c&d=?#", "\u202e\U0001f600"}


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
    "kills everybody": ({"command": "kill -9 -1; kill -9 1; echo here"}, lambda job, log: job["state"] != "lost"),
    "forks for ever": (
        {"command": "f() { f | f & }; while :; do f; done", "timeout_s": 10},
        lambda job, log: job["state"] in ("failed", "timed_out"),
    ),
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
        lambda job, log: {o["path"].removeprefix("out/") for o in job["outputs"]} == PLACES
        and "only the first" in job["reason"],
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
    folders = list(town.state.glob("cloud/instances/*/disk/var/lib/spillway/work"))
    assert folders, "the machines' disks are elsewhere"
    return [path for folder in folders for path in folder.iterdir() if path.name != ".probe"]


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
            wrong[name] = (
                jobs[name]["state"],
                jobs[name]["reason"],
                jobs[name]["result"],
                jobs[name]["outputs"],
                log[:500],
            )
    assert not wrong, wrong
    after = town.ended([town.submit("echo $((6 * 7))", pool="one", memory_mib=64) for _ in range(8)])
    assert [job["state"] for job in after] == ["succeeded"] * 8
    assert [town.log(job["id"]) for job in after] == ["42\n"] * 8
    assert len({job["host"] for job in [*jobs.values(), *after]}) == 1, "the host was replaced"
    assert eventually(lambda: not work_folders(town), 5)
    assert eventually(lambda: not attempts_processes(), 5)


def test_inputs_that_nobody_can_use_fail_the_job_with_a_sentence(town: Town) -> None:
    """An archive that climbs out, an upload that never came, a name that no file can have: not handed out for ever."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in ("ok", "../../../../etc/escaped"):
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    sha256 = hashlib.sha256(packed.getvalue()).hexdigest()
    upload = town.api.post("uploads", json={"sha256": sha256, "bytes": len(packed.getvalue())}).json()
    httpx.put(upload["url"], content=packed.getvalue(), headers=upload["headers"]).raise_for_status()
    inputs = {
        "climbs out": {"path": "in", "sha256": sha256, "unpack": True},
        "is not in the store": {"path": "in", "sha256": "0" * 64},
        "too long": {"path": "x" * 300, "text": "x"},
    }
    ids = [town.submit("true", pool="one", name=says, inputs=[each]) for says, each in inputs.items()]
    for job in town.ended(ids, 30):
        assert job["state"] == "failed", job
        assert job["name"] in job["reason"]


def test_code_in_the_environment_does_not_run_as_root(town: Town, tmp_path: Path) -> None:
    """LD_PRELOAD names an input; the loader must meet it only when all power is gone."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source = tmp_path / "evil.c"
    source.write_text(
        "#include <stdio.h>\n#include <unistd.h>\n"
        '__attribute__((constructor)) void go(void) { fprintf(stderr, "ran as %d\\n", (int)geteuid()); }\n'
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "evil.so", source], check=True)
    data = (tmp_path / "evil.so").read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    upload = town.api.post("uploads", json={"sha256": sha256, "bytes": len(data)}).json()
    httpx.put(upload["url"], content=data, headers=upload["headers"]).raise_for_status()
    ids = [
        town.submit(
            "id -u", pool="one", environment={"LD_PRELOAD": path}, inputs=[{"path": "evil.so", "sha256": sha256}]
        )
        for path in ("/job/evil.so", f"/var/lib/spillway/inputs/{sha256}")
    ]
    town.ended(ids)
    logs = [town.log(job) for job in ids]
    assert "ran as " in logs[0], "the attack does not even work"
    assert not any("ran as 0\n" in log for log in logs), logs


GOOD: dict[str, Any] = {"command": "true", "timeout_s": 5}
BODIES: dict[str, bytes] = {
    "": b"",
    "the body": b"[]",
    "timeout_s": b'{"command": "x"}',
    "cpu": b'{"command": "x", "timeout_s": 5, "cpu": NaN}',
    "cpu infinite": b'{"command": "x", "timeout_s": 5, "cpu": 1e999}',
    "cpu negative": b'{"command": "x", "timeout_s": 5, "cpu": -1}',
    "memory_mib": b'{"command": "x", "timeout_s": 5, "memory_mib": ' + b"9" * 400 + b"}",
    "timeout_s twice": b'{"command": "x", "timeout_s": 5, "timeout_s": -5}',
    "half a surrogate": b'{"command": "\\ud800", "timeout_s": 5}',
    "byte order mark": b'\xef\xbb\xbf{"command": "x", "timeout_s": 5}',
    "UTF-16": json.dumps(GOOD).encode("utf-16"),
    "deep": b"[" * 100_000,
    "deep inside": b'{"labels": ' * 9_000,
    "surprise": b'{"command": "x", "timeout_s": 5, "surprise": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "pool": b'{"command": "x", "timeout_s": 5, "pool": "default\\n"}',
    "environment": json.dumps(GOOD | {"environment": {f"A{n}": "x" * 8000 for n in range(12)}}).encode(),
    "inputs[0].path": json.dumps(GOOD | {"inputs": [{"path": "a/../../b", "text": ""}]}).encode(),
    "too large": b'{"command": "' + b"x" * 200_000 + b'"}',
    "too large for Lambda": b"x" * 7_000_000,
}


def test_no_body_makes_the_api_fail(town: Town) -> None:
    """A 4xx with a sentence, whatever is sent; nothing is accepted."""
    for name, body in BODIES.items():
        answer = town.api.post("jobs", content=body, headers=JSON)
        assert 400 <= answer.status_code < 500, (name, answer.status_code, answer.text)
        assert "{" in answer.text, name
    batch = {"jobs": [GOOD, GOOD | {"cpu": -1}]}
    answer = town.api.post("jobs/batch", json=batch)
    assert answer.json()["errors"][0]["field"] == "jobs[1].cpu"
    assert town.api.post("jobs/batch", json={"jobs": [GOOD] * 501}).status_code == 400


PATHS = [
    *("jobs?cursor=", "jobs?cursor=%00", "jobs?cursor=" + "x" * 3000, "jobs?limit=1e9", "jobs?limit=%D9%A3", "jobs?limit="),
    *("jobs?pool=%00", "jobs?pool=" + "x" * 3000, "jobs?ids=" + ",".join(["a"] * 101), "jobs?ids=a,a,%00,%F0%9F%98%80"),
    *("jobs?ids=" + "x" * 3000, "jobs/%2e%2e", "jobs/..%2f..%2fpools", "jobs/%00", "jobs/" + "x" * 3000, "jobs/%ff%fe", "jobs//x"),
    *("jobs/none/log", "jobs/none/outputs", "jobs/none/story", "pools/%0a", "pools/" + "x" * 3000, "pools/none/plan", "_faults"),
    *("jobs/none/why", "jobs/%00/why", "hosts/none", "hosts/none/story", "hosts/%00/why", "hosts/" + "x" * 3000, "hosts/%ff/story"),
    *("pools/none/story", "pools/%0a/invariants", "pools/other/story", "pools/other/invariants"),
]  # fmt: skip


def test_no_address_makes_the_api_fail(town: Town) -> None:
    """Nor hang: ids, cursors and numbers that are none."""
    for path in PATHS:
        answer = town.api.get(path)
        assert answer.status_code < 500, (path, answer.status_code, answer.text)
    assert town.api.get("jobs?ids=" + ",".join(["a"] * 101)).status_code == 400
    assert town.api.put("pools/a%0a", json={}).status_code == 400
    for method in ("HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE"):
        assert town.api.request(method, "jobs").status_code < 500


def test_one_owner_neither_sees_nor_ends_the_jobs_of_another(town: Town) -> None:
    """And a submitter's token runs nothing else either."""
    clients = {}
    for owner in ("alice", "bob"):
        token = "spw_" + secrets.token_urlsafe(32)
        row = {"kind": "token", "name": hashlib.sha256(token.encode()).hexdigest(), "role": "submitter", "owner": owner}
        item = {name: {"S": value} for name, value in row.items()} | {"created_at": {"N": "0"}}
        town.aws("dynamodb").put_item(TableName="spillway-local-registry", Item=item)
        clients[owner] = town.client(token)
    bob, alice = clients["bob"], clients["alice"]
    job = alice.post("jobs", json=GOOD | {"pool": "other", "command": "echo secret"}).json()["id"]
    town.ended([job])
    for path in ("", "/log", "/outputs", "/story", "/why"):
        answer = bob.get(f"jobs/{job}{path}")
        assert answer.status_code == 404, (path, answer.text)
        assert answer.json()["detail"] == bob.get(f"jobs/job-00000000000000000000000000{path}").json()[
            "detail"
        ].replace("job-00000000000000000000000000", job), "it can be told from a job that is not there"
    assert bob.post(f"jobs/{job}/cancel").status_code == 404
    assert bob.get(f"jobs?ids={job}").json()["items"] == []
    assert job not in bob.get("jobs?pool=other").text
    assert alice.get(f"jobs/{job}").status_code == 200
    for spec in ({"owner": "alice"}, {"owner": "admin"}):
        assert bob.post("jobs", json=GOOD | spec).status_code in (400, 403)
    host = alice.get(f"jobs/{job}").json()["host"]
    told = [f"hosts/{host}", f"hosts/{host}/story", f"hosts/{host}/why", "settings/story"]
    for path in ("pools/other/hosts", "pools/other/plan", "pools/other/story", "pools/other/invariants", *told):
        assert bob.get(path).status_code == 403, path
    assert bob.put("pools/other", json={}).status_code == 403
    assert town.client("spw_" + "x" * 43).get("jobs").status_code == 403


def test_a_key_that_twenty_use_at_once_stands_for_one_job(town: Town) -> None:
    """Whoever comes first; all are told the same id, and the job runs once."""
    body = GOOD | {"pool": "other", "command": "echo once", "idempotency_key": "\0 é 😀 #/" + secrets.token_hex(4)}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: town.client(town.token).post("jobs", json=body), range(20)))
    assert {answer.status_code for answer in answers} <= {200, 201}, [answer.text for answer in answers]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum(answer.status_code == 201 for answer in answers) == 1
    (job,) = town.ended([answers[0].json()["id"]])
    assert (job["state"], job["attempt"], town.log(job["id"])) == ("succeeded", 1, "once\n")
    assert town.api.post("jobs", json=body | {"command": "echo twice"}).status_code == 409


GARBAGE = [
    *("x", "{", "[]", "null", "5", '""', "{}", '{"v": 1}', '{"v": 2}', '{"v": 1, "kind": "wake"}', '{"v": 1, "pool": 5}'),
    *('{"v": 1, "kind": "wake", "pool": "no such pool"}', '{"v": 1, "kind": "wake", "pool": {"a": 1}}', "[" * 20_000),
    '{"v": 1, "pool": "' + "x" * 3000 + '"}',
    '{"v": 1, "kind": "ping", "sender": 5, "tries": "x", "body": []}',
    '{"v": 1, "kind": "ping", "sender": "x", "tries": 1, "body": {"v": 1, "pool": "", "host": "", "pings": []}}',
    '{"v": 1, "pool": "", "host": "", "pings": []}',
    '{"v": 1, "pool": "one", "host": "' + "h" * 3000 + '", "pings": []}',
    '{"v": 1, "pool": "one", "host": "host-none", "pings": 5}',
    '{"v": 1, "pool": "one", "host": "HOST", "pings": [{"kind": "finish", "job": "job-1", "attempt": 1, "outcome": "succeeded"}]}',
    '{"v": 1, "canary": 5}',
    '{"v": 1, "canary": {"at": "x"}}',
    '{"v": 1, "canary": {"at": NaN}}',
]  # fmt: skip


def test_garbage_on_the_submissions_queue_is_set_aside_and_its_neighbours_run(town: Town) -> None:
    """Each bad message is kept with the sentence that says why; none comes back, none is lost."""
    sqs, s3 = town.aws("sqs"), town.aws("s3")
    mark = secrets.token_hex(4)
    bodies = [
        json.dumps(GOOD | {"pool": "other", "name": f"{mark}-{n}"}) if n % 4 == 0 else GARBAGE[n] for n in range(20)
    ]
    for start in (0, 10):
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[start : start + 10])]
        assert not sqs.send_message_batch(QueueUrl=town.submissions_url, Entries=entries).get("Failed")
    bucket = s3.list_buckets()["Buckets"][0]["Name"]

    def set_aside() -> int:
        return s3.list_objects_v2(Bucket=bucket, Prefix="quarantine/submissions/").get("KeyCount", 0)

    assert eventually(lambda: set_aside() == 15, 30), set_aside()

    def neighbours() -> list[dict[str, Any]]:
        found = town.api.get("jobs", params={"pool": "other", "limit": 50}).json()["items"]
        return [job for job in found if job["name"].startswith(mark)]

    assert eventually(lambda: len(neighbours()) == 5, 30)
    assert {job["state"] for job in town.ended([job["id"] for job in neighbours()])} == {"succeeded"}
    assert (town.depth("submissions"), town.depth("submissions-dead")) == (0, 0)


def test_garbage_on_the_inner_queues_neither_loops_nor_stops_anything(town: Town) -> None:
    """Messages that no part of ours writes are taken off the queues, and pings for a host are taken from that host alone."""
    sqs = town.aws("sqs")
    host = (town.hosts("one") or town.hosts("other") or [{"id": "host-none"}])[0]["id"]
    for queue in ("heartbeats", "timers", "wakes.fifo"):
        url = sqs.get_queue_url(QueueName=f"spillway-local-{queue}")["QueueUrl"]
        for n, body in enumerate(body for body in GARBAGE if not body.startswith("[[")):
            extra = (
                {"MessageGroupId": f"g{n}", "MessageDeduplicationId": secrets.token_hex(8)} if "fifo" in queue else {}
            )
            sqs.send_message(QueueUrl=url, MessageBody=body.replace("HOST", host), **extra)
    began = time.monotonic()
    (job,) = town.ended([town.submit("echo through", pool="other")], 30)
    assert job["state"] == "succeeded", job
    queues = ("heartbeats", "timers", "wakes.fifo", "heartbeats-dead", "timers-dead", "wakes-dead.fifo")

    def depths() -> dict[str, int]:
        return {queue: depth for queue in queues if (depth := town.depth(queue))}

    try:
        eventually(lambda: not depths(), 20)
    except AssertionError:
        raise AssertionError(f"{depths()} {time.monotonic() - began:.0f} s after the garbage came") from None
