"""What every family of stores promises about the backlog, claims, the registry and the story (chalicelib/store/ports)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from store_records import NOW, OFFERING, a_job, race

from chalicelib.core.backlog import Entry, entry_of, rank
from chalicelib.core.calendar import Booking
from chalicelib.core.pool import Pool, PoolSpec, Prospects, Supply
from chalicelib.core.settings import Defaults
from chalicelib.core.story import Line
from chalicelib.store.ports import Stores, Token

LATER = NOW + 7.25


def an_entry(number: int, **facts: object) -> Entry:
    return replace(entry_of(a_job(number)), **facts)  # type: ignore[arg-type]


# ---- Backlog


def test_the_head_of_the_backlog_is_in_order_of_rank(stores: Stores) -> None:
    """Whatever the order of the puts, and beyond the batch limit: priority, then virtual time; never more than asked for."""
    entries = [an_entry(n, rank=rank(n % 10, NOW + n, a_job(n).id)) for n in range(60)]
    shuffled = random.Random(1).sample(entries, len(entries))
    stores.backlog.put(shuffled[0])
    stores.backlog.put_many(shuffled[1:])
    stores.backlog.put(an_entry(99, pool="other"))
    in_order = sorted(entries, key=lambda entry: entry.rank)
    assert stores.backlog.head("p", 100) == in_order
    assert stores.backlog.head("p", 7) == in_order[:7]
    assert stores.backlog.head("empty", 7) == []


def test_the_same_rank_is_the_same_entry(stores: Stores) -> None:
    """Putting again replaces: a job that went back to pending has one entry, with its new attempt."""
    stores.backlog.put(an_entry(1))
    stores.backlog.put(an_entry(1, attempt=2))
    stores.backlog.put_many([an_entry(1, attempt=3), an_entry(1, attempt=4)])
    assert stores.backlog.head("p", 9) == [an_entry(1, attempt=4)]


def test_removed_entries_are_gone_whether_they_were_there_or_not(stores: Stores) -> None:
    entries = [an_entry(n) for n in range(60)]
    stores.backlog.put_many(entries)
    stores.backlog.remove([*entries[:55], an_entry(77), entries[0]])
    assert stores.backlog.head("p", 100) == entries[55:]
    assert not stores.backlog.has(entries[0])
    assert stores.backlog.has(entries[55])
    stores.backlog.remove([])


# ---- Claims


def test_of_many_takers_of_a_claim_exactly_one_wins(stores: Stores) -> None:
    """The agent and the control plane, eight at once: the winner alone is told so, and the claim names it."""
    takers = ["agent", "control"] * 4
    for attempt in range(1, 6):

        def take(i: int, attempt: int = attempt) -> bool:
            return stores.claims.take("AROA:i-1", "job-1", attempt, by=takers[i], at=NOW, expires_at=LATER)

        outcomes = race(8, take)
        assert sum(outcomes) == 1
        assert stores.claims.holder("AROA:i-1", "job-1", attempt) == takers[outcomes.index(True)]


def test_claims_are_of_one_host_and_one_attempt(stores: Stores) -> None:
    assert stores.claims.take("AROA:i-1", "job-1", 1, by="agent", at=NOW, expires_at=LATER)
    assert not stores.claims.take("AROA:i-1", "job-1", 1, by="agent", at=NOW, expires_at=LATER)
    assert stores.claims.take("AROA:i-1", "job-1", 2, by="control", at=NOW, expires_at=LATER)
    assert stores.claims.take("AROA:i-2", "job-1", 1, by="control", at=NOW, expires_at=LATER)
    assert stores.claims.holder("AROA:i-1", "job-1", 1) == "agent"
    assert stores.claims.holder("AROA:i-1", "job-2", 1) is None


# ---- Registry

SPEC = PoolSpec(offerings=(OFFERING,), hosts_max=3, slots_per_host=2)


def test_a_pool_is_created_once(stores: Stores) -> None:
    assert stores.registry.pool("p") is None
    assert stores.registry.put_pool("p", SPEC, version=None) == Pool(name="p", spec=SPEC)
    assert stores.registry.put_pool("p", PoolSpec(), version=None) is None
    assert stores.registry.put_pool("none", SPEC, version=1) is None
    assert stores.registry.put_pool("a", PoolSpec(), version=None) is not None
    assert stores.registry.pools() == [Pool(name="a", spec=PoolSpec()), Pool(name="p", spec=SPEC)]


def test_a_spec_is_replaced_only_in_the_version_that_was_read(stores: Stores) -> None:
    """Two operators at once: one wins, the other learns it. What passes noted is not touched."""
    stores.registry.put_pool("p", PoolSpec(), version=None)
    stores.registry.begin_pass("p")
    assert stores.registry.note_pass(
        "p", 1, list_due_at=LATER, wake_at=LATER, supply=Supply(skips={"us-east-1/*/c7i.large/spot": LATER})
    )
    noted = stores.registry.pool("p")
    assert noted is not None
    outcomes = race(4, lambda i: stores.registry.put_pool("p", replace(SPEC, hosts_max=10 + i), version=1))
    winners = [pool for pool in outcomes if pool is not None]
    assert len(winners) == 1
    assert winners[0] == replace(noted, spec=winners[0].spec, version=2) == stores.registry.pool("p")


def test_a_spec_is_written_together_with_what_it_was_made_of(stores: Stores) -> None:
    """Settings and the version of the stage's defaults belong to the spec; without them nothing is left of earlier ones."""
    said = {"linger_s": 5, "parameters": {"factor": 1.5}, "offerings": [{"region": "us-east-1"}], "image": None}
    stores.registry.put_pool("p", SPEC, version=None, settings=said, defaults_version=3)
    made = stores.registry.pool("p")
    assert made is not None
    assert (made.settings, made.defaults_version, made.version) == (said, 3, 1)
    assert stores.registry.begin_pass("p") == replace(made, pass_no=1)
    changed = stores.registry.put_pool("p", SPEC, version=1, settings={}, defaults_version=4)
    assert changed == replace(made, pass_no=1, version=2, settings={}, defaults_version=4) == stores.registry.pool("p")
    alone = stores.registry.put_pool("p", SPEC, version=2)
    assert alone == replace(made, pass_no=1, version=3, settings=None, defaults_version=0) == stores.registry.pool("p")


