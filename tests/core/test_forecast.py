"""Which waiting jobs need a further host: predictions from what runs, what boots, and how long jobs take."""

from __future__ import annotations

from builders import NOW, a_host, an_assignment, an_entry
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.backlog import Entry
from chalicelib.core.forecast import Roads, Shape, ends_at, late, there_at, wider

ONE = (1.0, 512, 1)
Lane = tuple[Shape, float, float]  # what it takes, when it falls free, until when jobs wait for it if its host boots


def lane(free_at: float, late_at: float = 0.0, shape: Shape = ONE) -> Lane:
    return shape, free_at, late_at


def lanes_of(*given: Lane) -> Roads:
    roads = Roads()
    for each in given:
        roads.of("alice").add(*each)
    return roads


def ask(
    entries: list[Entry],
    lanes: list[Lane],
    takes_s: float = 100.0,
    boot_s: float = 45.0,
    slo_wait_s: float = 30.0,
    late_max: int = 1000,
) -> tuple[list[str], dict[str, float]]:
    too_late, soon = late(
        entries, lanes_of(*lanes), NOW, boot_s, slo_wait_s, lambda family, timeout_s: takes_s, late_max
    )
    return [entry.job for entry in too_late], {entry.job: at - NOW for entry, at in soon}


def jobs(count: int, **over: object) -> list[Entry]:
    return [an_entry(f"job-{n}", **over) for n in range(count)]


def test_a_job_that_starts_in_time_behind_another_needs_no_host() -> None:
    """A lane that falls free within the SLO is as good as a host."""
    assert ask(jobs(1), [lane(NOW + 20)]) == ([], {"job-0": 20})


def test_a_lane_takes_one_job_at_a_time() -> None:
    """The second job would wait for the first one's end."""
    assert ask(jobs(2), [lane(NOW + 20)]) == (["job-1"], {"job-0": 20})


def test_a_host_that_would_come_too_late_anyway_is_not_launched() -> None:
    """Beyond the SLO, but sooner than any machine could boot: to launch would cost and help nobody."""
    assert ask(jobs(1), [lane(NOW + 40)], boot_s=45, slo_wait_s=10) == ([], {"job-0": 40})
    assert ask(jobs(1), [lane(NOW + 50)], boot_s=45, slo_wait_s=10) == (["job-0"], {})


def test_what_was_waited_already_counts() -> None:
    """The SLO is about the whole wait, not about the rest of it."""
    lanes = [lane(NOW + 25)]
    assert ask(jobs(1, queued_at=NOW), lanes, boot_s=10)[0] == []
    assert ask(jobs(1, queued_at=NOW - 20), lanes, boot_s=10)[0] == ["job-0"]


def test_a_lane_helps_its_owners_jobs_only_and_one_that_empties_a_shared_host_helps_anybodys() -> None:
    entries = [an_entry("b", owner="bob"), an_entry("c", owner="carol"), an_entry("a", owner="alice")]
    roads = lanes_of(lane(NOW + 1))
    roads.anybodys.add(*lane(NOW + 2))
    too_late, soon = late(entries, roads, NOW, 45.0, 30.0, lambda family, timeout_s: 600.0, 1000)
    assert [(entry.job, at) for entry, at in soon] == [("b", NOW + 2), ("a", NOW + 1)]
    assert [entry.job for entry in too_late] == ["c"]


def test_a_wide_job_is_not_helped_by_narrow_lanes() -> None:
    """Does it fit, not how many slots are free: wide jobs would starve."""
    narrow = [lane(NOW + 1) for _ in range(8)]
    assert ask(jobs(1, cpu=2.0), narrow)[0] == ["job-0"]
    assert ask(jobs(1, memory_mib=513), narrow)[0] == ["job-0"]
    assert ask(jobs(1, slots=2), narrow)[0] == ["job-0"]


def test_a_burst_of_short_jobs_on_an_empty_pool_shares_hosts() -> None:
    """Ten-second jobs, an SLO of 30 s: on a host that boots, four of them in a row start in time."""
    needed, soon = ask(jobs(8), [], takes_s=10.0)
    assert len(needed) == 2
    assert sorted(soon.values()) == [55, 55, 65, 65, 75, 75]


def test_long_jobs_on_an_empty_pool_each_need_room_of_their_own() -> None:
    assert len(ask(jobs(8), [], takes_s=100.0)[0]) == 8


def test_jobs_behind_a_booting_host_may_wait_for_it_and_the_slo() -> None:
    """The same answer before the launch and after it, or one burst would launch twice."""
    booting = lane(NOW + 45 + 10, NOW + 45 + 30)
    needed, soon = ask(jobs(4), [booting], takes_s=10.0)
    assert needed == ["job-3"]
    assert list(soon.values()) == [55, 65, 75]


