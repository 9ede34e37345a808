"""Families, schedules, fires and the agenda: what both families of stores promise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from store_records import NOW, race

from chalicelib.core.agenda import item
from chalicelib.core.family import Family
from chalicelib.core.schedule import Fired, Outcome, Schedule
from chalicelib.store.ports import Stores


def a_family(version: int, **facts: Any) -> Family:
    return Family(name="grading", version=version, defaults={"command": f"./grade.sh {version}"}, at=NOW, **facts)


def a_schedule(**facts: Any) -> Schedule:
    given: dict[str, Any] = {"name": "nightly", "owner": "ann", "timing": "0 2 * * *", "zone": "Europe/Berlin", **facts}
    return Schedule(job={"command": "true", "timeout_s": 60}, **given)


def a_fire(**facts: Any) -> Fired:
    given: dict[str, Any] = {"at": 1_770_000_000.0, "outcome": Outcome.SUBMIT, "reason": "due", "job": "job-1", **facts}
    return Fired(schedule="nightly", decided_at=NOW, **given)


def test_every_version_of_a_family_is_kept(stores: Stores) -> None:
    assert stores.families.get("grading") is None
    for version in (1, 2, 3):
        assert stores.families.put(a_family(version, schema={"type": "object"}, source={"url": "https://x/y"}))
    assert stores.families.get("grading") == a_family(3, schema={"type": "object"}, source={"url": "https://x/y"})
    assert stores.families.get("grading", 1) == a_family(1, schema={"type": "object"}, source={"url": "https://x/y"})
    assert stores.families.get("grading", 4) is None
    assert [f.version for f in stores.families.versions("grading")] == [3, 2, 1]
    assert [f.version for f in stores.families.versions("grading", 2)] == [3, 2]
    assert [f.version for f in stores.families.all()] == [3]


def test_a_version_is_written_once(stores: Stores) -> None:
    """Not over another, and not with a gap."""
    assert stores.families.put(a_family(1))
    assert not stores.families.put(a_family(1, title="another"))
    assert not stores.families.put(a_family(3))
    assert stores.families.get("grading") == a_family(1)


def test_of_two_writers_of_a_version_one_wins(stores: Stores) -> None:
    titles = ["a", "b", "c", "d"]
    won = race(4, lambda i: stores.families.put(a_family(1, title=titles[i])))
    assert won.count(True) == 1
    first = stores.families.get("grading")
    assert first is not None
    assert first.title == titles[won.index(True)]
    assert stores.families.get("grading", 1) == first


def test_a_schedule_is_written_by_version(stores: Stores) -> None:
    made = stores.schedules.put(a_schedule(next_at=5.0), version=None)
    assert made == a_schedule(next_at=5.0, version=1)
    assert stores.schedules.put(a_schedule(), version=None) is None
    assert stores.schedules.put(a_schedule(), version=2) is None
    changed = stores.schedules.put(a_schedule(paused=True), version=1)
    assert changed == a_schedule(paused=True, version=2)
    assert stores.schedules.get("nightly") == changed
    assert stores.schedules.all() == [changed]
    assert not stores.schedules.delete("nightly", version=1)
    assert stores.schedules.delete("nightly", version=2)
    assert stores.schedules.get("nightly") is None
    assert not stores.schedules.delete("nightly", version=2)


def test_what_was_said_and_how_far_it_has_come_never_overwrite_each_other(stores: Stores) -> None:
    """A fire and a change at once: both stay."""
    stores.schedules.put(a_schedule(next_at=5.0), version=None)
    assert stores.schedules.advance("nightly", 5.0, 7.0, "job-1")
    assert not stores.schedules.advance("nightly", 5.0, 7.0, "job-2")
    changed = stores.schedules.put(a_schedule(timing="0 3 * * *", next_at=8.0), version=1)
    assert changed == a_schedule(timing="0 3 * * *", next_at=8.0, version=2, last_at=5.0, last_job="job-1")
    assert stores.schedules.advance("nightly", 8.0, None, None)
    assert stores.schedules.get("nightly") == replace(changed, next_at=None, last_at=8.0)
    stores.schedules.ran("nightly", 9.0, "job-3")
    assert stores.schedules.get("nightly") == replace(changed, next_at=None, last_at=9.0, last_job="job-3")
    stores.schedules.ran("nobody", 9.0, "job-3")
    assert stores.schedules.get("nobody") is None
    assert not stores.schedules.advance("nobody", 9.0, None, None)


def test_a_fire_is_decided_once(stores: Stores) -> None:
    """Whoever comes second learns what the first one has decided."""
    decisions = race(4, lambda i: stores.schedules.decide(a_fire(reason=f"by {i}"), NOW + 100))
    assert len({d.reason for d in decisions}) == 1
    assert stores.schedules.fired_at("nightly", 1_770_000_000.0) == decisions[0]
    assert stores.schedules.fired_at("nightly", 1_770_000_060.0) is None


def test_fires_are_told_newest_first_with_those_that_somebody_asked_for(stores: Stores) -> None:
    at = 1_770_000_000.0
    for fire in (a_fire(), a_fire(at=at + 60), a_fire(at=at + 30.25, by="bob", job="job-2")):
        stores.schedules.decide(fire, NOW + 100)
    assert [f.at for f in stores.schedules.fired("nightly")] == [at + 60, at + 30.25, at]
    assert [f.at for f in stores.schedules.fired("nightly", 1)] == [at + 60]
    stores.schedules.refuse(a_fire(), "no such pool")
    refused = stores.schedules.fired_at("nightly", at)
    assert refused is not None
    assert (refused.outcome, refused.reason, refused.job) == ("refused", "no such pool", "job-1")


def test_the_agenda_gives_what_is_due_by_time(stores: Stores) -> None:
    """A time within a second is due at its end: never too early."""
    items = [item(100.5, "job", f"job-{n}") for n in range(40)] + [
        item(100, "schedule", "nightly"),
        item(1e9, "job", "z"),
    ]
    stores.agenda.put(items)
    stores.agenda.put(items[:1])
    assert stores.agenda.due(99.9, 100) == []
    assert stores.agenda.due(100.9, 100) == [item(100, "schedule", "nightly")]
    assert len(stores.agenda.due(101, 100)) == 41
    assert len(stores.agenda.due(101, 7)) == 7
    stores.agenda.remove(items[:40])
    stores.agenda.remove(items[:1])
    assert stores.agenda.due(2e9, 100) == [item(100, "schedule", "nightly"), item(1e9, "job", "z")]
