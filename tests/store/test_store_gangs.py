"""What every family of stores promises about jobs on several hosts (chalicelib/store/ports)."""

from __future__ import annotations

from store_records import NOW, a_host, a_job, a_job_in, a_launch, an_assignment, job_id, race

from chalicelib.core.job import End, Finish, Job, JobEvent, JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.store.ports import Stores

GANG = JobSpec(command="./solve", timeout_s=60, hosts=3)
MEMBERS = ("host-a", "host-b", "host-c")
PEERS = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
GOOD = End(event=JobEvent.SUCCEED, reason="exit 0", at=NOW + 1, userid="role:i-1", charge=True)
BAD = End(
    event=JobEvent.FAIL,
    reason="exit 1",
    at=NOW + 2,
    charge=True,
    finish=Finish(outcome="failed", reason="exit 1", finished_at=NOW + 2, result={"é": [1, None]}),
)


def assign(stores: Stores, number: int = 0, attempt: int = 1) -> Job | None:
    facts = {"attempt": attempt, "at": NOW, "reason": "placed", "host": MEMBERS[0], "members": MEMBERS}
    return stores.jobs.move(job_id(number), JobEvent.ASSIGN, **facts)


def go(stores: Stores, number: int = 0) -> Job | None:
    return stores.jobs.move(job_id(number), JobEvent.START, attempt=1, at=NOW, reason="all are ready", peers=PEERS)


def test_a_gang_is_assigned_told_and_ended_member_by_member(stores: Stores) -> None:
    """Each end is noted once, in the state and attempt that it speaks of; the first that is no success stays the cause."""
    stores.jobs.put(a_job(spec=GANG))
    assigned = assign(stores)
    assert assigned is not None
    assert (assigned.members, assigned.ends, assigned.cause, assigned.peers) == (MEMBERS, {}, None, ())
    told = go(stores)
    assert told is not None
    assert told.peers == PEERS
    assert stores.jobs.note_end(job_id(0), 1, GOOD, attempt=1, state=JobState.ASSIGNED) is None
    assert stores.jobs.note_end(job_id(0), 1, GOOD, attempt=2, state=JobState.RUNNING) is None
    first = stores.jobs.note_end(job_id(0), 1, GOOD, attempt=1, state=JobState.RUNNING)
    assert first is not None
    assert (dict(first.ends), first.cause) == ({1: GOOD}, None)
    assert stores.jobs.note_end(job_id(0), 1, BAD, attempt=1, state=JobState.RUNNING) is None
    stores.jobs.note_end(job_id(0), 2, BAD, attempt=1, state=JobState.RUNNING)
    last = stores.jobs.note_end(job_id(0), 0, BAD, attempt=1, state=JobState.RUNNING)
    assert last is not None
    assert last == stores.jobs.get(job_id(0))
    assert (dict(last.ends), last.cause) == ({0: BAD, 1: GOOD, 2: BAD}, 2)


def test_the_next_attempt_forgets_the_members_ends(stores: Stores) -> None:
    """They are of the attempt before."""
    stores.jobs.put(a_job(spec=GANG))
    assign(stores)
    stores.jobs.note_end(job_id(0), 0, BAD, attempt=1, state=JobState.ASSIGNED)
    stores.jobs.move(job_id(0), JobEvent.RELEASE, attempt=1, at=NOW, reason="taken back")
    again = assign(stores, attempt=2)
    assert again is not None
    assert (again.ends, again.cause, again.peers) == ({}, None, ())
    assert again == stores.jobs.get(job_id(0))


def test_nobody_is_told_to_begin_once_one_has_ended_or_it_is_cancelled(stores: Stores) -> None:
    """The go and a member's end are writes to one row: whichever is first refuses the other."""
    for number in range(3):
        stores.jobs.put(a_job(number, spec=GANG))
        assign(stores, number)
    stores.jobs.note_end(job_id(0), 0, BAD, attempt=1, state=JobState.ASSIGNED)
    stores.jobs.request_cancel(job_id(1))
    assert go(stores, 0) is None
    assert go(stores, 1) is None

    def contend(who: int) -> Job | None:
        return go(stores, 2) if who else stores.jobs.note_end(job_id(2), 0, BAD, attempt=1, state=JobState.ASSIGNED)

    assert sum(outcome is not None for outcome in race(2, contend)) == 1


def test_an_unknown_job_has_no_members(stores: Stores) -> None:
    """No row comes into being by an end."""
    assert stores.jobs.note_end(job_id(9), 0, BAD, attempt=1, state=JobState.RUNNING) is None
    assert stores.jobs.get(job_id(9)) is None


def test_what_a_members_host_says_is_kept_with_its_assignment(stores: Stores) -> None:
    """Rank, since when it is ready, and where its peers reach it; and that a launch is all or nothing."""
    stores.hosts.create([a_host(assignments=(an_assignment(rank=2),))])
    key = an_assignment().key
    assert stores.hosts.mark("p", "host-0000", key, ready_at=NOW, address="10.0.0.3")
    host = stores.hosts.get("p", "host-0000")
    assert host is not None
    assert host.assignments == (an_assignment(rank=2, ready_at=NOW, address="10.0.0.3"),)
    stores.hosts.put_launch(a_launch(whole=True))
    assert [launch.whole for launch in stores.hosts.of_pool("p")[1]] == [True]


def test_a_job_row_holds_a_gang_as_it_was_put(stores: Stores) -> None:
    """What is created whole is read whole."""
    job = a_job_in(JobState.RUNNING, spec=GANG, members=MEMBERS, peers=PEERS, ends={2: BAD}, cause=2)
    stores.jobs.put(job)
    assert stores.jobs.get(job.id) == job
