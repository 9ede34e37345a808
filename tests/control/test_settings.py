"""Runtime settings: one consistent spec for every pass, nothing lost in a race, nothing half done after a crash, everything told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from meddling import HERE, a_pool, meddled, story, wakes
from town import OFFERING, Crash, Town

from chalicelib.control import pools, reconcile_pool, settings, tick
from chalicelib.core.pool import PoolSpec
from chalicelib.core.settings import Defaults, effective, said
from chalicelib.errors import BadRequest, Conflict, NotFound, PreconditionFailed, StoreUnavailable


def test_a_change_is_in_force_from_the_next_pass_on_and_wakes_it() -> None:
    """No redeploy: the row is what a pass reads."""
    town = Town()
    town.run(5)
    before = a_pool(town)
    pools.patch(town.plane, "default", {"hosts_min": 2}, by="alice")
    town.run(5)
    assert a_pool(town).pass_no > before.pass_no
    assert len(town.cloud.compute.alive()) == 2


def test_what_was_said_is_kept_apart_from_what_is_inherited() -> None:
    town = Town()
    settings.patch_defaults(town.plane, {"linger_s": 30, "slo_wait_s": 10}, by="root")
    pool = pools.put(town.plane, "graders", {**HERE, "slo_wait_s": 60}, by="alice")
    assert (pool.spec.linger_s, pool.spec.slo_wait_s, pool.spec.hosts_max) == (30, 60, 20)
    assert pool.settings == {**HERE, "slo_wait_s": 60}
    back = pools.patch(town.plane, "graders", {"slo_wait_s": None}, by="alice")
    assert back.spec.slo_wait_s == 10
    assert back.settings == HERE


def test_a_put_replaces_all_that_was_said_and_a_patch_only_what_it_names() -> None:
    town = Town()
    pools.put(town.plane, "graders", {"linger_s": 5, "parameters": {}}, by="alice")
    assert pools.patch(town.plane, "graders", {"hosts_max": 9}, by="alice").settings == {
        "linger_s": 5,
        "parameters": {},
        "hosts_max": 9,
    }
    assert pools.put(town.plane, "graders", {"hosts_max": 4}, by="alice").settings == {"hosts_max": 4}


def test_a_pool_that_was_made_without_a_document_keeps_its_spec_when_patched() -> None:
    """Rows of before, and bootstrap's own, have a spec and no settings: what differs from our defaults was said."""
    town = Town(PoolSpec(offerings=(replace(OFFERING, instance_type="m7i.large"),), linger_s=7))
    spec = pools.patch(town.plane, "default", {"hosts_max": 3}, by="alice").spec
    assert (spec.linger_s, spec.hosts_max, spec.offerings[0].instance_type) == (7, 3, "m7i.large")


def test_every_change_is_told_with_who_and_which_version() -> None:
    town = Town()
    pools.put(town.plane, "graders", {"linger_s": 5}, by="alice")
    pools.patch(town.plane, "graders", {"linger_s": 120, "hosts_desired": 4}, by="bob")
    pools.patch(town.plane, "graders", {"linger_s": None, "hosts_desired": None}, by="carol")
    assert story(town, "pool/graders") == [
        "the pool was made (by alice, version 1)",
        "linger_s: 60 (inherited) → 5 (by alice, version 1)",
        "linger_s: 5 → 120 (by bob, version 2)",
        "hosts_desired: null (inherited) → 4 (by bob, version 2)",
        "linger_s: 120 → 60 (inherited) (by carol, version 3)",
        "hosts_desired: 4 → null (inherited) (by carol, version 3)",
    ]


def test_what_changes_nothing_is_no_new_version_and_no_story() -> None:
    town = Town()
    pool = pools.put(town.plane, "graders", {"linger_s": 5}, by="alice")
    lines = story(town, "pool/graders")
    assert pools.put(town.plane, "graders", {"linger_s": 5}, by="bob").version == pool.version
    assert pools.patch(town.plane, "graders", {"linger_s": 5, "image": None}, by="bob").version == pool.version
    assert story(town, "pool/graders") == lines


@pytest.mark.parametrize(
    ("change", "field"),
    [({"hosts_min": 9, "hosts_max": 3}, "hosts_min"), ({"hosts_desired": 30}, "hosts_desired")],
)
def test_a_contradiction_changes_nothing(change: dict[str, Any], field: str) -> None:
    town = Town()
    before = a_pool(town)
    with pytest.raises(BadRequest) as refusal:
        pools.patch(town.plane, "default", change, by="alice")
    assert refusal.value.faults[0].field == field
    assert a_pool(town) == before
    assert story(town) == []


