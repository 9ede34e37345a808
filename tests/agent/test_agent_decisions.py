"""The agent's pure parts, by properties."""

import json
import os
import resource
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import ending, inbox, journal, limits, processes, verdict
from agent.admission import Load, admit, fits, total
from agent.cgroups import Use
from agent.limits import Allowed
from agent.log_cut import RESERVE_BYTES, LogCut
from agent.logs import Log
from agent.manifest import assignment, read, settings
from agent.watch import InterruptionWatch

LOADS = st.lists(st.builds(Load, st.integers(0, 4), st.sampled_from([0.1, 0.5, 1.0, 3.0]), st.integers(1, 3000)))
HOST = Load(4, 4.0, 4096)


class Odd:
    """A metadata service that answers anything."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def get(self, path, tries=5):
        return self.answers.pop(0)


@given(
    st.sampled_from(
        ["[]", "null", "7", '"soon"', "{}", '{"time": 7, "action": 1}', '{"time": "soon"}', "<html>", "[[]]"]
    )
)
def test_an_answer_of_the_metadata_service_that_is_none_does_not_end_the_watch(odd):
    """The thread would die unseen, and with it the warning that comes two minutes before the end."""
    told = []
    good = '{"action": "terminate", "time": "2030-01-01T00:00:00Z"}'
    watch = InterruptionWatch(Odd(odd, odd, good), lambda at, action: told.append((at, action)), told.append)
    assert not watch._look()
    assert watch._look()
    assert told == [(1893456000.0, "terminate")]


@given(waiting=LOADS, running=LOADS)
def test_admission_never_exceeds_the_host_but_for_one_alone(waiting, running):
    """Reservations fit; only an attempt that runs alone may be larger than its host; the front never waits needlessly."""
    count = admit(waiting, running, HOST)
    admitted = waiting[:count]
    alone = not running and count == 1
    if admitted and not alone and (running or count > 1):
        first_alone = not running and not fits(admitted[0], total([]), HOST)
        assert not first_alone or count == 1 or all(x.slots == 0 for x in admitted[1:])
        used = total([*running, *admitted])
        assert first_alone or used.slots <= HOST.slots
        assert first_alone or used.memory_mib <= HOST.memory_mib
    if count < len(waiting):
        assert not fits(waiting[count], total([*running, *admitted]), HOST)
    if waiting and not running:
        assert count >= 1, "an empty host always begins something"


EVENTS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"e": st.sampled_from(journal.ORDER), "key": st.sampled_from(["a#1", "b#1", "b#2"])}),
        st.fixed_dictionaries(
            {"e": st.just("begun"), "key": st.just("a#1")},
            optional={
                "uid": st.integers(1, 9),
                "boot": st.just("b"),
                "boot_s": st.just(1.5),
                "killed": st.sampled_from(["cancel", "disk"]),
            },
        ),
        st.fixed_dictionaries({"e": st.just("pass"), "pass_no": st.integers(0, 9)}),
    ),
    max_size=12,
)


def lines(events):
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


@given(EVENTS)
def test_a_compacted_journal_says_the_same(events):
    """Whatever was lost by compacting was not needed: stages and pass_no are equal."""
    before = journal.replay(events)
    after = journal.replay(journal.parse(lines(journal.compacted(before))))
    assert after.pass_no == before.pass_no
    assert {k: e.stage for k, e in after.entries.items()} == {k: e.stage for k, e in before.entries.items()}
    open_before = {k: e for k, e in before.entries.items() if e.stage != "settled"}
    assert {k: e for k, e in after.entries.items() if e.stage != "settled"} == open_before


@given(EVENTS, st.integers(0, 400))
def test_a_torn_journal_is_an_earlier_journal(events, cut):
    """Power loss in the middle of a line loses that line and nothing else."""
    data = lines(events)
    torn = journal.parse(data[:cut])
    assert torn == events[: len(torn)]
    assert len(lines(torn)) <= cut or not torn


@given(EVENTS)
def test_what_has_begun_never_becomes_startable_again(events):
    """Stages only go forward, in whatever order events stand."""
    for key, entry in journal.replay(events).entries.items():
        stages = [e["e"] for e in events if e.get("key") == key]
        assert entry.stage == max(stages, key=journal.ORDER.index)


def test_a_second_agent_start_reads_what_the_first_has_written(tmp_path):
    """On the disk, through a restart, with a torn end."""
    first = journal.Journal(str(tmp_path / "journal"))
    first.append("born", at=5.0)
    first.append("claiming", "j#1", assignment={"job": "j"})
    first.append("begun", "j#1", at=7.5)
    first.close()
    with open(tmp_path / "journal", "ab") as file:
        file.write(b'{"e":"settled","key":"j#')
    second = journal.Journal(str(tmp_path / "journal"))
    assert second.at_start.entries["j#1"].stage == "begun"
    assert second.at_start.born_at == 5.0
    second.append("finished", "j#1", ping={"kind": "finish"})
    second.close()
    third = journal.Journal(str(tmp_path / "journal"))
    entry = third.at_start.entries["j#1"]
    third.close()
    assert (entry.stage, entry.ping, entry.begun_at) == ("finished", {"kind": "finish"}, 7.5)


@given(
    chunks=st.lists(
        st.tuples(st.sampled_from([b"a", b"b", b"\n"]), st.integers(0, 300), st.booleans()),
    ),
    limit=st.integers(RESERVE_BYTES, 700),
)
def test_a_log_is_whole_or_cut_at_its_limit_and_says_so(chunks, limit):
    """Up to the limit nothing is lost; beyond it the first part stays, and the last line names both sizes. An agent that is followed by
    another in between changes nothing of that, and what is sent is what stays."""
    whole = b"".join(byte * size for byte, size, _ in chunks)
    sent = {}
    with tempfile.TemporaryDirectory() as folder:
        output, writer = os.pipe2(os.O_NONBLOCK)
        log = Log(folder + "/log", limit, sent.__setitem__)
        for byte, size, again in chunks:
            os.write(writer, byte * size)
            while log.take(output):
                pass
            if again:  # the last one died in mid-air
                log = Log(folder + "/log", limit, sent.__setitem__)
        assert log.came == len(whole)
        told, fault = log.finish()
        os.close(output)
        os.close(writer)
        kept = Path(folder, "log").read_bytes()
    assert fault == ""
    assert told == {"bytes": len(kept), "cut": len(whole) > limit, "text": kept.decode()}
    if len(whole) <= limit:
        assert kept == whole
    else:
        first, _, last = kept.rpartition(b"\n[spillway: ")
        assert whole.startswith(first)
        assert len(first) == limit - RESERVE_BYTES
        assert b"%d bytes came" % len(whole) in last


@given(kept=st.integers(0, 900), more=st.integers(0, 900), limit=st.integers(0, 700))
def test_what_is_sent_of_a_log_stays_whatever_comes(kept, more, limit):
    """Bytes that are in the store already cannot be cut away any more."""
    cut = LogCut(limit)
    assert cut.settled(min(kept, cut.limit)) <= cut.end(kept + more)[0]


def a_document(pass_no, *attempts):
    jobs = [{"job": job, "attempt": n, "command": "x", "urls": urls} for job, n, urls in attempts]
    return json.dumps({"v": 1, "pass_no": pass_no, "assignments": jobs, "cancel": [], "stop": None}).encode()


ATTEMPTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 2), st.dictionaries(st.just("sha"), st.sampled_from("uv"))),
    max_size=5,
)


@given(st.lists(st.tuples(st.integers(0, 5), ATTEMPTS), max_size=6))
def test_reading_inboxes_in_any_order_gives_each_attempt_once(documents):
    """Old, repeated and reordered documents: no attempt is news twice, and pass_no never goes back."""
    obeyed, known, taken = 0, {}, []
    for pass_no, attempts in documents:
        orders = inbox.read(a_document(pass_no, *attempts), obeyed, known)
        if pass_no < obeyed:
            assert orders is None
            continue
        obeyed = orders.pass_no
        taken += [one.key for one in orders.assignments]
        known.update((one.key, inbox.KNOWN) for one in orders.assignments)
    assert len(taken) == len(set(taken))


def test_an_attempt_refused_for_its_urls_is_news_only_with_others():
    """A stale document must not make a loop of refusals."""
    refused = inbox.read(a_document(1, ("a", 1, {"sha": "u"})), 0, {}).assignments[0]
    known = {"a#1": inbox.fingerprint(refused)}
    assert inbox.read(a_document(2, ("a", 1, {"sha": "u"})), 1, known).assignments == ()
    assert [one.key for one in inbox.read(a_document(2, ("a", 1, {"sha": "v"})), 1, known).assignments] == ["a#1"]


FACTS = st.builds(
    ending.Facts,
    stop=st.sampled_from([None, "why"]),
    running=st.integers(0, 2),
    waiting=st.integers(0, 2),
    unsent=st.integers(0, 2),
    age_s=st.floats(0, 200000),
    idle_s=st.floats(0, 2000),
    unreachable_s=st.floats(0, 2000),
)


@given(FACTS)
def test_a_machine_with_a_running_attempt_never_ends_itself(facts):
    """And one that ends was draining, with a reason."""
    reason = ending.over(facts, settings({}))
    assert facts.running == 0 or reason is None
    assert reason is None or reason == ending.draining(facts, settings({}))
    if facts.running == 0 and (facts.stop or facts.age_s > 86400 or facts.unreachable_s > 900):
        assert reason


ALLOWED = Allowed(60.0, 10.0, 512, 4, 64 << 20, 1 << 30, 256)
ENDS = [  # each limit has a reason of its own
    ({"killed": "timeout"}, "timed_out", "killed: ran longer than its timeout of 60 s"),
    ({"killed": "cpu", "cpu_s": 10.07}, "timed_out", "killed: used 10.1 s of 10 s of processor time"),
    ({"exit_code": 128 + 9, "cpu_s": 10.2}, "timed_out", "killed: used 10.2 s of 10 s of processor time"),
    ({"exit_code": 128 + 24, "cpu_s": 0.0}, "timed_out", "killed: used more than 10 s of processor time"),
    ({"killed": "processes"}, "failed", "killed: more than 256 processes"),
    ({"killed": "output"}, "failed", "killed: printed more than 4 MiB"),
    ({"exit_code": 0, "printed_bytes": (4 << 20) + 1}, "failed", "killed: printed more than 4 MiB"),
    (
        {"killed": "disk"},
        "failed",
        "killed: its work folder grew beyond 1024 MiB, 200000 files or the longest path that there can be",
    ),
    ({"oom_kills": 1, "memory_peak_mib": 512}, "failed", "killed: used 512 MiB of 512 MiB"),
    ({"exit_code": 128 + 25}, "failed", "killed: wrote a file larger than 64 MiB"),
    ({"exit_code": 1, "at_limit": "out/a.bin"}, "failed", "out/a.bin could not grow beyond 64 MiB (exit code 1)"),
    ({"exit_code": 2, "pids_refused": 1}, "failed", "could not start more than 256 processes (exit code 2)"),
    ({"exit_code": 128 + 11}, "failed", "died of signal 11 (SIGSEGV)"),
    ({"exit_code": 128 + 9}, "failed", "died of signal 9 (SIGKILL)"),
    ({"exit_code": 3}, "failed", "exit code 3"),
]


@pytest.mark.parametrize(("changes", "outcome", "reason"), ENDS, ids=[reason[:24] for _, _, reason in ENDS])
def test_each_limit_has_an_end_of_its_own(changes, outcome, reason):
    """Who reads it knows what to change; and nobody's but the user's limits fail his job."""
    found = verdict.decide(facts(**{"exit_code": 128 + 9, **changes}))
    assert found == (outcome, reason)
    assert verdict.decide(facts(**{**changes, "exit_code": 1, "fault": "the disk is full"})).outcome == "infrastructure"


def test_a_command_that_ended_well_did_not_end_by_a_limit():
    """A child of its may have been killed for memory, a file may be as large as files may be: it coped."""
    assert verdict.decide(facts(oom_kills=1, at_limit="a", pids_refused=3)) == ("succeeded", "exit code 0")
    assert verdict.decide(facts(cpu_s=11.0)).outcome == "succeeded"


@given(
    cpu_s=st.floats(0, 20),
    refused=st.integers(0, 2),
    printed=st.integers(0, 10 << 20),
    most=st.sampled_from([0.0, 10.0]),
)
def test_nothing_is_ended_within_its_limits_and_all_that_is_beyond(cpu_s, refused, printed, most):
    allowed = ALLOWED._replace(cpu_s=most)
    found = limits.outgrown(allowed, Use(cpu_s, 1, 0, refused), printed)
    beyond = {"processes": refused > 0, "cpu": most > 0 and cpu_s >= most, "output": printed > 4 << 20}
    assert beyond[found] if found else not any(beyond.values())


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "cpu_s": st.floats(1, 100),
            "file_mib": st.integers(1, 100),
            "disk_mib": st.integers(1, 100),
            "processes_max": st.integers(8, 500),
            "output_mib": st.integers(1, 100),
        },
    )
)
def test_a_job_is_limited_as_it_asks_and_else_as_its_pool_says(said):
    """And no file is larger than all of them may be."""
    one = assignment({"job": "j", "attempt": 1, "command": "x", "timeout_s": 60, **said})
    found = limits.allowed(one, settings({"work_limit_bytes": 50 << 20, "processes_max": 99}))
    assert found.disk_bytes == said.get("disk_mib", 50) << 20
    assert found.file_bytes == min(said.get("file_mib", 100) << 20, found.disk_bytes)
    assert found.processes_max == said.get("processes_max", 99)
    assert found.output_mib == said.get("output_mib", 1024)
    held = dict(limits.limits(found, ("memory", "pids"), 4).pairs())
    assert held[resource.RLIMIT_FSIZE] == found.file_bytes
    assert held[resource.RLIMIT_CPU] >= (found.cpu_s or 240)
    assert resource.RLIMIT_AS not in held
    assert resource.RLIMIT_NPROC not in held
    alone = dict(limits.limits(found, (), 4).pairs())
    assert alone[resource.RLIMIT_NPROC] == found.processes_max
    assert alone[resource.RLIMIT_AS] == 512 << 20
    amid = dict(limits.limits(found, (), 4, 300).pairs())
    assert amid[resource.RLIMIT_NPROC] > 300 + found.processes_max, "a user's other processes are counted with it"


def test_a_users_processes_are_counted_with_their_threads():
    before, done = processes.of_user(os.getuid()), threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    during = processes.of_user(os.getuid())
    done.set()
    for thread in threads:
        thread.join()
    assert during > before + 10


def facts(**changes):
    quiet = verdict.Facts(0, "", "", 0, 10, 1.0, "", ALLOWED)
    return quiet._replace(**changes)


def test_the_users_failure_and_ours_are_told_apart():
    """Our fault outranks everything; our kill outranks the exit code that it caused."""
    assert verdict.decide(facts()).outcome == "succeeded"
    assert verdict.decide(facts(exit_code=0, killed="timeout")).outcome == "timed_out"
    assert verdict.decide(facts(exit_code=137, killed="cancel")).outcome == "cancelled"
    assert verdict.decide(facts(exit_code=137, killed="stopped")).outcome == "infrastructure"
    assert verdict.decide(facts(exit_code=1, fault="the disk is full")).outcome == "infrastructure"


def test_a_host_of_a_group_has_no_entry_of_its_own_and_no_work_at_its_boot():
    """Its user data is the same for all; whose launch index it has says nothing."""
    document = {
        "pool": "default",
        "region": "us-east-1",
        "bucket": "b",
        "heartbeats_url": "u",
        "claims_table": "c",
        "group": "spillway-dev-default-spot",
        "hosts": [],
    }
    found, problems = read(json.dumps(document), 7)
    assert (found.group, found.host, found.assignments, problems) == ("spillway-dev-default-spot", "", (), [])
