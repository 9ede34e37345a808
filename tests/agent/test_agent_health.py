"""A host that has a problem says so at once, begins nothing new, and finishes what runs."""

import http.client
import json
import os
import subprocess
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from agent_machine import a_job
from hypothesis import given
from hypothesis import strategies as st

from agent.attempt import Attempt
from agent.aws import Aws
from agent.cache import Cache
from agent.clock import clock_off
from agent.health import Health
from agent.journal import Journal
from agent.sigv4 import Credentials

WAITS = "while [ ! -e /job/go ]; do sleep 0.02; done; echo through"
SELDOM = {"ping_every_s": 3600, "slots": 2}  # whatever is told here is told out of turn


class Aside:
    """An AWS before moto's whose clock is `ahead_s` off, and that refuses requests which `refuse(path, headers)` answers for."""

    def __init__(self, aws_url, ahead_s=0.0, refuse=lambda path, headers: None):
        self.ahead_s, self.refuse = ahead_s, refuse
        aside = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                refusal = aside.refuse(self.path, self.headers)
                if refusal is None:
                    connection = http.client.HTTPConnection(aws_url.removeprefix("http://"))
                    connection.request(self.command, self.path, body, dict(self.headers))
                    answer = connection.getresponse()
                    refusal = answer.status, answer.read()
                    connection.close()
                self.send_response(refusal[0])
                self.send_header("Content-Length", str(len(refusal[1])))
                self.end_headers()
                self.wfile.write(refusal[1])

            do_GET = do_PUT = do_POST

            def date_time_string(self, timestamp=None):
                return formatdate(time.time() + aside.ahead_s, usegmt=True)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def aside(agent_aws_url):
    made = []

    def make(**options):
        made.append(Aside(agent_aws_url, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def in_its_own_mounts(one, size="16m"):
    """What starts an agent whose state folder is a small disk of its own."""
    state = one.root / "var/lib/spillway"
    script = f"cp -a {state} {state}.kept && mount -t tmpfs -o size={size} none {state} && cp -a {state}.kept/. {state}"
    within = ("unshare", "--mount", "sh", "-c", script + ' && exec "$@"', "sh")
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        pytest.skip("only root mounts")
    return within


def inside(one, path):
    """A path as the agent in its own mounts sees it."""
    return f"/proc/{one.process.pid}/root{path}"


def mount(one, *arguments):
    subprocess.run(["nsenter", "-t", str(one.process.pid), "-m", "mount", *arguments], check=True)


def hand_over(one, pass_no, *jobs):
    one.write_inbox(pass_no, jobs)
    assert one.ring().returncode == 0


def the_problem(one):
    """The sentence of the first `alive` that has one."""
    while True:
        for ping in one.pings("alive"):
            if ping["problems"]:
                assert ping["free_slots"] == 0
                return ping["problems"][0]
        one.wait("alive", count=len(one.pings("alive")) + 1)


@pytest.mark.usefixtures("sandboxed")
def test_a_full_disk_is_told_at_once_and_nothing_begins_until_it_is_over(machine):
    """What is handed over is given back unclaimed; what runs ends well; then there is room again, and work is taken."""
    one = machine(assignments=[a_job("job-1", WAITS, cpu=0.1)], settings=SELDOM)
    one.start(*in_its_own_mounts(one))
    one.wait("start", "job-1")
    state = inside(one, f"{one.root}/var/lib/spillway")
    with open(state + "/fill", "wb") as file:
        file.write(b"x" * int(15.5 * 2**20))
    hand_over(one, 1, a_job("job-2", cpu=0.1))
    refused = one.wait("refused", "job-2")
    assert refused["why"] == "unhealthy"
    assert refused["reason"] == "its disk is full: 0 of 16 MiB are free"
    assert the_problem(one) == refused["reason"]
    hand_over(one, 2, a_job("job-3", cpu=0.1))
    assert one.wait("refused", "job-3")["why"] == "unhealthy"
    open(state + "/work/job-1.1/work/go", "w").close()
    finish = one.wait("finish", "job-1")
    assert (finish["outcome"], finish["log"]["text"]) == ("succeeded", "through\n")
    assert set(one.claims()) == {"job-1#1"}
    os.unlink(state + "/fill")
    hand_over(one, 3, a_job("job-4"))
    assert one.wait("finish", "job-4")["outcome"] == "succeeded"
    assert [p["problems"] for p in one.pings("alive")] == [[refused["reason"]], []]


@pytest.mark.usefixtures("sandboxed")
def test_a_state_folder_that_cannot_be_written_is_told(machine):
    """Its file system went read-only, as after an error of the volume."""
    one = machine(settings=SELDOM)
    one.start(*in_its_own_mounts(one))
    one.wait("idle")
    state = f"{one.root}/var/lib/spillway"
    mount(one, "--bind", state, state)
    mount(one, "-o", "remount,bind,ro", state)
    hand_over(one, 1, a_job("job-1"))
    assert one.wait("refused", "job-1")["why"] == "unhealthy"
    assert the_problem(one) == "its state folder cannot be written: Read-only file system"


@pytest.mark.usefixtures("sandboxed")
def test_a_journal_that_is_gone_ends_new_work(machine):
    """After a restart nobody would know what had begun here."""
    one = machine(settings=SELDOM).start()
    one.wait("idle")
    (one.root / "var/lib/spillway/journal").unlink()
    hand_over(one, 1, a_job("job-1"))
    assert one.wait("refused", "job-1")["why"] == "unhealthy"
    assert the_problem(one) == "its journal was removed"
    assert one.claims() == {}


@pytest.mark.usefixtures("sandboxed")
def test_what_waits_for_a_slot_is_given_back_before_the_slot_is_free(machine):
    """Another host can begin it now; here it would wait for nothing."""
    jobs = [a_job("job-1", WAITS), a_job("job-2")]
    one = machine(assignments=jobs, settings={**SELDOM, "slots": 1}).start()
    one.wait("start", "job-1")
    (one.root / "var/lib/spillway/journal").unlink()
    hand_over(one, 1)
    assert one.wait("refused", "job-2")["reason"] == "its journal was removed"
    assert not one.pings("finish")
    (one.root / "var/lib/spillway/work/job-1.1/work/go").touch()
    assert one.wait("finish", "job-1")["outcome"] == "succeeded"


@pytest.mark.usefixtures("sandboxed")
def test_an_agent_without_a_journal_speaks_and_refuses(machine):
    """It does not die silently in front of a folder where a file should be."""
    one = machine(assignments=[a_job("job-1")], settings=SELDOM)
    (one.root / "var/lib/spillway/journal").mkdir(parents=True)
    one.start()
    assert one.wait("refused", "job-1")["why"] == "unhealthy"
    assert the_problem(one).startswith("its journal cannot be opened: ")
    assert one.pings()[0]["kind"] == "hello"


@pytest.mark.usefixtures("sandboxed")
def test_a_sandbox_that_stops_working_is_not_the_jobs_failure(machine):
    """The command failed at once, so the sandbox is tried: it is the host's fault, and the host says so."""
    one = machine(settings=SELDOM)
    one.start(*in_its_own_mounts(one))
    one.wait("idle")
    mount(one, "--bind", "/bin/false", "/usr/bin/bwrap")
    hand_over(one, 1, a_job("job-1"))
    finish = one.wait("finish", "job-1")
    assert finish["outcome"] == "infrastructure"
    assert finish["reason"].startswith("its sandbox does not work: ")
    assert the_problem(one).startswith("its sandbox does not work: ")
    hand_over(one, 2, a_job("job-2"))
    assert one.wait("refused", "job-2")["why"] == "unhealthy"


@pytest.mark.usefixtures("sandboxed")
def test_a_host_that_lacks_the_sandbox_its_pool_wants_says_so_first(machine):
    """Before it is given anything to refuse."""
    one = machine(settings={**SELDOM, "sandbox": "bwrap"})
    script = 'mount --bind /dev/null "$(command -v bwrap)"; exec "$@"'
    in_its_own_mounts(one)
    one.start("unshare", "--mount", "sh", "-c", script, "sh")
    assert "the pool wants bubblewrap" in the_problem(one)


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.parametrize(("ahead_s", "word"), [(600, "behind"), (-600, "ahead of")])
def test_a_clock_that_is_off_is_told(machine, aside, ahead_s, word):
    """By the Date of three answers of AWS."""
    one = machine(settings={**SELDOM, "ping_every_s": 0.2})
    one.environment["AWS_ENDPOINT_URL"] = aside(ahead_s=ahead_s).url
    one.start()
    one.wait("alive", count=3)
    hand_over(one, 1)
    found = the_problem(one)
    assert found.startswith("its clock is ")
    assert found.endswith(f" s {word} AWS's")
    assert 590 <= int(found.split()[3]) <= 601


@pytest.mark.usefixtures("sandboxed")
def test_an_inbox_that_cannot_be_read_is_a_trouble_and_no_problem(machine, aside):
    """S3 being away is no host's fault; work that came otherwise is done."""

    def refuse(path, headers):
        return (400, b"<Code>Odd</Code>") if "inbox" in path else None

    one = machine(assignments=[a_job("job-1")], settings={"ping_every_s": 0.2})
    one.environment["AWS_ENDPOINT_URL"] = aside(refuse=refuse).url
    one.start()
    one.wait("alive", count=2)
    ping = one.wait("alive", count=3)
    assert ping["problems"] == []
    assert "the inbox cannot be read" in ping["troubles"][0]
    assert one.wait("finish", "job-1")["outcome"] == "succeeded"


def test_calls_of_a_host_whose_clock_is_off_are_signed_with_awss_time(aside):
    """Else its last words would be refused, and nobody would ever hear what is wrong with it."""
    tries = []

    def refuse(path, headers):
        signed = headers["x-amz-date"]
        tries.append(signed)
        late = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + 600 - 300)) > signed
        return (
            (403, b'{"__type": "InvalidSignatureException", "message": "Signature expired: x"}')
            if late
            else (200, b"{}")
        )

    aws = Aws(lambda: Credentials("k", "s", "t", 0.0), "us-east-1", endpoint=aside(ahead_s=600, refuse=refuse).url)
    aws.send_message("http://queue", "text")
    assert len(tries) == 4
    assert 590 <= aws.clock_off_s <= 601
    aws.send_message("http://queue", "text")
    assert len(tries) == 5


