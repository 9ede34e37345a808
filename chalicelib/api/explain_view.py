"""What tells people why: stories, whys, plans, and whether what must hold does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import UNSET, UnsetType

from chalicelib.api.view import View
from chalicelib.control.explain import Planned, Why
from chalicelib.core import ladder, plan_words
from chalicelib.core.plan import Action
from chalicelib.core.story import Line

WAITS_MAX = 100


class LineView(View, frozen=True, kw_only=True):
    """A line of a story."""

    at: float
    subject: str
    event: str
    reason: str


class StoryView(View, frozen=True, kw_only=True):
    """The lines of a story, the last 100, oldest first."""

    items: list[LineView]


class WhyView(View, frozen=True, kw_only=True):
    """Sentences, the most important first; `state` is null where the row is gone."""

    subject: str
    state: str | None
    at: float
    sentences: Sequence[str]


class BacklogView(View, frozen=True, kw_only=True):
    """How many entries the plan was made from; not `complete`: more wait."""

    seen: int
    complete: bool


class TargetView(View, frozen=True, kw_only=True):
    """How many hosts the policy wants, why, and the numbers that it was found with."""

    hosts: int
    why: str
    variables: Mapping[str, float]


class ActionView(View, frozen=True, kw_only=True):
    """One step of a plan; `words` is the whole of it as a sentence."""

    kind: str
    subject: str
    reason: str
    words: str
    hosts: list[str] | UnsetType = UNSET
    jobs: list[str] | UnsetType = UNSET


class WaitView(View, frozen=True, kw_only=True):
    """A job that the plan leaves waiting, and why."""

    job: str
    reason: str


class PlanView(View, frozen=True, kw_only=True):
    """What a pass would do now. `listed`: instances that EC2 listed, null where it did not answer."""

    pool: str
    at: float
    listed: int | None
    backlog: BacklogView
    target: TargetView | None
    actions: list[ActionView]
    supply: list[str]
    waits: list[WaitView]
    waits_more: int
    wake_at: float | None


class InvariantsView(View, frozen=True, kw_only=True):
    """Whether all holds that must, and what does not."""

    ok: bool
    broken: list[str]


def story(lines: Sequence[Line]) -> StoryView:
    """The lines of a story, oldest first."""
    return StoryView(items=[LineView(at=x.at, subject=x.subject, event=x.event, reason=x.reason) for x in lines])


def why(record: Why) -> WhyView:
    """Sentences, the most important first."""
    return WhyView(subject=record.subject, state=record.state, at=record.at, sentences=record.sentences)


def plan(record: Planned) -> PlanView:
    """A Plan document: the target, every action with the ids that it concerns and in words, who waits and why."""
    decided, seen = record.plan, record.snapshot
    target = decided.target
    return PlanView(
        pool=seen.pool.name,
        at=seen.now,
        listed=None if seen.listed is None else len(seen.listed),
        backlog=BacklogView(seen=len(seen.backlog), complete=seen.backlog_complete),
        target=TargetView(hosts=target.hosts, why=target.why, variables=target.variables) if target else None,
        actions=[_action(action) for action in decided.actions],
        supply=ladder.states(ladder.current(seen)),
        waits=[WaitView(job=entry.job, reason=reason) for entry, reason in decided.waits[:WAITS_MAX]],
        waits_more=max(0, len(decided.waits) - WAITS_MAX),
        wake_at=decided.wake_at,
    )


def _action(action: Action) -> ActionView:
    hosts, jobs = list(plan_words.hosts_of(action)), list(plan_words.jobs_of(action))
    return ActionView(
        kind=type(action).__name__.lower(),
        subject=plan_words.subject(action),
        reason=action.reason,
        words=plan_words.words(action),
        hosts=hosts or UNSET,
        jobs=jobs or UNSET,
    )
