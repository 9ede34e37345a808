"""What every family of stores promises about jobs (chalicelib/store/ports)."""

from __future__ import annotations

from dataclasses import replace

from store_records import NOW, a_job, a_job_in, job_id, race

from chalicelib.core.job import ANEW, FINAL, TRANSITIONS, Finish, Job, JobEvent, JobState, Log, Output
from chalicelib.core.job_spec import Input, JobSpec, Notify, Wanted
from chalicelib.core.progress import Kept, Progress
from chalicelib.core.telling import Telling
from chalicelib.store.ports import KeyHold, Stores

LATER = NOW + 7.25
FINISH = Finish(
    outcome="failed",
    reason="exit code 1",
    started_at=NOW,
    finished_at=LATER,
    exit_code=1,
    cpu_s=0.125,
    memory_peak_mib=12.5,
    log=Log(bytes=3, text="né\x00"),
    result={"score": 3, "tests": [{"name": "a", "ok": True}, None, 1.5]},
    outputs=(Output(path="report/ü.html", bytes=12),),
)


def move(stores: Stores, job: Job, event: JobEvent, **facts: object) -> Job | None:
    given = {"attempt": job.attempt, "at": LATER, "reason": "because", "untold": False, **facts}
    return stores.jobs.move(job.id, event, **given)  # type: ignore[arg-type]


def test_a_place_that_was_given_meanwhile_is_not_overwritten(stores: Stores) -> None:
    """A move that brings a rank says which one it replaces; an empty one, of a job that had no place yet, is one too."""
    for number, before in enumerate(("", "05#a")):
        job = replace(a_job_in(JobState.BLOCKED, number), rank=before)
        stores.jobs.put(job)
        assert move(stores, job, JobEvent.UNBLOCK, rank="05#b", rank_before="00#x") is None
        moved = move(stores, job, JobEvent.UNBLOCK, rank="05#b", rank_before=before)
        assert moved is not None
        assert moved.rank == "05#b"


def test_what_was_put_is_read_back_to_the_last_bit(stores: Stores) -> None:
    """Every field of a job survives, also a result of nested JSON, NUL and non-ASCII text."""
    spec = JobSpec(
        command="printf 'é\\n'",
        timeout_s=5,
        cpu=0.1 + 0.2,
        environment={"A": "", "B": "ü"},
        inputs=(Input(path="tests", sha256="ab" * 32, unpack=True), Input(path="p.json", text="{}")),
        outputs=(Wanted(glob="*.html", name="report"),),
        parameters={"seed": 3, "names": ["a", None]},
        notify=Notify(webhook="https://example.org/x"),
        retry_on=("exit:75",),
        result="result.json",
        labels={"course": "c1"},
        idempotency_key="k",
    )
    job = a_job_in(
        JobState.FAILED,
        spec=spec,
        finish=FINISH,
        userid="AROA:i-1",
        charged=1,
        faults=3,
        attempt=2,
        cancel_requested=True,
        reason="exit",
    )
    assert stores.jobs.put(job)
    assert stores.jobs.get(job.id) == job


def test_an_id_is_created_once(stores: Stores) -> None:
    """The second put of an id is refused and changes nothing."""
    assert stores.jobs.put(a_job(owner="first"))
    assert not stores.jobs.put(a_job(owner="second"))
    assert stores.jobs.get(job_id(0)) == a_job(owner="first")


def test_unknown_jobs_are_none(stores: Stores) -> None:
    assert stores.jobs.get("job-none") is None
    assert stores.jobs.get_many(["job-none"]) == {}
    assert stores.jobs.request_cancel("job-none") is None
    assert move(stores, a_job(), JobEvent.ASSIGN) is None
    stores.jobs.wait_for("job-none", 1, "nothing")
    assert stores.jobs.get("job-none") is None, "no write may create a row by the way"


def test_many_jobs_are_put_and_read_beyond_every_batch_limit(stores: Stores) -> None:
    """25 puts and 100 reads fit into one DynamoDB request; more of them still all arrive, asked for twice or not."""
    jobs = [a_job(n) for n in range(230)]
    stores.submissions.create(jobs)
    ids = [job.id for job in jobs]
    assert stores.jobs.get_many([*ids, *ids[:5], "job-none"]) == {job.id: job for job in jobs}


