"""Whatever order pings come in, and however often: what is known in the end is what was said last, and the newest two checkpoints."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.progress import KEPT_MAX, Kept, Progress, Said, dropped, heard


def a_story(draws: list[tuple[int, float | None, bool, bool]]) -> list[Said]:
    """What two attempts say, one ping after the other, a minute apart; each tells its last checkpoint again and again."""
    said, number, kept = [], 0, None
    for step, (attempt, percent, stalled, saves) in enumerate(sorted(draws, key=lambda draw: draw[0])):
        if kept is not None and kept.attempt != attempt:
            number, kept = 0, None
        if saves:
            number += 1
            kept = Kept(attempt=attempt, key=f"{attempt}/{number}", bytes=number, at=60.0 * step)
        said.append(Said(attempt=attempt, at=60.0 * step + 1, percent=percent, stalled=stalled, kept=kept))
    return said


pings = st.lists(
    st.tuples(st.sampled_from((1, 2)), st.sampled_from((None, 10.0, 20.0)), st.booleans(), st.booleans()),
    min_size=1,
    max_size=12,
).map(a_story)


@given(pings, st.randoms(use_true_random=False))
def test_the_newest_checkpoints_are_kept_and_the_last_word_stands(said: list[Said], chance: random.Random) -> None:
    """Lost are those alone that were never heard of; each that is dropped is told once, to be deleted."""
    mixed = [*said, *chance.sample(said, len(said) // 2)]
    chance.shuffle(mixed)
    known, gone = Progress(), []
    for one in mixed:
        now = heard(known, one, current=True)
        gone += dropped(known, one, now)
        assert heard(now, one, current=True) == now, "the same ping twice says nothing new"
        known = now
    made = sorted({one.kept for one in said if one.kept}, key=lambda kept: (kept.attempt, kept.at))
    assert known.kept == tuple(reversed(made[-KEPT_MAX:]))
    assert set(gone) == {kept.key for kept in made[:-KEPT_MAX]}
    last = said[-1]
    assert (known.attempt, known.percent) == (last.attempt, last.percent)
    assert (known.stalled_at is not None) == last.stalled


@given(pings)
def test_of_an_attempt_that_is_over_only_its_checkpoint_counts(said: list[Said]) -> None:
    """It may come from a host that is gone, while the job waits or runs elsewhere."""
    present = heard(Progress(), Said(attempt=3, at=5.0, percent=1.0, note="elsewhere"), current=True)
    for one in said:
        known = heard(present, one, current=False)
        assert (known.attempt, known.percent, known.note) == (3, 1.0, "elsewhere")
        assert known.kept == (() if one.kept is None else (one.kept,))
        nothing = heard(Progress(), one, current=False)
        assert nothing == Progress(kept=known.kept), "nor where nothing is known yet"


def test_it_has_stalled_since_it_was_first_said_and_moved_when_it_moved() -> None:
    first = heard(Progress(), Said(attempt=1, at=100.0, percent=5.0, moved_s=10.0), current=True)
    stalled = heard(first, Said(attempt=1, at=200.0, percent=5.0, moved_s=110.2, stalled=True), current=True)
    later = heard(stalled, Said(attempt=1, at=300.0, percent=5.0, moved_s=210.1, stalled=True), current=True)
    assert (stalled.moved_at, stalled.stalled_at) == (90.0, 200.0)
    assert later == stalled, "nothing is written for a ping that says the same"
    moved = heard(later, Said(attempt=1, at=400.0, percent=6.0, moved_s=1.0), current=True)
    assert (moved.moved_at, moved.stalled_at, moved.words) == (399.0, None, "6 %")