def test_a_contradiction_with_what_is_inherited_is_found_too() -> None:
    """The pool says hosts_min, the stage hosts_max: neither document is wrong alone."""
    town = Town()
    settings.patch_defaults(town.plane, {"hosts_max": 5}, by="root")
    with pytest.raises(BadRequest, match="hosts_min: is 6, more than hosts_max, 5"):
        pools.patch(town.plane, "default", {"hosts_min": 6}, by="alice")
    pools.patch(town.plane, "default", {"hosts_min": 4}, by="alice")
    with pytest.raises(BadRequest, match=r"hosts_min: is 4, more than hosts_max, 3 \(in pool default\)"):
        settings.patch_defaults(town.plane, {"hosts_max": 3}, by="root")
    assert town.stores.registry.defaults().settings == {"hosts_max": 5}


def test_defaults_that_contradict_themselves_are_refused_though_no_pool_inherits_them() -> None:
    """The next pool that is made would."""
    town = Town()
    pools.patch(town.plane, "default", {"hosts_min": 1, "hosts_max": 2}, by="alice")
    with pytest.raises(BadRequest, match="hosts_min: is 9, more than hosts_max, 3"):
        settings.patch_defaults(town.plane, {"hosts_min": 9, "hosts_max": 3}, by="root")
    assert town.stores.registry.defaults() == Defaults()


def test_a_pool_that_is_not_there_can_be_put_and_not_patched() -> None:
    town = Town()
    for name in ("none", "Bad Name"):
        with pytest.raises(NotFound, match="no pool named"):
            pools.patch(town.plane, name, {"hosts_max": 1}, by="alice")
    with pytest.raises(BadRequest, match="is no name for a pool"):
        pools.put(town.plane, "Bad Name", {}, by="alice")
    assert pools.put(town.plane, "none", {}, by="alice").version == 1


# ---- Two writers


def test_a_change_of_another_version_than_was_read_is_refused() -> None:
    town = Town()
    pools.patch(town.plane, "default", {"linger_s": 5}, by="alice", version=1)
    for change in (pools.patch, pools.put):
        with pytest.raises(PreconditionFailed, match="is at version 2, not at version 1"):
            change(town.plane, "default", {"linger_s": 9}, by="bob", version=1)
    with pytest.raises(PreconditionFailed, match="does not exist"):
        pools.put(town.plane, "none", {}, by="bob", version=1)
    assert a_pool(town).spec.linger_s == 5
    assert town.stores.registry.pool("none") is None


def test_two_replacements_in_the_same_moment_one_wins_and_the_other_learns_it() -> None:
    town = Town()
    plane = meddled(town, "put_pool", lambda: pools.put(town.plane, "default", {"linger_s": 5}, by="bob"))
    with pytest.raises(Conflict, match="changed by somebody else"):
        pools.put(plane, "default", {"linger_s": 9}, by="alice")
    assert a_pool(town).spec.linger_s == 5
    assert not [line for line in story(town) if "alice" in line]


def test_two_patches_of_different_settings_in_the_same_moment_both_hold() -> None:
    """A patch says what it changes, so it is tried again on what the other one left."""
    town = Town()
    plane = meddled(town, "put_pool", lambda: pools.patch(town.plane, "default", {"linger_s": 5}, by="bob"))
    pools.patch(plane, "default", {"hosts_max": 9}, by="alice")
    assert (a_pool(town).spec.linger_s, a_pool(town).spec.hosts_max, a_pool(town).version) == (5, 9, 3)


def test_a_patch_that_always_loses_gives_up_with_a_sentence() -> None:
    town = Town()
    seconds = iter(range(100, 200))
    plane = meddled(
        town,
        "put_pool",
        lambda: pools.patch(town.plane, "default", {"linger_s": next(seconds)}, by="bob"),
        times=99,
    )
    with pytest.raises(Conflict, match="again and again"):
        pools.patch(plane, "default", {"hosts_max": 9}, by="alice")


def test_a_patch_of_the_version_that_was_read_is_not_tried_on_another() -> None:
    town = Town()
    plane = meddled(town, "put_pool", lambda: pools.patch(town.plane, "default", {"linger_s": 5}, by="bob"))
    with pytest.raises(PreconditionFailed):
        pools.patch(plane, "default", {"hosts_max": 9}, by="alice", version=1)
    assert a_pool(town).spec.hosts_max == 20


# ---- The stage's defaults