@given(at=st.floats(1e9, 2e9), delay_s=st.floats(0, 20), answered=st.floats(0, 1), off_s=st.floats(-5000, 5000))
def test_a_clock_is_never_said_to_be_further_off_than_it_is(at, delay_s, answered, off_s):
    """However slow the answer and whatever its second is rounded to; one that agrees is never doubted."""
    date = float(int(at + delay_s * answered + off_s))
    found = clock_off(at, at + delay_s, date)
    assert abs(found) <= abs(off_s) + 1e-5
    assert abs(off_s) - abs(found) <= delay_s + 1 + 1e-5
    assert clock_off(at, at + delay_s, None) == 0


def test_a_problem_is_told_once_until_it_is_over(tmp_path):
    """Numbers that change in its sentence are no news."""
    journal = Journal(str(tmp_path / "journal"))
    health = Health(str(tmp_path), journal, Cache(str(tmp_path / "cache")), lambda: "", lambda: 0.0)
    told = []
    health.start(lambda: told.append(health.problems()))
    for sentence in ("3 MiB are free", "2 MiB are free", "", "", "1 MiB is free"):
        health.note("made up", sentence)
    assert told == [["3 MiB are free"], [], ["1 MiB is free"]]
    journal.close()


def test_the_sandbox_is_tried_twice_before_it_is_doubted(tmp_path):
    """A machine that is busy may be slow once."""
    journal = Journal(str(tmp_path / "journal"))
    answers = ["slow", "", "broken", "broken", ""]
    health = Health(str(tmp_path), journal, Cache(str(tmp_path / "cache")), lambda: answers.pop(0), lambda: 0.0)
    assert [health.probe() for _ in range(3)] == ["", "its sandbox does not work: broken", ""]
    assert health.problems() == []
    journal.close()


