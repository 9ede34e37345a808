"""A plan in words: every kind of action has a sentence, a subject, and names whom it concerns; times read as people say them."""

from __future__ import annotations

import math
from typing import get_args

import pytest
from builders import NOW, OFFERING, a_host, a_launch, an_assignment, an_entry, an_instance
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core import plan as do
from chalicelib.core import plan_words, spoken

ACTIONS: list[do.Action] = [
    do.Resume(a_launch(), "nobody knows"),
    do.Adopt(an_instance("i-9"), "no row knows it"),
    do.Missed(a_host(), 1, "EC2 does not list it"),
    do.Missed(a_host(), 0, "EC2 lists it again"),
    do.Vanish(a_host(), "it is gone"),
    do.Settle(a_host(), an_assignment(), "host host-1 is gone"),
    do.Reclaim(a_host(), an_assignment(), "it was cancelled"),
    do.Sicken(a_host(), "it is silent"),
    do.Drain(a_host(), "it is old"),
    do.Recapture(a_host(), "work came"),
    do.Retire(a_host(), "it is empty"),
    do.Expire(an_entry(), "it has waited for so long"),
    do.Assign(an_entry(), "host-1", "it fits."),
    do.Start(OFFERING, ((an_entry("job-1"), an_entry("job-2")), ()), "they fit nowhere"),
    do.Gather(an_entry(hosts=3), ("host-1",), OFFERING, 2, "1 of its 3 hosts has room"),
    do.Gather(an_entry(hosts=2), ("host-1", "host-5"), None, 0, "all its hosts have room"),
    do.Go("job-1", 1, (a_host("host-1"), a_host("host-4")), ("10.0.0.1", "10.0.0.2"), "all are ready"),
    do.Halt(a_host(), an_assignment(), "rank 1 has ended"),
    do.Resize("spillway-dev-default-spot", "us-east-1", 2, 3, 0.0, (), "a job fits nowhere"),
    do.Dismiss("spillway-dev-default-spot", "us-east-1", "i-9", "it is dead"),
    do.Wipe(a_host("host-3"), "all has begun"),
    do.Ring(("host-1", "host-2"), "they have work"),
]


def test_every_kind_of_action_is_here() -> None:
    assert {type(action) for action in ACTIONS} == set(get_args(do.Action))


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: type(action).__name__)
def test_every_action_is_a_sentence_with_a_subject_and_a_reason(action: do.Action) -> None:
    words = plan_words.words(action)
    assert words[0].isupper()
    assert words.endswith(".")
    assert not words.endswith("..")
    assert action.reason.rstrip(".") in words
    assert plan_words.subject(action)
    assert any(True for _ in plan_words.hosts_of(action)) or isinstance(
        action, do.Expire | do.Adopt | do.Start | do.Resize | do.Dismiss
    )


def test_a_plan_knows_whom_it_concerns() -> None:
    plan = do.Plan(actions=tuple(ACTIONS))
    assert [type(a) for a in plan_words.concerning_job(plan, "job-2")] == [do.Start]
    assert [type(a) for a in plan_words.concerning_host(plan, "host-2")] == [do.Ring]
    assert do.Assign in [type(a) for a in plan_words.concerning_job(plan, "job-9")]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *(
            (0, "0 s"),
            (0.44, "0.4 s"),
            (3.0, "3 s"),
            (9.96, "10 s"),
            (59.7, "1 min"),
            (60, "1 min"),
            (200, "3 min 20 s"),
        ),
        *((3600, "1 h"), (7500, "2 h 5 min"), (3605, "1 h"), (100_800, "1 d 4 h"), (86_400, "1 d"), (-5, "0 s")),
    ],
)
def test_durations_are_for_people(seconds: float, words: str) -> None:
    assert spoken.duration(seconds) == words


@given(st.floats())
def test_any_number_of_seconds_can_be_said(seconds: float) -> None:
    """Agents send times; none of them may fail a sentence."""
    assert spoken.duration(seconds)
    assert spoken.clock(seconds)
    assert spoken.ago(seconds, NOW)
    assert spoken.ago(NOW, seconds) or math.isnan(seconds)


def test_times_say_whether_they_are_past() -> None:
    assert spoken.ago(NOW - 200, NOW) == "3 min 20 s ago"
    assert spoken.ago(NOW + 20, NOW) == "in 20 s"
    assert spoken.ago(NOW, NOW) == "just now"
    assert spoken.clock(3661.9) == "01:01:01 UTC"
    assert spoken.count(1, "host") == "1 host"
    assert spoken.count(2, "entry", "entries") == "2 entries"
    assert spoken.sentence("  it is so ") == "It is so."
    assert spoken.sentence("host-01 is over") == "host-01 is over."
    assert spoken.sentence("") == ""