def test_defaults_reach_every_pool_that_said_nothing_else() -> None:
    town = Town()
    pools.put(town.plane, "graders", {"linger_s": 5}, by="alice")
    settings.patch_defaults(town.plane, {"linger_s": 30, "slo_wait_s": 12}, by="root")
    default, graders = a_pool(town), a_pool(town, "graders")
    assert (default.spec.linger_s, default.spec.slo_wait_s) == (30, 12)
    assert (graders.spec.linger_s, graders.spec.slo_wait_s) == (5, 12)
    assert story(town, "settings") == [
        "linger_s: 60 (inherited) → 30 (by root, version 1)",
        "slo_wait_s: 30 (inherited) → 12 (by root, version 1)",
    ]
    assert story(town, "pool/graders")[-1] == "slo_wait_s: 30 → 12 (by root in the stage's settings 1, version 2)"
    settings.patch_defaults(town.plane, {"linger_s": None}, by="root")
    assert (a_pool(town).spec.linger_s, a_pool(town, "graders").spec.linger_s) == (60, 5)


@pytest.mark.parametrize("calls", range(1, 8))
def test_a_crash_between_defaults_and_pools_is_repaired_by_the_tick(calls: int) -> None:
    """Wherever it dies: every pool is either as before with the old version or re-made, and after a tick all are re-made."""
    town = Town()
    for name in ("a", "b"):
        pools.put(town.plane, name, HERE, by="alice")
    left = calls

    def dies(table: Any) -> Any:
        class Dying:
            def __getattr__(self, name: str) -> Any:
                nonlocal left
                if name.startswith("put_"):
                    left -= 1
                    if left == 0:
                        raise Crash
                return getattr(table, name)

        return Dying()

    plane = replace(town.plane, stores=replace(town.stores, registry=dies(town.stores.registry)))
    try:
        settings.patch_defaults(plane, {"linger_s": 30}, by="root")
        crashed = False
    except Crash:
        crashed = True
    assert crashed == (calls <= 4)  # the defaults, and three pools
    wanted = town.stores.registry.defaults()
    for pool in town.stores.registry.pools():
        made_with = wanted.settings if pool.defaults_version == wanted.version else {}
        assert pool.spec == effective(made_with, said(pool))
    tick.run(town.plane)
    for pool in town.stores.registry.pools():
        assert pool.defaults_version == wanted.version == (0 if calls == 1 else 1)
        assert pool.spec == effective(wanted.settings, said(pool))
    assert "linger_s: 60 → 30 (by root in the stage's settings 1, version 2)" in story(town, "pool/b") or calls == 1


def test_a_pool_that_is_changed_while_defaults_change_is_re_made_from_both() -> None:
    """It read the old defaults and was written after the new ones: its version of them gives it away."""
    town = Town()
    plane = meddled(
        town, "put_pool", lambda: settings.patch_defaults(town.plane, {"linger_s": 30, "slo_wait_s": 9}, by="root")
    )
    pools.patch(plane, "default", {"linger_s": 5}, by="alice")
    tick.run(town.plane)
    pool = a_pool(town)
    assert (pool.spec.linger_s, pool.spec.slo_wait_s, pool.defaults_version) == (5, 9, 1)


def test_a_pool_that_is_changed_while_it_is_re_made_keeps_the_change() -> None:
    """The re-making read it before: it must not write back what the pool's operator has replaced."""
    town = Town()
    settings.patch_defaults(town.plane, {"slo_wait_s": 9}, by="root")
    older = replace(a_pool(town), defaults_version=0)
    pools.patch(town.plane, "default", {"linger_s": 5}, by="alice")
    settings.remake_older(town.plane, [older])
    assert (a_pool(town).spec.linger_s, a_pool(town).spec.slo_wait_s) == (5, 9)
    assert said(a_pool(town))["linger_s"] == 5


def test_every_pool_that_the_defaults_change_is_woken() -> None:
    town = Town()
    pools.put(town.plane, "other", HERE, by="alice")
    town.run(1)
    settings.patch_defaults(town.plane, {"slo_wait_s": 9}, by="root")
    assert wakes(town) == 2


def test_changes_that_contradict_each_other_in_the_same_moment_leave_a_pool_with_what_it_has() -> None:
    """Neither writer could see the other; the pool goes on with a spec that is valid, and says why."""
    town = Town()
    plane = meddled(town, "put_defaults", lambda: pools.patch(town.plane, "default", {"hosts_min": 8}, by="alice"))
    settings.patch_defaults(plane, {"hosts_max": 5}, by="root")
    pool = a_pool(town)
    assert (pool.spec.hosts_min, pool.spec.hosts_max, pool.defaults_version) == (8, 20, 1)
    assert "the pool keeps what it has: hosts_min is 8, more than hosts_max, 5" in story(town)[-1]
    version = pool.version
    tick.run(town.plane)
    assert a_pool(town).version == version  # and is not tried again every minute