def test_every_event_in_every_state(stores: Stores) -> None:
    """A write goes through exactly where the machine has a row; everywhere else nothing changes."""
    cases = [(state, event) for state in JobState for event in JobEvent]
    jobs = [a_job_in(state, n) for n, (state, _) in enumerate(cases)]
    stores.submissions.create(jobs)
    expected = {job.id: job for job in jobs}
    for job, (state, event) in zip(jobs, cases, strict=True):
        target = TRANSITIONS[state].get(event)
        if target is not None:
            expected[job.id] = replace(
                job,
                state=target,
                entered={**job.entered, str(target): LATER},
                reason="because",
                waiting_for="",
                attempt=job.attempt + (event in (JobEvent.RELEASE, JobEvent.RETRY)),
                retried_at=LATER if event in ANEW else job.retried_at,
            )
        answer = None if target is None else expected[job.id]
        assert move(stores, job, event) == answer, f"{state} × {event}"
    assert stores.jobs.get_many(expected) == expected


def test_a_write_about_another_attempt_changes_nothing(stores: Stores) -> None:
    """The attempt fences: neither an older nor a newer number passes, for any event."""
    stores.jobs.put(a_job_in(JobState.RUNNING, attempt=3))
    job = stores.jobs.get(job_id(0))
    assert job is not None
    for attempt in (2, 4):
        assert all(move(stores, job, event, attempt=attempt) is None for event in JobEvent)
    assert stores.jobs.get(job.id) == job


def test_a_released_attempt_is_fenced_off_and_not_charged(stores: Stores) -> None:
    """RELEASE raises the attempt; what then comes about the old one is late; only `charge` raises what the user pays."""
    stores.jobs.put(a_job())
    assert move(stores, a_job(), JobEvent.ASSIGN, host="host-1", userid="AROA:i-1") is not None
    released = move(stores, a_job(), JobEvent.RELEASE)
    assert released is not None
    assert (released.state, released.attempt, released.charged, released.host) == (JobState.PENDING, 2, 0, "host-1")
    assert move(stores, a_job(), JobEvent.ASSIGN) is None
    assert move(stores, released, JobEvent.ASSIGN, host="host-2") is not None
    retried = move(stores, released, JobEvent.RETRY, charge=True, fault=True, interruption=True, finish=FINISH)
    assert retried is not None
    assert (retried.attempt, retried.charged, retried.host, retried.finish) == (3, 1, "host-2", FINISH)
    assert (released.faults, retried.faults) == (0, 1)
    assert (released.interruptions, retried.interruptions) == (0, 1)
    assert (released.queued_at, retried.queued_at) == (a_job().submitted_at, LATER)


def test_a_finish_arrives_whole(stores: Stores) -> None:
    stores.jobs.put(a_job_in(JobState.ASSIGNED))
    ended = move(stores, a_job(), JobEvent.FAIL, finish=FINISH, charge=True, userid="AROA:i-9", expires_at=LATER)
    assert ended is not None
    assert (ended.finish, ended.charged, ended.userid) == (FINISH, 1, "AROA:i-9")
    assert stores.jobs.get(ended.id) == ended


def test_of_many_racing_movers_exactly_one_wins(stores: Stores) -> None:
    """Assigning one pending job to eight hosts at once places it on the winner's."""
    for n in range(5):
        stores.jobs.put(a_job(n))
        outcomes = race(8, lambda i, n=n: move(stores, a_job(n), JobEvent.ASSIGN, host=f"host-{i}"))  # type: ignore[misc]
        winners = [job for job in outcomes if job is not None]
        assert len(winners) == 1
        assert stores.jobs.get(job_id(n)) == winners[0]


def test_finish_against_lose_has_one_winner(stores: Stores) -> None:
    """Two different ends of one attempt race: the job has one end, and both sides know whose."""
    events = (JobEvent.SUCCEED, JobEvent.LOSE)
    for job in [a_job_in(JobState.RUNNING, n) for n in range(5)]:
        stores.jobs.put(job)
        outcomes = race(2, lambda i, job=job: move(stores, job, events[i]))  # type: ignore[misc]
        assert sum(outcome is not None for outcome in outcomes) == 1


def test_cancelling_sets_a_flag_until_the_end(stores: Stores) -> None:
    """The intent is kept through every state that has not ended, and refused where it has."""
    for n, state in enumerate(JobState):
        stores.jobs.put(a_job_in(state, n))
        job = stores.jobs.request_cancel(job_id(n))
        assert (job is None) == (state in FINAL)
        stored = stores.jobs.get(job_id(n))
        assert stored is not None
        assert stored.cancel_requested == (state not in FINAL)
        assert stored.state == state


def test_a_job_that_ended_by_a_move_cannot_be_cancelled(stores: Stores) -> None:
    stores.jobs.put(a_job_in(JobState.RUNNING))
    assert move(stores, a_job(), JobEvent.SUCCEED) is not None
    assert stores.jobs.request_cancel(job_id(0)) is None


