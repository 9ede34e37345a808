"""What every family of stores promises about hosts and launches (chalicelib/store/ports)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from store_records import NOW, a_host, a_launch, an_assignment, race

from chalicelib.core.host import TRANSITIONS, WORKING, Host, HostEvent, HostState
from chalicelib.core.installs import Installed
from chalicelib.store.ports import HOST_FACTS, Stores

LATER = NOW + 7.25
KEY = an_assignment().key


def move(stores: Stores, host: Host, event: HostEvent, **facts: object) -> Host | None:
    return stores.hosts.move(host.pool, host.id, event, **{"at": LATER, "reason": "because", **facts})  # type: ignore[arg-type]


def test_what_was_created_is_read_back(stores: Stores) -> None:
    """Every field of a host survives, with each field of its assignments."""
    carried = (
        an_assignment(1, inline=True, accepted_at=NOW + 0.1, started_at=NOW + 0.2, cancel=True, cpu=0.1 + 0.2),
        an_assignment(2, attempt=3),
    )
    host = a_host(
        generation=2,
        instance_id="i-1",
        userid="AROA:i-1",
        ready_at=NOW,
        seen_at=NOW + 1e-6,
        freed_at=NOW,
        rung_at=0.0,
        retire_sent_at=NOW,
        interrupt_at=NOW,
        rebalance_at=NOW - 1,
        missed_lists=1,
        domain="alice",
        reason="told",
        assignments=carried,
    )
    stores.hosts.create([host])
    assert stores.hosts.get("p", host.id) == host
    assert stores.hosts.get("other", host.id) is None


def test_a_host_that_speaks_for_the_first_time_is_registered_once(stores: Stores) -> None:
    """Its first ping may come twice: the second must not take away what the host was given meanwhile."""
    host = a_host(id="host-i-1", instance_id="i-1", userid="AROA:i-1")
    assert stores.hosts.register(host)
    assert stores.hosts.assign(host.pool, host.id, an_assignment())
    assert not stores.hosts.register(host)
    found = stores.hosts.get(host.pool, host.id)
    assert found is not None
    assert [a.key for a in found.assignments] == [KEY]


def test_a_host_is_found_by_its_instance_whatever_its_pool(stores: Stores) -> None:
    """As it is now; one without instance is found by none."""
    host, other = a_host(0), replace(a_host(1), pool="other")
    stores.hosts.create([host, other, a_host(2)])
    assert stores.hosts.record("other", other.id, "i-1", "AROA:i-1", LATER)
    (found,) = stores.hosts.of_instance("i-1")
    assert found == stores.hosts.get("other", other.id)
    assert stores.hosts.of_instance("i-2") == []
    stores.hosts.forget("other", [other.id])
    assert stores.hosts.of_instance("i-1") == []


def test_a_pool_is_read_whole(stores: Stores) -> None:
    """More hosts than one batch or one page of 1 MiB holds, and launches beside them; another pool's rows stay out."""
    hosts = [a_host(n) for n in range(60)]
    launches = [a_launch(n, user_data=b"\x00" * 200_000) for n in range(7)]
    stores.hosts.create(hosts)
    stores.hosts.create([a_host(1, pool="other")])
    for launch in launches:
        assert stores.hosts.put_launch(launch)
    assert stores.hosts.of_pool("p") == (hosts, launches)
    assert stores.hosts.of_pool("empty") == ([], [])


def test_a_launch_is_put_once_and_settled_once(stores: Stores) -> None:
    """The exact request is kept until it is settled; then the user data is gone and a second settling is told so."""
    launch = a_launch()
    assert stores.hosts.put_launch(launch)
    assert not stores.hosts.put_launch(a_launch(user_data=b"other"))
    assert stores.hosts.of_pool("p") == ([], [launch])
    assert stores.hosts.settle_launch(launch, LATER)
    assert not stores.hosts.settle_launch(launch, LATER)
    assert not stores.hosts.settle_launch(a_launch(5), LATER)
    assert stores.hosts.of_pool("p") == ([], [replace(launch, recorded=True, user_data=b"")])


