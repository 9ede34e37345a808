"""What becomes of a fire: rules in their order, always with a reason."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.job import FINAL, Job, JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.schedule import LATE_S, Circumstances, Misfire, Outcome, Overlap, Schedule, decide, job_of

DUE = 1_790_000_000.0
SCHEDULE = Schedule(name="nightly", owner="ann", timing="0 2 * * *", zone="UTC", job={}, made_at=5.0)


def a_job(state: JobState, *after: str) -> Job:
    spec = JobSpec(command="true", timeout_s=1, after=after)
    return Job(id="job-1", pool="default", owner="ann", spec=spec, state=state, submitted_at=0.0)


schedules = st.builds(
    lambda misfire, overlap, adverse: replace(SCHEDULE, misfire=misfire, overlap=overlap, adverse=adverse),
    st.sampled_from(Misfire),
    st.sampled_from(Overlap),
    st.sampled_from(["skip", "submit"]),
)
circumstances = st.builds(
    lambda late, missed, state, adverse, refusal: Circumstances(
        at=DUE, now=DUE + late, missed=missed, last=state and a_job(state), adverse=adverse, refusal=refusal
    ),
    st.sampled_from([0.0, 5.0, LATE_S, LATE_S + 1, 90_000.0]),
    st.integers(0, 30),
    st.none() | st.sampled_from(JobState),
    st.sampled_from(["", "pool default is killed"]),
    st.sampled_from(["", "there is no pool"]),
)


@given(schedules, circumstances)
def test_every_fire_is_submitted_or_skipped_with_a_reason(schedule: Schedule, c: Circumstances) -> None:
    """And by its policies alone."""
    ruling = decide(schedule, c)
    busy = c.last is not None and c.last.state not in FINAL
    late = c.now - c.at > LATE_S
    assert ruling.reason
    must_skip = (
        (late and schedule.misfire == Misfire.SKIP)
        or bool(c.refusal)
        or (busy and schedule.overlap == Overlap.SKIP)
        or (bool(c.adverse) and schedule.adverse == "skip")
    )
    assert (ruling.outcome is Outcome.SKIP) == must_skip
    submitted_while_busy = busy and not must_skip
    assert bool(ruling.after) == (submitted_while_busy and schedule.overlap == Overlap.QUEUE)
    assert (ruling.cancels is not None) == (submitted_while_busy and schedule.overlap == Overlap.REPLACE)
    assert ("missed" in ruling.reason) >= (late and not (c.refusal or c.adverse or busy))


def test_one_waits_at_a_time() -> None:
    """A third would only make the queue grow for ever."""
    queue = replace(SCHEDULE, overlap=Overlap.QUEUE)
    waiting = Circumstances(at=DUE, now=DUE, last=a_job(JobState.BLOCKED, "job-0"))
    assert decide(queue, waiting).outcome is Outcome.SKIP
    assert "one waits at a time" in decide(queue, waiting).reason


@given(st.sets(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 50), st.integers(0, 50)), min_size=2))
def test_every_fire_has_a_job_id_of_its_own_and_always_the_same(fires: set[tuple[str, int, int]]) -> None:
    """Whoever submits it, whenever: of another schedule, or one that was made anew, it is another."""
    ids = {(n, m, t): job_of(replace(SCHEDULE, name=n, made_at=float(m)), DUE + 60 * t) for n, m, t in fires}
    assert len(set(ids.values())) == len(fires)
    assert all(len(i) == 30 for i in ids.values())
    name, made, time = next(iter(fires))
    assert ids[name, made, time] == job_of(
        replace(SCHEDULE, name=name, made_at=float(made), version=9), DUE + 60 * time
    )