def test_who_waits_far_too_long_is_not_put_off_with_a_lane_that_others_take() -> None:
    """Each look believed "soon", and each time a job of a higher class took the lane: at last it gets a host of its own."""
    soon_free = lane(NOW + 5)
    assert ask(jobs(1, queued_at=NOW - 299), [soon_free], takes_s=5.0) == ([], {"job-0": 5})
    needed, soon = ask(jobs(3, queued_at=NOW - 301), [soon_free], takes_s=5.0)
    assert (needed, list(soon.values())) == (["job-0"], [50, 55])  # the others behind it, on the host that is launched
    booting = lane(NOW + 10, NOW + 30)
    assert ask(jobs(1, queued_at=NOW - 301), [booting], takes_s=5.0) == ([], {"job-0": 10})
    assert ask(jobs(1, queued_at=NOW - 301), [soon_free], takes_s=5.0, slo_wait_s=600) == ([], {"job-0": 5})


def test_what_falls_free_on_a_host_with_too_much_on_it_is_no_more_than_itself() -> None:
    """A function that died may leave an assignment behind; for a moment more is reserved than there is."""
    assert wider((0.5, 512, 2), (0.25, 696, -2)) == (0.5, 512, 2)
    assert wider((0.5, 512, 2), (0.25, 696, 0)) == (0.5, 1024, 2)


def test_looking_stops_when_enough_are_late() -> None:
    """What cannot be launched for need not be predicted."""
    assert len(ask(jobs(50), [], late_max=3)[0]) == 50


def test_an_attempt_ends_when_its_estimate_says_and_later_if_it_overran() -> None:
    def left_s(**over: float | None) -> float:
        return ends_at(an_assignment(**over), there=NOW - 280, now=NOW, expected_s=10) - NOW

    assert left_s(started_at=NOW - 4) == 6
    assert left_s(started_at=NOW - 100) == 50
    assert left_s(started_at=NOW - 590) == 10  # its timeout
    assert left_s(started_at=NOW - 700) == 0
    assert left_s(started_at=None) == 10
    assert ends_at(an_assignment(started_at=None), there=NOW + 40, now=NOW, expected_s=10) == NOW + 50


def test_a_launching_host_is_there_after_the_boot_time() -> None:
    assert there_at(a_host(ready_at=None, launched_at=NOW - 5), NOW, boot_s=45) == NOW + 40
    assert there_at(a_host(ready_at=None, launched_at=NOW - 45), NOW, boot_s=45) == NOW
    assert there_at(a_host(ready_at=NOW - 280), NOW, boot_s=45) == NOW - 280


def test_a_host_that_boots_late_is_believed_to_be_as_late_again() -> None:
    """Else it would be believed to come at any moment until its boot timeout, and nobody behind it would get another."""
    late_host = a_host(ready_at=None, launched_at=NOW - 65)
    assert there_at(late_host, NOW, boot_s=45) == NOW + 20


lanes = st.builds(
    lane,
    st.floats(NOW - 5, NOW + 200),
    st.just(0.0),
    st.tuples(st.sampled_from([0.5, 1.0, 4.0]), st.sampled_from([256, 4096]), st.integers(1, 4)),
)
entries = st.builds(
    an_entry,
    st.integers(0, 10_000).map(lambda n: f"job-{n}"),
    cpu=st.sampled_from([0.5, 1.0, 2.0]),
    memory_mib=st.sampled_from([128, 512]),
    slots=st.integers(1, 2),
    queued_at=st.floats(NOW - 100, NOW),
)


@given(st.lists(entries, max_size=12), st.lists(lanes, max_size=6), st.floats(1, 200), st.floats(0, 60))
def test_every_job_gets_one_answer_and_nobody_is_told_of_the_past(
    waiting: list[Entry], free: list[Lane], takes_s: float, slo_wait_s: float
) -> None:
    too_late, soon = late(waiting, lanes_of(*free), NOW, 45.0, slo_wait_s, lambda family, timeout_s: takes_s, 1000)
    assert sorted(e.job for e in (*too_late, *(e for e, _ in soon))) == sorted(e.job for e in waiting)
    assert all(at >= NOW for _, at in soon)


@given(st.lists(entries, max_size=12), st.lists(lanes, max_size=6), st.floats(1, 200))
def test_a_further_lane_never_makes_more_jobs_late(waiting: list[Entry], free: list[Lane], takes_s: float) -> None:
    """For jobs of one shape and age; of several, greedy dealing may trade one for another."""
    same = [an_entry(f"job-{n}") for n, _ in enumerate(waiting)]
    before, _ = late(same, lanes_of(*free), NOW, 45.0, 30.0, lambda family, timeout_s: takes_s, 1000)
    after, _ = late(same, lanes_of(*free, lane(NOW)), NOW, 45.0, 30.0, lambda family, timeout_s: takes_s, 1000)
    assert len(after) <= len(before)