def test_one_of_two_functions_sends_a_launch_again(stores: Stores) -> None:
    """Whoever says first that it sends it has it; who read the row before that does not, and nobody once it is settled."""
    launch = a_launch()
    stores.hosts.put_launch(launch)
    again = replace(launch, sent_at=NOW + 36, doubt_at=NOW)
    assert race(2, lambda _: stores.hosts.resend_launch(launch, again)).count(True) == 1
    assert stores.hosts.of_pool("p") == ([], [again])
    once_more = replace(again, sent_at=NOW + 72)
    assert not stores.hosts.resend_launch(launch, once_more)
    assert not stores.hosts.resend_launch(a_launch(5), once_more)
    assert stores.hosts.resend_launch(again, once_more)
    stores.hosts.settle_launch(launch, LATER)
    assert not stores.hosts.resend_launch(once_more, replace(again, sent_at=NOW + 110))


def test_a_launch_is_narrowed_to_its_first_hosts_by_who_sends_it_and_nobody_else(stores: Stores) -> None:
    """One write: at every moment the row names exactly the hosts that may still be launched, and by which token."""
    launch = replace(a_launch(), hosts=("host-a-0", "host-a-1", "host-a-2"), doubt_at=NOW - 40)
    stores.hosts.put_launch(launch)
    narrower = replace(launch, hosts=launch.hosts[:1], tries=2, doubt_at=0.0)  # at the same moment by the clock
    assert race(2, lambda _: stores.hosts.narrow_launch(launch, narrower)).count(True) == 1
    assert stores.hosts.of_pool("p") == ([], [narrower])
    assert (launch.token, narrower.token) == (launch.id, f"{launch.id}-2")
    again = replace(narrower, sent_at=NOW + 36)
    assert not stores.hosts.resend_launch(launch, again)  # who read it before would ask for all of them again
    assert stores.hosts.resend_launch(narrower, again)
    assert not stores.hosts.narrow_launch(narrower, replace(narrower, tries=3))
    assert stores.hosts.settle_launch(narrower, LATER)
    assert not stores.hosts.narrow_launch(replace(narrower, sent_at=NOW + 36), replace(narrower, tries=3))


def test_a_launch_that_nobody_sends_is_released_by_who_sent_it(stores: Stores) -> None:
    launch = a_launch()
    stores.hosts.put_launch(launch)
    assert stores.hosts.release_launch(launch)
    assert not stores.hosts.release_launch(launch)
    released = replace(launch, sent_at=0.0)
    assert stores.hosts.of_pool("p") == ([], [released])
    assert stores.hosts.resend_launch(released, replace(launch, sent_at=NOW + 1))
    assert not stores.hosts.release_launch(released)
    stores.hosts.settle_launch(launch, LATER)
    assert not stores.hosts.release_launch(replace(launch, sent_at=NOW + 1))


def test_what_is_over_is_forgotten(stores: Stores) -> None:
    """Hosts and launches alike; what is not there is gone already, and nothing brings a forgotten row back."""
    host, launch = a_host(), a_launch()
    stores.hosts.create([host, replace(host, id="host-other")])
    stores.hosts.put_launch(launch)
    stores.hosts.forget(host.pool, [host.id, launch.id, "host-never"])
    stores.hosts.touch(host.pool, host.id, seen_at=LATER)
    hosts, launches = stores.hosts.of_pool(host.pool)
    assert [h.id for h in hosts] == ["host-other"]
    assert launches == []


def test_a_host_is_one_instance(stores: Stores) -> None:
    """The first instance recorded stays; the same again is fine, another is refused, and so is an unknown host."""
    stores.hosts.create([a_host()])
    assert stores.hosts.record("p", "host-0000", "i-1", "AROA:i-1", 1.0)
    assert stores.hosts.record("p", "host-0000", "i-1", "AROA:i-1", 1.0)
    assert not stores.hosts.record("p", "host-0000", "i-2", "AROA:i-2", 1.0)
    assert not stores.hosts.record("p", "host-none", "i-1", "AROA:i-1", 1.0)
    assert stores.hosts.get("p", "host-0000") == a_host(instance_id="i-1", userid="AROA:i-1", recorded_at=1.0)
    assert stores.hosts.get("p", "host-none") is None


def test_every_event_in_every_state(stores: Stores) -> None:
    """A write goes through exactly where the machine has a row; everywhere else nothing changes. HELLO tells when it was ready."""
    cases = [(state, event) for state in HostState for event in HostEvent]
    hosts = [a_host(n, state=state) for n, (state, _) in enumerate(cases)]
    stores.hosts.create(hosts)
    expected = list(hosts)
    for n, (state, event) in enumerate(cases):
        target = TRANSITIONS[state].get(event)
        if target is not None:
            heard = {"ready_at": LATER, "seen_at": LATER} if event is HostEvent.HELLO else {}
            expected[n] = a_host(n, state=target, entered_at=LATER, reason="because", **heard)
        answer = None if target is None else expected[n]
        assert move(stores, hosts[n], event) == answer, f"{state} × {event}"
    assert stores.hosts.of_pool("p") == (expected, [])