def a_booking(name: str, hour: float) -> Booking:
    return Booking(
        id=name, title=f"Exam {name}", starts_at=NOW + hour * 3600, ends_at=NOW + (hour + 1) * 3600, people=9
    )


def test_a_calendar_is_replaced_only_in_the_version_that_was_read(stores: Stores) -> None:
    """It shares the pool's version with the spec, and touches nothing else; a spec that is written later keeps it."""
    bookings = (a_booking("a", 1), replace(a_booking("b", 2), people=0, hosts=7, jobs_per_person_h=1.25))
    assert stores.registry.put_calendar("p", bookings, version=1) is None
    pool = stores.registry.put_pool("p", SPEC, version=None, settings={"hosts_max": 3}, defaults_version=1)
    assert pool is not None
    outcomes = race(4, lambda i: stores.registry.put_calendar("p", bookings[: i % 2 + 1], version=1))
    winners = [found for found in outcomes if found is not None]
    assert len(winners) == 1
    assert winners[0] == replace(pool, version=2, calendar=winners[0].calendar) == stores.registry.pool("p")
    booked = stores.registry.put_calendar("p", bookings, version=2)
    assert booked == replace(pool, version=3, calendar=bookings) == stores.registry.pool("p")
    stores.registry.put_pool("p", PoolSpec(), version=3)
    kept = stores.registry.pool("p")
    assert kept is not None
    assert kept.calendar == bookings