def test_waiting_is_said_only_of_a_pending_attempt(stores: Stores) -> None:
    """A sentence about attempt 1 is not put on attempt 2, nor on a job that was placed meanwhile."""
    stores.jobs.put(a_job(attempt=2))
    stores.jobs.wait_for(job_id(0), 1, "late")
    assert stores.jobs.get(job_id(0)) == a_job(attempt=2)
    stores.jobs.wait_for(job_id(0), 2, "no spot in us-east-1a")
    waiting = stores.jobs.get(job_id(0))
    assert waiting is not None
    assert waiting.waiting_for == "no spot in us-east-1a"
    placed = move(stores, waiting, JobEvent.ASSIGN)
    assert placed is not None
    assert placed.waiting_for == ""
    stores.jobs.wait_for(job_id(0), 2, "late")
    assert stores.jobs.get(job_id(0)) == placed


def test_active_jobs_are_those_that_have_not_ended(stores: Stores) -> None:
    """By pool, oldest first, page by page; a job leaves when it ends, whichever way it ended."""
    jobs = [a_job_in(state, n) for n, state in enumerate(JobState)] + [a_job(99, pool="other"), a_job(98, owner="bob")]
    stores.submissions.create(jobs)
    alive = [job.id for job in jobs if job.state not in FINAL and job.pool == "p"]
    assert pages_forward(stores, limit=2) == alive
    assert stores.jobs.active_of("ann") == len(alive) == 6
    assert [stores.jobs.active_of("ann", most) for most in (1, 3, 100)] == [1, 3, 6]
    assert stores.jobs.active_of("bob") == 1
    assert stores.jobs.active_of("carol") == 0
    for job in jobs:
        if job.id in alive:
            ending = next((e for e, t in TRANSITIONS[job.state].items() if t in FINAL))
            assert move(stores, job, ending) is not None
    assert pages_forward(stores, limit=2) == []
    assert stores.jobs.active("other") == ([job_id(99)], None)
    assert stores.jobs.active_of("ann") == 1


def pages_forward(stores: Stores, limit: int) -> list[str]:
    found, cursor = stores.jobs.active("p", limit=limit)
    while cursor is not None:
        page, cursor = stores.jobs.active("p", after=cursor, limit=limit)
        assert len(page) <= limit
        found += page
    return found


def test_a_pools_jobs_are_listed_newest_first(stores: Stores) -> None:
    """Ended or not, page by page without gap or repeat; stories and keys of the same table are not jobs."""
    stores.submissions.create([a_job_in(JobState.LOST if n % 2 else JobState.PENDING, n) for n in range(7)])
    stores.jobs.hold_key("ann", "k", "hash", job_id(0), LATER)
    found, cursor = stores.jobs.of_pool("p", limit=3)
    assert found == [job_id(6), job_id(5), job_id(4)]
    while cursor is not None:
        page, cursor = stores.jobs.of_pool("p", before=cursor, limit=3)
        found += page
    assert found == [job_id(n) for n in reversed(range(7))]
    assert stores.jobs.of_pool("empty") == ([], None)


def test_an_owners_jobs_and_a_pools_live_ones_are_listed_newest_first(stores: Stores) -> None:
    """Whatever their pool; an ended job leaves the second list, never the first."""
    jobs = [a_job(n, owner="bob" if n % 3 else "ann", pool="p" if n % 2 else "q") for n in range(9)]
    stores.submissions.create(jobs)
    bobs = [job.id for job in reversed(jobs) if job.owner == "bob"]
    found, cursor = stores.jobs.of_owner("bob", limit=4)
    while cursor is not None:
        page, cursor = stores.jobs.of_owner("bob", before=cursor, limit=4)
        found += page
    assert found == bobs
    ending = next(e for e, t in TRANSITIONS[JobState.PENDING].items() if t in FINAL)
    assert move(stores, jobs[5], ending) is not None
    assert stores.jobs.active_newest("p") == ([job_id(7), job_id(3), job_id(1)], None)
    assert stores.jobs.active_newest("p", before=job_id(7), limit=1) == ([job_id(3)], job_id(3))
    assert stores.jobs.of_owner("bob")[0] == bobs
    assert stores.jobs.of_owner("eve") == ([], None)