def test_an_unknown_host_is_not_created_by_the_way(stores: Stores) -> None:
    assert all(move(stores, a_host(), event) is None for event in HostEvent)
    assert not stores.hosts.assign("p", "host-0000", an_assignment())
    assert stores.hosts.unassign("p", "host-0000", KEY, LATER) is None
    assert not stores.hosts.mark("p", "host-0000", KEY, accepted_at=LATER)
    stores.hosts.touch("p", "host-0000", seen_at=LATER)
    assert stores.hosts.of_pool("p") == ([], [])


def test_an_empty_drain_needs_an_empty_host(stores: Stores) -> None:
    """With `empty`, a host that was given work meanwhile is not moved."""
    stores.hosts.create([a_host(1), a_host(2)])
    assert stores.hosts.assign("p", "host-0001", an_assignment())
    assert move(stores, a_host(1), HostEvent.DRAIN, empty=True) is None
    assert move(stores, a_host(2), HostEvent.DRAIN, empty=True) is not None
    assert stores.hosts.unassign("p", "host-0001", KEY, LATER) is not None
    assert move(stores, a_host(1), HostEvent.DRAIN, empty=True) is not None


def test_only_working_hosts_are_given_assignments(stores: Stores) -> None:
    hosts = [a_host(n, state=state) for n, state in enumerate(HostState)]
    stores.hosts.create(hosts)
    for host in hosts:
        assert stores.hosts.assign("p", host.id, an_assignment()) == (host.state in WORKING)
        stored = stores.hosts.get("p", host.id)
        assert stored is not None
        assert stored.assignments == ((an_assignment(),) if host.state in WORKING else ())


def test_an_assignment_is_set_once(stores: Stores) -> None:
    """The same attempt is not assigned again, another attempt of the same job is another assignment."""
    stores.hosts.create([a_host()])
    assert stores.hosts.assign("p", "host-0000", an_assignment(1))
    assert not stores.hosts.assign("p", "host-0000", an_assignment(1, cpu=9.0))
    assert stores.hosts.assign("p", "host-0000", an_assignment(1, attempt=2))
    host = stores.hosts.get("p", "host-0000")
    assert host is not None
    assert host.assignments == (an_assignment(1), an_assignment(1, attempt=2))


def test_unassigning_removes_one_and_sets_freed_at(stores: Stores) -> None:
    """The row then is the answer; once gone it is None, in whatever state the host is."""
    stores.hosts.create([a_host(assignments=(an_assignment(1), an_assignment(2)))])
    assert move(stores, a_host(), HostEvent.SICKEN) is not None
    host = stores.hosts.unassign("p", "host-0000", an_assignment(1).key, LATER)
    assert host is not None
    assert host.assignments == (an_assignment(2),)
    assert host.freed_at == LATER
    assert host == stores.hosts.get("p", "host-0000")
    assert stores.hosts.unassign("p", "host-0000", an_assignment(1).key, LATER + 1) is None
    assert host == stores.hosts.get("p", "host-0000")


def test_racing_writers_lose_no_assignment(stores: Stores) -> None:
    """Eight passes and pings at once on one host: each assignment given is there, each taken is gone, one attempt goes once."""
    stores.hosts.create([a_host(assignments=tuple(an_assignment(n) for n in range(4)))])
    given = race(8, lambda i: stores.hosts.assign("p", "host-0000", an_assignment(10 + i % 4)))
    assert sum(given) == 4
    taken = race(8, lambda i: stores.hosts.unassign("p", "host-0000", an_assignment(i % 4).key, LATER))
    assert sum(host is not None for host in taken) == 4
    host = stores.hosts.get("p", "host-0000")
    assert host is not None
    assert host.assignments == tuple(an_assignment(n) for n in range(10, 14))