def test_two_changes_of_the_defaults_in_the_same_moment_one_wins() -> None:
    town = Town()
    plane = meddled(town, "put_defaults", lambda: settings.patch_defaults(town.plane, {"linger_s": 5}, by="bob"))
    with pytest.raises(Conflict):
        settings.patch_defaults(plane, {"linger_s": 9}, by="alice")
    with pytest.raises(PreconditionFailed, match="at version 1, not 0"):
        settings.patch_defaults(town.plane, {"linger_s": 9}, by="alice", version=0)
    assert town.stores.registry.defaults().settings == {"linger_s": 5}
    assert a_pool(town).spec.linger_s == 5


def test_a_wake_or_a_story_that_cannot_be_written_does_not_undo_the_change() -> None:
    town = Town()

    class Silent:
        def append(self, lines: Any, expires_at: float) -> None:
            raise StoreUnavailable("throttled")

    plane = replace(town.plane, stores=replace(town.stores, story=Silent()))
    assert pools.patch(plane, "default", {"linger_s": 5}, by="alice").spec.linger_s == 5


DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "linger_s": st.integers(0, 9),
        "hosts_max": st.integers(10, 20),
        "hosts_min": st.integers(0, 10),
        "slo_wait_s": st.integers(1, 9),
        "image": st.sampled_from([None, "ami-12345678"]),
    },
)
NULLED = DOCUMENTS.map(lambda d: {k: None if v in (0, 10) else v for k, v in d.items()})


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "stage"]), NULLED), max_size=8))
def test_whatever_is_changed_every_spec_is_made_of_defaults_and_what_was_said(changes: list[Any]) -> None:
    """And pools never touch each other: what was said of one is said of one."""
    town = Town()
    mine: dict[str, dict[str, Any]] = {"a": {}, "b": {}, "stage": {}}
    for name in ("a", "b"):
        pools.put(town.plane, name, {}, by="alice")
    for name, change in changes:
        try:
            if name == "stage":
                settings.patch_defaults(town.plane, change, by="root")
            else:
                pools.patch(town.plane, name, change, by="alice")
        except BadRequest:
            continue
        for key, value in change.items():
            mine[name].pop(key, None)
            mine[name] |= {} if value is None else {key: value}
    for name in ("a", "b"):
        pool = a_pool(town, name)
        assert pool.settings == mine[name]
        assert pool.spec == effective(mine["stage"], mine[name])


def test_pools_of_one_stage_never_touch_each_others_hosts() -> None:
    """Each lists, launches and ends its own; what is set of one holds for one."""
    town = Town()
    settings.patch_defaults(town.plane, {"missed_pings_s": 86_400}, by="root")  # the town's idle agents say nothing
    pools.put(town.plane, "other", {**HERE, "hosts_min": 1, "linger_s": 5}, by="alice")
    pools.patch(town.plane, "default", {"hosts_min": 2}, by="alice")
    town.run(300)
    alive = town.cloud.compute.alive()
    assert sorted(machine.launch.pool for machine in alive) == ["default", "default", "other"]
    pools.patch(town.plane, "default", {"hosts_min": 0}, by="alice")
    town.run(1200)
    assert [machine.launch.pool for machine in town.cloud.compute.alive()] == ["other"]
    assert a_pool(town, "other").spec.hosts_min == 1


def test_what_a_pool_says_of_its_machines_reaches_ec2() -> None:
    """Image and launch template, from the next launch on."""
    town = Town()
    town.cloud.facts.images["ami-12345678"] = "x86_64"
    town.cloud.facts.templates["graders:3"] = "ami-12345678"
    pools.patch(town.plane, "default", {"image": "ami-12345678", "launch_template": "graders:3"}, by="alice")
    town.submit()
    town.run(5)
    (machine,) = town.cloud.compute.alive()
    assert (machine.launch.image, machine.launch.template) == ("ami-12345678", "graders:3")


def test_passes_of_a_pool_that_asks_for_it_log_what_they_planned(caplog: pytest.LogCaptureFixture) -> None:
    """And those of other pools in the same process do not."""
    town = Town()
    pools.put(town.plane, "loud", {**HERE, "hosts_min": 1, "debug_logging": True}, by="alice")
    pools.patch(town.plane, "default", {"hosts_min": 1}, by="alice")
    reconcile_pool.run(town.plane, "loud")
    assert [r for r in caplog.records if r.levelname == "DEBUG" and r.message == "planned"]
    caplog.clear()
    reconcile_pool.run(town.plane, "default")
    assert not [r for r in caplog.records if r.levelname == "DEBUG"]


def test_defaults_that_nobody_set_cost_a_tick_one_read() -> None:
    town = Town()
    before = a_pool(town)
    tick.run(town.plane)
    assert a_pool(town) == before
    assert town.stores.registry.defaults() == Defaults()