def test_an_idempotency_key_stands_for_its_first_job(stores: Stores) -> None:
    """The first taker gets its own job, every later one the first's; owners do not share keys, however they are spelt."""
    assert stores.jobs.hold_key("ann", "k", "hash-1", "job-1", LATER) == KeyHold("job-1", "hash-1")
    assert stores.jobs.hold_key("ann", "k", "hash-2", "job-2", LATER) == KeyHold("job-1", "hash-1")
    assert stores.jobs.hold_key("bob", "k", "hash-3", "job-3", LATER) == KeyHold("job-3", "hash-3")
    assert stores.jobs.hold_key("a/b", "c", "h", "job-4", LATER) == KeyHold("job-4", "h")
    assert stores.jobs.hold_key("a", "b/c", "h", "job-5", LATER) == KeyHold("job-5", "h")


def test_racing_takers_of_a_key_agree(stores: Stores) -> None:
    """Eight retries of one request at once all learn the same job, which is one of theirs."""
    holds = race(8, lambda i: stores.jobs.hold_key("ann", "k", "hash", f"job-{i}", LATER))
    assert len(set(holds)) == 1


def test_an_ended_job_is_untold_until_its_listeners_are_told(stores: Stores) -> None:
    """From the write that ends it until `delivered` or the last try; in no pool's list of the living; told once."""
    heard = JobSpec(command="true", timeout_s=5, notify=Notify(topic=True))
    for n in range(4):
        stores.jobs.put(a_job_in(JobState.RUNNING, n, spec=heard))
    stores.jobs.put(a_job_in(JobState.SUCCEEDED, 4, spec=heard))
    assert not stores.jobs.delivered(job_id(0), LATER), "it has not ended"
    for n in range(3):
        assert move(stores, a_job(n), JobEvent.SUCCEED, untold=n != 2) is not None
    assert stores.jobs.untold(limit=2)[0] == [job_id(0), job_id(1)]
    assert stores.jobs.untold(after=job_id(1))[0] == [job_id(4)]
    assert pages_forward(stores, limit=9) == [job_id(3)]
    assert stores.jobs.request_cancel(job_id(0)) is None
    assert stores.jobs.delivered(job_id(0), LATER)
    assert not stores.jobs.delivered(job_id(0), LATER + 1)
    once = Telling(tries=1, due_at=LATER + 0.25, told=("topic",), fault="ü")
    assert stores.jobs.tell_again(job_id(1), Telling(), once)
    assert not stores.jobs.tell_again(job_id(1), Telling(), once), "another was quicker"
    found = stores.jobs.get(job_id(1))
    assert found is not None
    assert found.telling == once
    assert stores.jobs.untold()[0] == [job_id(1), job_id(4)]
    assert stores.jobs.tell_again(job_id(1), once, replace(once, given_up=True))
    assert not stores.jobs.tell_again(job_id(0), Telling(), once), "it is delivered"
    assert stores.jobs.untold()[0] == [job_id(4)]
    found = stores.jobs.get(job_id(0))
    assert found is not None
    assert found.delivered_at == LATER


def test_progress_is_written_by_who_has_read_what_it_was(stores: Stores) -> None:
    """Whole, through every change of state; of a job that has ended nothing more is heard."""
    stores.jobs.put(a_job_in(JobState.RUNNING))
    kept = Kept(attempt=1, key="hosts/a:b/j/1/checkpoint/1.tar.gz", bytes=5, at=LATER + 0.1)
    first = Progress(attempt=1, percent=42.5, note="liest ü", moved_at=LATER, heard_at=LATER, kept=(kept,))
    assert stores.jobs.progressed(job_id(0), Progress(), first)
    assert not stores.jobs.progressed(job_id(0), Progress(), replace(first, percent=1.0)), "another was quicker"
    assert sum(race(4, lambda i: stores.jobs.progressed(job_id(0), first, replace(first, percent=50.0 + i)))) == 1
    known = stores.jobs.get(job_id(0))
    assert known is not None
    again = move(stores, known, JobEvent.RETRY)
    assert again is not None
    assert again.progress == known.progress
    assert stores.jobs.progressed(job_id(0), known.progress, first)
    done = move(stores, replace(again, state=JobState.PENDING), JobEvent.WITHDRAW)
    assert done is not None
    assert not stores.jobs.progressed(job_id(0), first, Progress())
    assert not stores.jobs.progressed(job_id(7), Progress(), first), "there is no such job"


def test_of_many_who_tell_one_says_so(stores: Stores) -> None:
    """The same order twice at once: one of them writes that all are told."""
    stores.jobs.put(a_job_in(JobState.LOST, 0, spec=JobSpec(command="x", timeout_s=5, notify=Notify(topic=True))))
    assert sum(race(4, lambda i: stores.jobs.delivered(job_id(0), LATER + i))) == 1