def test_marking_sets_single_fields_of_what_is_carried(stores: Stores) -> None:
    stores.hosts.create([a_host(assignments=(an_assignment(),))])
    assert stores.hosts.mark("p", "host-0000", KEY, accepted_at=LATER)
    assert stores.hosts.mark("p", "host-0000", KEY, started_at=LATER + 1, cancel=True)
    assert not stores.hosts.mark("p", "host-0000", "job-none#1", cancel=True)
    host = stores.hosts.get("p", "host-0000")
    assert host is not None
    assert host.assignments == (an_assignment(accepted_at=LATER, started_at=LATER + 1, cancel=True),)
    with pytest.raises(ValueError, match="needs a field"):
        stores.hosts.mark("p", "host-0000", KEY)


def test_touching_sets_facts_and_nothing_else(stores: Stores) -> None:
    """Each fact alone or together, in any state; None removes; a misspelt fact is refused before it is written."""
    stores.hosts.create([a_host(state=HostState.TERMINATING)])
    facts = dict.fromkeys(HOST_FACTS, LATER) | {"missed_lists": 2, "holds": frozenset({"ab", "cd"})}
    stores.hosts.touch("p", "host-0000", **facts)
    assert stores.hosts.get("p", "host-0000") == a_host(state=HostState.TERMINATING, **facts)
    stores.hosts.touch("p", "host-0000", rung_at=None, missed_lists=0)
    expected = a_host(state=HostState.TERMINATING, **facts | {"rung_at": None, "missed_lists": 0})
    assert stores.hosts.get("p", "host-0000") == expected
    stores.hosts.touch("p", "host-0000")
    with pytest.raises(TypeError, match="sean_at"):
        stores.hosts.touch("p", "host-0000", sean_at=LATER)
    assert stores.hosts.get("p", "host-0000") == expected


def test_of_two_words_about_installs_the_later_one_stays(stores: Stores) -> None:
    """Pings overtake each other: an older word changes nothing, and neither does the same one twice."""
    host = a_host()
    stores.hosts.create([host])
    runs = Installed(version="a" * 64, name="setup.sh", state="running", tries=1, at=NOW, waiting=("job-1#1",))
    ready = replace(runs, state="ready", waiting=())
    assert stores.hosts.note_installs("p", host.id, (runs,), NOW)
    assert stores.hosts.note_installs("p", host.id, (ready,), LATER)
    assert not stores.hosts.note_installs("p", host.id, (runs,), NOW + 1)
    assert not stores.hosts.note_installs("p", host.id, (), LATER)
    assert not stores.hosts.note_installs("p", "host-none", (runs,), LATER)
    found = stores.hosts.get("p", host.id)
    assert found is not None
    assert found == replace(host, installs=(ready,), installs_at=LATER)
    assert stores.hosts.get("p", "host-none") is None


def test_of_racing_retirements_exactly_one_wins(stores: Stores) -> None:
    stores.hosts.create([a_host(state=HostState.DRAINING)])
    outcomes = race(8, lambda i: move(stores, a_host(), HostEvent.RETIRE, reason=f"by {i}"))
    winners = [host for host in outcomes if host is not None]
    assert len(winners) == 1
    assert stores.hosts.get("p", "host-0000") == winners[0]


def test_drain_against_assign_never_both_on_an_empty_host(stores: Stores) -> None:
    """A pass that drains an idle host and a pass that gives it work: one of them loses."""
    for n in range(5):
        stores.hosts.create([a_host(n)])
        drain, give = (
            lambda n=n: move(stores, a_host(n), HostEvent.DRAIN, empty=True) is not None,
            lambda n=n: stores.hosts.assign("p", f"host-{n:04d}", an_assignment()),
        )
        assert sum(race(2, lambda i, both=(drain, give): both[i]())) == 1  # type: ignore[misc]


def test_a_host_is_its_first_assignments_owners_and_another_may_follow_only_where_shared_and_empty(
    stores: Stores,
) -> None:
    """One conditional write says whose it is, so two passes cannot give it to two owners."""
    host = a_host(1, state=HostState.READY)
    stores.hosts.create([host])
    alices, bobs = an_assignment(1, owner="alice"), an_assignment(2, owner="bob")
    assert stores.hosts.assign("p", host.id, alices)
    assert not stores.hosts.assign("p", host.id, bobs)
    assert not stores.hosts.assign("p", host.id, bobs, share=True)
    stores.hosts.unassign("p", host.id, alices.key, 5.0)
    assert not stores.hosts.assign("p", host.id, bobs)
    assert stores.hosts.assign("p", host.id, bobs, share=True)
    found = stores.hosts.get("p", host.id)
    assert found is not None
    assert (found.domain, found.serves) == ("bob", "bob")