def test_a_journal_that_could_not_be_written_is_tried_again(tmp_path):
    """The disk had no room for a while: afterwards it can be relied on, and the torn line is no event."""
    limit = tmp_path / "journal"
    journal = Journal(str(limit))
    journal.append("born", at=5.0)
    kept = os.dup(journal._fd)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._fd)
    with pytest.raises(OSError, match="No space left"):
        journal.append("begun", "job-1#1")
    os.dup2(kept, journal._fd)
    os.close(full)
    assert journal.check() == ""
    journal.append("claiming", "job-2#1")
    journal.close()
    os.close(kept)
    again = Journal(str(limit))
    assert (again.at_start.born_at, list(again.at_start.entries)) == (5.0, ["job-2#1"])
    again.close()
    first = json.loads(limit.read_bytes().splitlines()[0])
    assert (first["e"], first["at"]) == ("born", 5.0)


@pytest.mark.parametrize(("begun", "room", "told"), [(False, False, 0), (False, True, 1), (True, False, 1)])
def test_an_end_before_the_beginning_is_told_only_once_it_is_on_the_disk(tmp_path, begun, room, told):
    """Until then the journal would let the next agent begin what others believe to be over. One that has begun never begins again."""
    journal, pings = Journal(str(tmp_path / "journal")), []
    journal.append("claiming", "job-1#1")
    kept, full = os.dup(journal._fd), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal._fd)
    one = SimpleNamespace(
        begun=begun,
        told_within_s=10.0 if room else 0.05,
        started_at=0.0,
        assignment=SimpleNamespace(job="job-1", attempt=1, key="job-1#1"),
        host=SimpleNamespace(journal=journal, pings=SimpleNamespace(post_again=pings.append)),
        note=lambda kind, **fields: journal.append(kind, "job-1#1", **fields),
    )
    ending = threading.Thread(target=Attempt._finish, args=(one, "infrastructure", "the disk is full"))
    ending.start()
    if room:
        while ending.is_alive() and not journal._fault:  # it has tried, and was refused
            ending.join(0.01)
        assert pings == []
        os.dup2(kept, journal._fd)
    ending.join(20)
    for fd in (kept, full):
        os.close(fd)
    journal.close()
    assert len(pings) == told
    again = Journal(str(tmp_path / "journal"))
    assert again.at_start.entries["job-1#1"].stage == ("finished" if room else "claiming")
    again.close()
