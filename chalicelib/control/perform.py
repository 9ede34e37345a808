"""Performs a plan. One method for one kind of action; each expects to find that its work is done already, or that it lost the race."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from typing import Any
from zlib import crc32

from chalicelib.control import arrays, gangs, handover, launches, settle
from chalicelib.control.elements import Elements
from chalicelib.control.launch_answers import ROW_TTL_S, Launched
from chalicelib.control.notices import notify
from chalicelib.control.tokens import Tokens
from chalicelib.core import backoff, story
from chalicelib.core import plan as do
from chalicelib.core.backlog import Entry
from chalicelib.core.consistency import RESUME_AFTER_S
from chalicelib.core.doorbell import RING_AGAIN_S
from chalicelib.core.groups import SKIP_S, group_key, of_group
from chalicelib.core.host import ADOPTED, Host, HostEvent, HostState, Offering
from chalicelib.core.job import Job, JobEvent
from chalicelib.core.plan import Plan
from chalicelib.core.pool import Pool
from chalicelib.core.rationing import throttled_until
from chalicelib.core.waits import by_turns
from chalicelib.errors import CapacityRefused, CloudUnavailable
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

RING_REFUSED_RETRY_S = 2.0  # a host that Run Command does not know yet will be known soon
RESIZE_AGAIN_S = 5.0
OVERTIME_S = 6.0  # past its time, a pass may take for the action that it is at: no more is begun that would last longer
WAITS_TOLD_MAX = 25  # rows a pass, a write each
_NUMBERS = re.compile(r"[\d.:]+")
WAITS_TOLD_AGAIN_S = 60.0


class Performer:
    """Performs one pass's plan for one pool; `outcomes` counts what happened. `tokens`: for the plan's launches."""

    def __init__(
        self,
        plane: Plane,
        pool: Pool,
        pass_no: int,
        until: float = math.inf,
        tokens: Tokens | None = None,
        carried: frozenset[str] = frozenset(),
    ) -> None:
        self.plane = plane
        self.pool = pool
        self.pass_no = pass_no
        self.until = until  # no action is begun later than that
        self.outcomes: Counter[str] = Counter()
        self.tokens = tokens or Tokens(plane)
        self.elements = Elements(plane, carried)
        self.skips: dict[str, float] = {}
        self.supply = pool.supply  # … with how EC2 answered this pass
        self.again = False  # whether another pass has something to do at once
        self.retry_at: float | None = None  # when another one has
        self._jobs: dict[str, Job] = {}
        self._untold: dict[
            str, None
        ] = {}  # hosts from which a gang's member was taken back: their agents wait for a go
        self._expired: set[str] = set()
        self._retired: dict[str, list[str]] = {}
        self._lowering: set[str] = set()  # … whose capacity was to be lowered, and nobody knows whether it is
        self._left: Counter[str] = Counter()  # Auto Scaling group → how many of its hosts have left it
        self.asked: dict[str, float] = {}

    def perform(self, plan: Plan) -> None:
        """All actions in order. An action that AWS failed does not stop the others: the next pass plans it again."""
        longest_s = 0.0
        for action in plan.actions:
            began = self.plane.clock()
            if began > self.until or began + longest_s > self.until + OVERTIME_S:
                self.outcomes["out of time"] += 1
                self.again = True
                break
            method = _METHODS[type(action)]
            if isinstance(action, do.Ring):
                self.elements.advance()
            try:
                outcome = method(self, action)
            except CloudUnavailable as error:
                outcome = "unavailable"
                if isinstance(action, do.Start | do.Resume | do.Gather):
                    self._look_again(self.plane.clock() + RESUME_AFTER_S + 1.0)  # its launch row says the rest
                if isinstance(action, do.Resize):
                    self._look_again(self.plane.clock() + RESIZE_AGAIN_S)  # asking twice asks for no more
                log.warning("an action failed", extra={"action": type(action).__name__, "error": str(error)})
            self.outcomes[f"{type(action).__name__.lower()}:{outcome}"] += 1
            self.elements.let_go()
            longest_s = max(longest_s, self.plane.clock() - began)
        self.elements.advance()
        if self._untold:
            self._ring_untold()
        for region, instance_ids in self._retired.items():
            self._terminate(region, instance_ids)
        for entry, sentence in by_turns(plan.waits, self.pass_no, WAITS_TOLD_MAX):
            self._wait(entry, sentence)

    # -- repairs

    def resume(self, action: do.Resume) -> str:
        if self._backs_off():
            return "throttled"
        launched = launches.resume(self.plane, action.launch, self.pass_no, self.tokens)
        return "lost" if launched is None else self._launched(action.launch.offering, launched)

    def adopt(self, action: do.Adopt) -> str:
        """A row that is terminating from its first moment: so the instance is terminated again and again until EC2 agrees."""
        found, now = action.instance, self.plane.clock()
        host = Host(
            id=f"{ADOPTED}{found.id}",
            pool=self.pool.name,
            state=HostState.TERMINATING,
            offering=Offering(region=found.region, instance_type=found.instance_type),
            launch=found.launch,
            launch_index=found.launch_index,
            cpu=0.0,
            memory_mib=0,
            slots=0,
            launched_at=found.launched_at,
            entered_at=now,
            retire_sent_at=now,
            instance_id=found.id,
            # A host of a group that never spoke counts as a boot that failed, as one that was launched by name does.
            userid=f"{self.plane.settings.host_role_id}:{found.id}" if of_group(found.launch) else None,
            reason=action.reason,
        )
        self.plane.stores.hosts.create([host])
        self.plane.tell(story.of_pool(self.pool.name), "adopted", action.reason)
        notify(
            self.plane,
            "orphan_terminated",
            "warning",
            subject=action.instance.id,
            reason=action.reason,
            pool=self.pool.name,
        )
        self._let_go(found.launch, found.region, found.id)
        return "terminating"

    def missed(self, action: do.Missed) -> str:
        self.plane.stores.hosts.touch(self.pool.name, action.host.id, missed_lists=action.missed_lists)
        return "noted"

    def vanish(self, action: do.Vanish) -> str:
        host = self._move(action.host, HostEvent.VANISH, action.reason)
        for assignment in host.assignments if host else ():
            settle.gone(self.plane, host or action.host, assignment, action.reason)
            self.again = True
        return "done" if host else "lost"

    def settle(self, action: do.Settle) -> str:
        job = settle.gone(self.plane, action.host, action.assignment, action.reason)
        self.again = True
        return str(job.state) if job else "stale"

    def reclaim(self, action: do.Reclaim) -> str:
        job = settle.reclaim(self.plane, action.host, action.assignment, action.reason)
        self.again = True
        if action.assignment.rank is not None:
            self._untold[action.host.id] = None
        return str(job.state) if job else "began"

    # -- hosts

    def sicken(self, action: do.Sicken) -> str:
        return self._simple(action.host, HostEvent.SICKEN, action.reason)

    def drain(self, action: do.Drain) -> str:
        return self._simple(action.host, HostEvent.DRAIN, action.reason)

    def recapture(self, action: do.Recapture) -> str:
        return self._simple(action.host, HostEvent.RECAPTURE, action.reason)

    def retire(self, action: do.Retire) -> str:
        """Row first, EC2 second; only an empty host, unless it is not trusted."""
        host = action.host
        if host.state is not HostState.TERMINATING:
            empty = host.state in (HostState.READY, HostState.DRAINING)
            if self._move(host, HostEvent.RETIRE, action.reason, empty=empty) is None:
                return "lost"
        if host.instance_id is not None:
            self._let_go(host.launch, host.offering.region, host.instance_id)
            self.plane.stores.hosts.touch(self.pool.name, host.id, retire_sent_at=self.plane.clock())
        return "asked"

    # -- work

    def expire(self, action: do.Expire) -> str:
        """Job, then backlog. A job that is on a host by now keeps it."""
        entry = action.entry
        if entry.of is not None:
            if entry.of.job not in self._expired:  # all of its elements, at once
                self._expired.add(entry.of.job)
                arrays.expire(self.plane, entry.of.job)
            return "expired"
        job = self.plane.stores.jobs.get(entry.job)
        current = job is not None and job.attempt == entry.attempt
        ended = settle.skip(self.plane, job, action.reason) if job is not None and current else None
        self.plane.stores.backlog.remove([entry])
        return "skipped" if ended else "job_lost"

    def assign(self, action: do.Assign) -> str:
        """Host, then job, then backlog."""
        now, stores = self.plane.clock(), self.plane.stores
        entry = self.elements.bind(action.entry)
        if entry is None:
            return "over"
        key = f"{entry.job}#{entry.attempt}"
        one, share = launches.assignment_of(entry, now, inline=False), self.pool.spec.share_hosts
        if not stores.hosts.assign(self.pool.name, action.host, one, share=share):
            host = stores.hosts.get(self.pool.name, action.host)
            if host is None or all(a.key != key for a in host.assignments):
                self.again = True
                return "host_lost"
        if entry.of is not None:
            return self._make(entry, action, now)
        job = stores.jobs.move(
            entry.job,
            JobEvent.ASSIGN,
            attempt=entry.attempt,
            at=now,
            reason=f"assigned to {action.host}: {action.reason}",
            host=action.host,
        ) or stores.jobs.get(entry.job)
        if job is None and now - entry.queued_at < launches.UNWRITTEN_S:
            stores.hosts.unassign(self.pool.name, action.host, key, now)
            self._look_again(now + 1.0)
            return "unwritten"
        stores.backlog.remove([entry])
        if job is None or job.attempt != entry.attempt or job.host != action.host or job.ended:
            stores.hosts.unassign(self.pool.name, action.host, key, now)
            return "job_lost"
        self._jobs[job.id] = job
        return "assigned"

    def _make(self, entry: Entry, action: do.Assign, now: float) -> str:
        """The host carries an element of an array; its job comes into being here."""
        job = self.elements.make(entry, action.host, now, f"assigned to {action.host}: {action.reason}")
        if job is None:
            self.plane.stores.hosts.unassign(self.pool.name, action.host, f"{entry.job}#{entry.attempt}", now)
            self.again = True
            return "job_lost"
        self._jobs[job.id] = job
        return "assigned"

    def start(self, action: do.Start) -> str:
        """Unless a newer pass has begun: that one may not have seen these hosts, and launches for the same reasons."""
        if self._backs_off():
            self._wait_all(
                (entry for load in action.loads for entry in load), throttled_until(self.supply.backoff_until)
            )
            return "throttled"
        if self.plane.stores.registry.pass_no(self.pool.name) != self.pass_no:
            return "overtaken"
        bound = self._bound(action)
        if bound is None:
            return "unneeded"
        launched = launches.start(self.plane, self.pool, bound, self.pass_no, self.tokens, self.elements)
        return self._launched(action.offering, launched)

    def _bound(self, action: do.Start) -> do.Start | None:
        """The same launch with the elements that are next; None where all that it was for is over."""
        loads = tuple(tuple(filter(None, map(self.elements.bind, load))) for load in action.loads)
        return replace(action, loads=loads) if any(loads) or not any(action.loads) else None

    def gather(self, action: do.Gather) -> str:
        """A launch only as `start` makes one; the rest at once."""
        if action.missing and self._backs_off():
            self._wait(action.entry, throttled_until(self.supply.backoff_until))
            return "throttled"
        if self.plane.stores.registry.pass_no(self.pool.name) != self.pass_no:
            return "overtaken"
        placed = gangs.gather(self.plane, self.pool, action, self.pass_no, self.tokens)
        if placed.outcome == "unwritten":
            self._look_again(self.plane.clock() + 1.0)
        self.again |= placed.outcome in ("host_lost", "job_lost")
        if placed.job is not None:
            self._jobs[placed.job.id] = placed.job
        if placed.launched is not None and action.offering is not None:
            return self._launched(action.offering, placed.launched)
        return placed.outcome

    def go(self, action: do.Go) -> str:
        """The job's own move is the go; then all of its hosts are told."""
        moved = self.plane.stores.jobs.move(
            action.job,
            JobEvent.START,
            attempt=action.attempt,
            at=self.plane.clock(),
            reason=f"runs on {len(action.hosts)} hosts: {action.reason}",
            userid=action.hosts[0].userid,
            peers=action.addresses,
        )
        if moved is None:
            self.again = True
            return "lost"
        self._jobs[moved.id] = moved
        self.ring(do.Ring(tuple(host.id for host in action.hosts), action.reason))
        return "told"

    def halt(self, action: do.Halt) -> str:
        if not self.plane.stores.hosts.mark(self.pool.name, action.host.id, action.assignment.key, cancel=True):
            return "gone"
        self._untold[action.host.id] = None
        return "flagged"

    def resize(self, action: do.Resize) -> str:
        """When more was asked for is written first, and only while no newer pass has begun: what is on its way is old from then on."""
        key, raises = group_key(action.region, action.group), action.desired > action.before
        if raises and self._lowering:
            return "held back"  # what was to be given up may still come, and both together may be more than the pool's maximum
        asked = {**self.pool.asked, **self.asked, key: action.asked_at}
        if not self.plane.stores.registry.note_pass(self.pool.name, self.pass_no, asked=asked):
            return "overtaken"
        self.asked = asked
        skip = self.plane.clock() + SKIP_S
        gave_up = action.gave_up
        if not raises:
            self._lowering.add(key)
        try:
            self.plane.cloud.groups.resize(action.region, action.group, max(0, action.desired - self._left[key]))
        except CapacityRefused as error:
            self._lowering.discard(key)
            self.plane.tell(story.of_pool(self.pool.name), "refused", str(error))
            return "refused"
        finally:
            for offering in gave_up:
                self.skips[offering.asked_with(self.pool.spec.image, self.pool.spec.launch_template)] = skip
        self._lowering.discard(key)
        if gave_up:
            self.plane.tell(
                story.of_pool(self.pool.name), "refused", f"group {action.group} was given up: {action.reason}"
            )
        return "asked" if raises else "lowered"

    def dismiss(self, action: do.Dismiss) -> str:
        return "dismissed" if self._left_group(action.group, action.region, action.instance_id) else "unknown"

    def ring(self, action: do.Ring) -> str:
        """Inboxes first, then the doorbells, region by region."""
        by_region: dict[str, list[Host]] = {}
        hosts = [self.plane.stores.hosts.get(self.pool.name, host_id) for host_id in action.hosts]
        wanted = {a.job for host in hosts if host for a in host.assignments} - self._jobs.keys()
        self._jobs.update(self.plane.stores.jobs.get_many(wanted) if wanted else {})
        there_are = [h for h in hosts if h and h.instance_id and h.state in (HostState.READY, HostState.DRAINING)]
        for host, written in handover.write_inboxes(
            self.plane, there_are, self._jobs, self.pass_no, share=self.pool.spec.share_hosts
        ):
            for key in written.stale:
                self.plane.stores.hosts.unassign(host.pool, host.id, key, self.plane.clock())
            self.again |= settle.unfit(self.plane, host, written.refused)
            by_region.setdefault(host.offering.region, []).append(host)
        for region, there in by_region.items():
            self._ring_region(region, there)
        return "rung"

    def wipe(self, action: do.Wipe) -> str:
        """As the row is now: what was given to it meanwhile stays in its inbox."""
        host = self.plane.stores.hosts.get(self.pool.name, action.host.id)
        if host is None or host.userid is None:
            return "gone"
        jobs = self.plane.stores.jobs.get_many({a.job for a in host.assignments}) if host.assignments else {}
        list(handover.write_inboxes(self.plane, [host], jobs, self.pass_no, share=self.pool.spec.share_hosts))
        return "wiped"

    def _ring_untold(self) -> None:
        """Where that fails, the inbox says it at the next look into it."""
        try:
            self.ring(do.Ring(tuple(self._untold), "what they wait for will not come"))
        except CloudUnavailable as error:
            log.warning("hosts could not be told that a gang was taken back", extra={"error": str(error)})

    def _ring_region(self, region: str, hosts: list[Host]) -> None:
        refused = set(self.plane.cloud.compute.ring(region, [h.instance_id for h in hosts if h.instance_id]))
        now = self.plane.clock()
        if refused:
            self._look_again(now + RING_REFUSED_RETRY_S)
        for host in hosts:
            late = RING_AGAIN_S - RING_REFUSED_RETRY_S if host.instance_id in refused else 0.0
            self.plane.stores.hosts.touch(host.pool, host.id, rung_at=now - late)

    # -- shared steps

    def _look_again(self, at: float) -> None:
        self.retry_at = at if self.retry_at is None else min(self.retry_at, at)

    def _backs_off(self) -> bool:
        return self.plane.clock() < self.supply.backoff_until

    def _wait_all(self, entries: Iterable[Entry], sentence: str) -> None:
        for entry in islice(entries, WAITS_TOLD_MAX):
            self._wait(entry, sentence)

    def _wait(self, entry: Entry, sentence: str) -> None:
        """Say what a job waits for; not again at each pass, of which there may be several a second, for another number in it."""

        def tell() -> bool:
            if entry.of is not None:
                self.plane.stores.arrays.wait_for(entry.of.job, sentence)
            else:
                self.plane.stores.jobs.wait_for(entry.job, entry.attempt, sentence)
            return True

        who = entry.of.job if entry.of is not None else f"{entry.job}#{entry.attempt}"
        told = f"waits/{who}/{_NUMBERS.sub('', sentence)}"
        self.plane.recall.get(told, self.plane.clock(), WAITS_TOLD_AGAIN_S, tell)

    def _terminate(self, region: str, instance_ids: list[str]) -> None:
        """The rows say `terminating` already: if AWS does not answer now, a later pass asks again."""
        try:
            self.plane.cloud.compute.terminate(region, instance_ids)
        except CloudUnavailable as error:
            log.warning("a termination failed", extra={"instances": instance_ids, "error": str(error)})

    def _let_go(self, launch: str, region: str, instance_id: str) -> None:
        """Terminate an instance whose row says so: with all others at the end, or, as Auto Scaling takes only one at a time, at once."""
        if not of_group(launch) or not self._left_group(launch, region, instance_id):
            self._retired.setdefault(region, []).append(instance_id)

    def _left_group(self, group: str, region: str, instance_id: str) -> bool:
        """False for one that is in no group any more. Raises CloudUnavailable: then it counts as gone, as too few hosts are mended sooner
        than too many."""
        key = group_key(region, group)
        self._left[key] += 1
        left = self.plane.cloud.groups.terminate(region, instance_id)
        if not left:
            self._left[key] -= 1
        return left

    def _launched(self, offering: Offering, launched: Launched) -> str:
        """What the answer means for the pass. A throttled launch keeps its row, and its jobs their hosts, until it may be sent again."""
        if launched.throttled:
            now = self.plane.clock()
            chance = crc32(f"{self.pool.name}#{self.pass_no}".encode()) / 2**32
            self.supply = backoff.throttled(self.supply, now, chance)
            self._look_again(self.supply.backoff_until)
            self.plane.tell(story.of_pool(self.pool.name), "throttled", throttled_until(self.supply.backoff_until))
            return "throttled"
        if launched.retry_at is not None:
            self._look_again(launched.retry_at)
            return "no_token"
        if launched.asked:
            self.supply = backoff.answered(self.supply)
        if launched.skip_until is not None:
            self.skips[launched.refused] = launched.skip_until
            self.plane.tell(story.of_pool(self.pool.name), "refused", f"EC2 refused a launch: {launched.refusal}")
            if launched.impossible:
                notify(
                    self.plane,
                    "launch_impossible",
                    "error",
                    subject=offering.key,
                    reason=launched.refusal,
                    pool=self.pool.name,
                )
        if launched.given < launched.asked:
            self.again = True
        if not launched.asked:
            return "unneeded"
        return "launched" if launched.given else "refused"

    def _move(self, host: Host, event: HostEvent, reason: str, *, empty: bool = False) -> Host | None:
        now = self.plane.clock()
        expires_at = now + ROW_TTL_S if event is HostEvent.VANISH else None
        return self.plane.stores.hosts.move(
            self.pool.name, host.id, event, at=now, reason=reason, empty=empty, expires_at=expires_at
        )

    def _simple(self, host: Host, event: HostEvent, reason: str) -> str:
        return "done" if self._move(host, event, reason) else "lost"


_METHODS: dict[type[Any], Callable[[Performer, Any], str]] = {
    do.Resume: Performer.resume,
    do.Adopt: Performer.adopt,
    do.Missed: Performer.missed,
    do.Vanish: Performer.vanish,
    do.Settle: Performer.settle,
    do.Reclaim: Performer.reclaim,
    do.Sicken: Performer.sicken,
    do.Drain: Performer.drain,
    do.Recapture: Performer.recapture,
    do.Retire: Performer.retire,
    do.Expire: Performer.expire,
    do.Assign: Performer.assign,
    do.Start: Performer.start,
    do.Gather: Performer.gather,
    do.Go: Performer.go,
    do.Halt: Performer.halt,
    do.Resize: Performer.resize,
    do.Dismiss: Performer.dismiss,
    do.Ring: Performer.ring,
    do.Wipe: Performer.wipe,
}