def test_who_is_looking_is_counted_until_it_expires(stores: Stores) -> None:
    """Each viewer once, each pool for itself; saying it again prolongs it. The count on the pool's row is no new version."""
    for n in range(5):
        stores.registry.looking("p", f"viewer-{n}", NOW + 60)
    stores.registry.looking("p", "viewer-0", NOW + 200)
    stores.registry.looking("other", "viewer-0", NOW + 60)
    assert stores.registry.lookers("p", NOW) == 5
    assert stores.registry.lookers("p", NOW + 59) == 5
    assert stores.registry.lookers("p", NOW + 61) == 1
    assert stores.registry.lookers("p", NOW + 201) == 0
    assert stores.registry.lookers("other", NOW) == 1
    assert stores.registry.lookers("none", NOW) == 0
    stores.registry.note_interest("p", 5)  # no such pool: nothing happens
    assert stores.registry.pools() == []
    stores.registry.put_pool("p", SPEC, version=None)
    stores.registry.note_interest("p", 5)
    assert stores.registry.pool("p") == Pool(name="p", spec=SPEC, interest=5)


def test_what_is_expected_of_spot_prices_is_kept_beside_the_spec(stores: Stores) -> None:
    prospects = Prospects(at=NOW, usd_h={"us-east-1/us-east-1a/c7i.large/spot": 0.031})
    stores.registry.note_prospects("p", prospects)  # no such pool: nothing happens
    assert stores.registry.pools() == []
    stores.registry.put_pool("p", SPEC, version=None)
    stores.registry.note_prospects("p", prospects)
    assert stores.registry.pool("p") == Pool(name="p", spec=SPEC, prospects=prospects)


def test_the_stages_defaults_are_replaced_only_in_the_version_that_was_read(stores: Stores) -> None:
    assert stores.registry.defaults() == Defaults()
    outcomes = race(4, lambda i: stores.registry.put_defaults(Defaults(version=1, settings={"linger_s": i}, by="a")))
    assert sorted(outcomes) == [False, False, False, True]
    second = Defaults(version=2, settings={"parameters": {"factor": 1.5}}, by="bob", at=LATER)
    assert stores.registry.put_defaults(second)
    assert stores.registry.defaults() == second
    assert not stores.registry.put_defaults(second)
    assert not stores.registry.put_defaults(Defaults(version=4))
    assert not stores.registry.put_defaults(Defaults(version=1))
    assert stores.registry.setting("pools") is None


def test_every_pass_has_a_number_of_its_own(stores: Stores) -> None:
    """Raising and reading is one write: racing passes of a pool never get the same number, and none is skipped."""
    assert stores.registry.begin_pass("none") is None
    assert stores.registry.pass_no("none") is None
    assert stores.registry.pools() == []
    stores.registry.put_pool("p", SPEC, version=None)
    assert stores.registry.pass_no("p") == 0
    passes = race(8, lambda _: stores.registry.begin_pass("p"))
    assert sorted(pool.pass_no for pool in passes if pool is not None) == list(range(1, 9))
    assert stores.registry.pass_no("p") == 8


def test_only_the_newest_pass_may_note_facts(stores: Stores) -> None:
    """A pass that was overtaken changes nothing."""
    stores.registry.put_pool("p", SPEC, version=None)
    stores.registry.begin_pass("p")
    assert stores.registry.note_pass(
        "p", 1, list_due_at=LATER, wake_at=LATER, supply=Supply(skips={"a/*/b/spot": LATER})
    )
    stores.registry.begin_pass("p")
    assert not stores.registry.note_pass("p", 1, list_due_at=1.0)
    assert not stores.registry.note_pass("p", 3, list_due_at=1.0)
    assert not stores.registry.note_pass("none", 1, list_due_at=1.0)
    noted = Pool(
        name="p", spec=SPEC, pass_no=2, list_due_at=LATER, wake_at=LATER, supply=Supply(skips={"a/*/b/spot": LATER})
    )
    assert stores.registry.pool("p") == noted
    assert stores.registry.note_pass("p", 2, wake_at=None, supply=Supply())
    assert stores.registry.pool("p") == replace(noted, wake_at=None, supply=Supply())
    assert stores.registry.note_pass("p", 2)
    assert not stores.registry.note_pass("p", 1)
    with pytest.raises(TypeError, match="wake_att"):
        stores.registry.note_pass("p", 2, wake_att=1.0)


