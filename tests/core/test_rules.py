"""Rules of the reconciler one at a time, each at its edge: what `make mutants` found that no other test would miss."""

from __future__ import annotations

import pytest
from builders import NOW, a_host, a_snapshot, an_assignment

from chalicelib.core import retirement
from chalicelib.core.plan import Sicken
from chalicelib.core.reconcile import reconcile


def sickened(*assignments: dict[str, float | None], ready_at: float = NOW - 10_000) -> list[str]:
    """Why a ready host with these assignments is no longer trusted."""
    carried = tuple(an_assignment(f"job-{n}", timeout_s=86_000, **over) for n, over in enumerate(assignments))
    host = a_host(assignments=carried, ready_at=ready_at)
    return [a.reason for a in reconcile(a_snapshot(hosts=(host,))).actions if isinstance(a, Sicken)]


ACCEPTED_LONG_AGO = {"assigned_at": NOW - 1801, "accepted_at": NOW - 1800, "started_at": None}


def test_a_host_that_does_not_begin_what_it_accepted_is_not_trusted() -> None:
    assert sickened(ACCEPTED_LONG_AGO) == ["it does not begin what it accepted"]


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([{"started_at": NOW - 5000}], id="another one runs, and this one may wait for it"),
        pytest.param([{"started_at": NOW - 5000}, {"started_at": None}], id="of several others one runs"),
    ],
)
def test_a_host_that_runs_another_attempt_may_leave_one_waiting(others: list[dict[str, float | None]]) -> None:
    assert sickened(ACCEPTED_LONG_AGO, *others) == []


def test_what_was_accepted_gets_half_an_hour() -> None:
    assert sickened({**ACCEPTED_LONG_AGO, "assigned_at": NOW - retirement.STALLED_S}) == []


def test_the_half_hour_begins_when_the_host_is_there() -> None:
    """Work that came in the user data of a host that took long to boot."""
    assert sickened(ACCEPTED_LONG_AGO, ready_at=NOW - 1799) == []


def test_one_that_waits_for_too_long_among_others_that_do_not_is_enough() -> None:
    assert sickened(ACCEPTED_LONG_AGO, {"started_at": None}) == ["it does not begin what it accepted"]