def test_tokens_are_known_by_their_sum_and_put_once(stores: Stores) -> None:
    tokens = [
        Token(sha256="aa", role="admin", owner="ann", created_at=NOW, note="her laptop", by="bob"),
        Token(sha256="bb", role="submitter", owner="course/1", created_at=NOW, expires_at=1_800_000_000.0),
    ]
    assert all(map(stores.registry.put_token, tokens))
    assert not stores.registry.put_token(Token(sha256="aa", role="operator", owner="eve", created_at=NOW))
    assert stores.registry.token("aa") == tokens[0]
    assert stores.registry.token("bb") == tokens[1]
    assert stores.registry.token("cc") is None
    assert stores.registry.tokens() == tokens
    assert stores.registry.tokens("b") == tokens[1:]
    assert stores.registry.tokens("c") == []


def test_a_token_is_removed_once(stores: Stores) -> None:
    """Of several who revoke it at the same moment one is told that it did."""
    for _ in range(5):
        stores.registry.put_token(Token(sha256="aa", role="admin", owner="ann", created_at=NOW))
        assert sum(race(4, lambda _: stores.registry.remove_token("aa"))) == 1
        assert stores.registry.token("aa") is None
    assert not stores.registry.remove_token("bb")


def test_a_use_is_noted_unless_a_later_one_is(stores: Stores) -> None:
    """Eight processes that see a token in one moment write once; that it was used says nothing of what it may do."""
    note = stores.registry.note_use
    assert sum(race(8, lambda _: note("aa", NOW, before=NOW - 3600, expires_at=LATER))) == 1
    assert not note("aa", NOW + 3599, before=NOW - 1, expires_at=LATER)
    assert note("aa", NOW + 3600, before=NOW, expires_at=LATER)
    assert note("bb", NOW, before=NOW, expires_at=LATER)
    assert stores.registry.uses() == {"aa": NOW + 3600, "bb": NOW}
    assert stores.registry.tokens() == []
    assert stores.registry.token("aa") is None


def test_families_and_settings_are_json_objects(stores: Stores) -> None:
    """Each under its own name and kind; putting again replaces; what a caller does to its own dict later is not stored."""
    value = {"at": NOW, "list": [1, None, {"a": "ü"}], "n": 10**30, "yes": True}
    stores.registry.put_setting("canary", value)
    value["at"] = 0
    assert stores.registry.setting("canary") == {"at": NOW, "list": [1, None, {"a": "ü"}], "n": 10**30, "yes": True}
    stores.registry.put_setting("canary", {})
    assert stores.registry.setting("canary") == {}
    assert stores.registry.setting("none") is None


# ---- Story


def test_a_story_is_told_oldest_first(stores: Stores) -> None:
    """By time, whoever wrote first; beyond the batch limit; the last lines when there are more than asked for."""
    lines = [Line(at=NOW + n, subject="job-1", event="e", reason=f"line {n}") for n in range(60)]
    stores.story.append(lines[30:], LATER)
    stores.story.append([*lines[:30], Line(at=NOW, subject="job-10", event="e", reason="another's")], LATER)
    stores.story.append([], LATER)
    assert stores.story.of("job-1") == lines
    assert stores.story.of("job-1", limit=4) == lines[-4:]
    assert stores.story.of("job-2") == []


def test_lines_of_one_moment_are_all_kept(stores: Stores) -> None:
    """In their order within one call, and even when they are the same."""
    lines = [Line(at=NOW, subject="host-1", event="e", reason=f"line {n}") for n in range(12)]
    stores.story.append(lines, LATER)
    assert stores.story.of("host-1") == lines
    stores.story.append(lines, LATER)
    assert len(stores.story.of("host-1")) == 24


def test_a_jobs_story_is_no_job(stores: Stores) -> None:
    """Lines live beside the job under its id and are found neither as a job nor among a pool's jobs."""
    stores.jobs.put(a_job())
    stores.story.append([Line(at=NOW, subject=a_job().id, event="e", reason="r")], LATER)
    assert stores.jobs.get(a_job().id) == a_job()
    assert stores.jobs.of_pool("p") == ([a_job().id], None)
    assert len(stores.story.of(a_job().id)) == 1
