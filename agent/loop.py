"""The agent's one decision-maker: a single thread takes events from a queue and is the only one that changes what is known.

Threads around it do what may take long - run an attempt, send pings, read the inbox, wait at the doorbell, watch for an
interruption - and tell it by events. Decisions themselves are pure functions (inbox, admission, ending), so what is left here
is the order of things: what an event changes, then admission, then whether the machine ends.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from typing import Any, Callable, Iterable, Mapping, Optional

from agent import admission, ending, inbox, minder, processes
from agent.admission import Load
from agent.attempt import Attempt, Host
from agent.clock import boot_id, since_boot
from agent.held import WAIT_MAX_S, Held
from agent.journal import Entry, named
from agent.manifest import Assignment, Wrong, assignment, given
from agent.paths import attempt_paths
from agent.shutdown import LAST_WORDS_MAX_S
from agent.users import UIDS_EACH

INBOX_EVERY_S = 60.0  # a doorbell may get lost
SENTENCES_MAX = 10
NOBODY_KNOWS = "nobody knows whom"  # a host serves that keeps something of a time of which its journal tells nothing


class Loop:
    """`capacity` is what the host has; `uids` are the attempts' own users; `events` holds callables for this thread."""

    def __init__(
        self,
        host: Host,
        capacity: Load,
        first_uid: int,
        events: "queue.SimpleQueue[Callable[[], None]]",
        heard_at: Callable[[], float],
    ) -> None:
        self.host = host
        self.look: Callable[[], None] = lambda: None  # ask for a look into the inbox
        self._heard_at = heard_at
        self._capacity, self._first_uid, self._events = capacity, first_uid, events
        self._settings = host.manifest.settings
        self._known: dict[str, str] = {}
        self._waiting: list[Assignment] = []
        self._running: dict[str, Attempt] = {}
        self._pass_no = host.journal.at_start.pass_no
        self._stop: Optional[str] = None
        self._domain = host.journal.at_start.domain or (NOBODY_KNOWS if host.cache.holds() else "")
        self._scrubbing = False
        self._terminated = False
        self.replaced = False
        self._interrupted = False
        self._troubles: dict[str, str] = {}
        self._problems_told: list[str] = []
        self._idle_told = False
        now = time.monotonic()
        self._idle_since = now
        self._born = now
        self._next_alive = now + self._settings.ping_every_s
        self._next_inbox = now + INBOX_EVERY_S
        self._held = Held(now)

    def trouble(self, kind: str, sentence: str) -> None:
        """Remember (or with "" forget), for the next `alive`, what is wrong and not this host's fault."""
        if sentence:
            self._troubles[kind] = sentence
        else:
            self._troubles.pop(kind, None)

    # --- what was and what is given at the start

    def resume(self) -> None:
        """Go on with what the journal left open."""
        replayed = self.host.journal.at_start
        if replayed.born_at:
            self._born -= replayed.age_s(time.time(), boot_id(), since_boot())
        else:
            self._note("born", at=time.time(), boot=boot_id(), boot_s=since_boot())
        for key, entry in replayed.entries.items():
            self._known[key] = inbox.KNOWN
            if entry.stage == "begun" and adoptable(entry):
                self._adopt(entry)
            elif entry.stage == "begun":
                self._end_interrupted(key, entry)
            elif entry.stage == "finished" and entry.ping is not None:
                self.host.pings.post_again(dict(entry.ping))
            elif entry.stage in ("claiming", "claimed") and entry.assignment is not None:
                self._waiting.append(
                    given(entry.assignment)
                )  # an agent that takes less than the one before refuses it by name

    def _adopt(self, entry: Entry) -> None:
        assert entry.assignment is not None
        self._run(assignment(entry.assignment), entry.uid, entry=entry)

    def _end_interrupted(self, key: str, entry: Entry) -> None:
        if entry.boot == boot_id():
            pid = minder.find(attempt_paths(self.host.paths, **named(key)).minder)
            if pid:
                processes.end_session(pid)
        now = round(time.time(), 6)
        name = named(key)
        ping = {
            "kind": "finish",
            "at": now,
            **name,
            "outcome": "infrastructure",
            "reason": "its host restarted while the attempt ran; it is not started again",
            "exit_code": None,
            "signal": None,
            "started_at": entry.begun_at or None,
            "finished_at": now,
            "cpu_s": 0.0,
            "memory_peak_mib": 0,
            "log": {"bytes": 0, "cut": False, "text": None},
            "result": None,
            "outputs": [],
        }
        self._note("finished", key, ping=ping)
        self.host.pings.post_again(ping)

    def take_manifest(self) -> None:
        """The assignments that came in the user data."""
        fresh = [one for one in self.host.manifest.assignments if one.key not in self._known]
        for one in fresh:
            if self.host.manifest.inbox and one.lacks:
                self._known[one.key] = inbox.fingerprint(one)
                self._held.assignments[one.key] = one
            else:
                self._accept(one)
        if self.host.manifest.inbox:
            self._held.look_often(time.monotonic())

    def _accept(self, one: Assignment) -> None:
        self._known[one.key] = inbox.KNOWN
        self._held.assignments.pop(one.key, None)
        self._waiting.append(one)
        self.host.pings.post("accepted", job=one.job, attempt=one.attempt)

    def _note(self, kind: str, key: str = "", **fields: Any) -> bool:
        """Into the journal; whether it is there. Where it cannot be written, nothing begins any more and health says why."""
        with contextlib.suppress(OSError):
            self.host.journal.append(kind, key, **fields)
            return True
        return False

    # --- events

    def on_inbox(self, document: Optional[bytes], problem: str) -> None:
        """The inbox was looked into; None: nothing is there."""
        self.trouble("inbox", problem)
        if document is None:
            return
        self.host.health.look()  # there may be work in it, and since the last look a problem may have come or gone
        try:
            orders = inbox.read(document, self._pass_no, self._known)
        except (Wrong, KeyError, TypeError) as error:
            self.trouble("inbox", "the inbox cannot be understood: %s" % error)
            return
        if orders is None:
            return
        self.trouble("assignments", "; ".join(orders.problems))
        if orders.pass_no > self._pass_no:
            self._pass_no = orders.pass_no
            self._note("pass", pass_no=orders.pass_no)
        self._stop = orders.stop or self._stop
        if self._stop is None:
            for one in orders.assignments:
                self._accept(one)
        for key in orders.cancel:
            self._cancel(key)
        self._hear_of_gangs(orders)
        self._held.found()

    def _hear_of_gangs(self, orders: inbox.Orders) -> None:
        """Members that wait: who is told to begin does, and who is not named any more was taken back."""
        for key, attempt in self._running.items():
            if attempt.gathering is None or attempt.begun:
                continue
            if key in orders.go:
                attempt.gathering.go(orders.go[key])
            elif key not in orders.named and not attempt.gathering.peers:
                attempt.stop("cancel")

    def _cancel(self, key: str) -> None:
        attempt = self._running.get(key)
        if attempt is not None:
            attempt.stop("cancel")
            return
        for one in (*self._waiting, *self._held.assignments.values()):
            if one.key == key:
                # It still has to be claimed: the claim says who ends it, the control plane or we.
                self._waiting = [other for other in self._waiting if other.key != key]
                self._held.assignments.pop(key, None)
                self._known[key] = inbox.KNOWN
                self._begin(one, "cancel")
                return

    def on_ended(self, key: str, why: str) -> None:
        """An attempt's thread is through; `why` of a refusal, else ""."""
        attempt = self._running.pop(key)
        if why in ("urls_expired", "urls_missing"):
            self._known[key] = inbox.fingerprint(attempt.assignment)
        self._idle_since = time.monotonic()

    def on_interruption(self, at: float, action: str) -> None:
        """EC2 takes the spot instance away at `at`: what runs is told and goes on until then, and nothing more begins."""
        self._interrupted = True
        self.host.pings.post("interrupted", interrupt_at=at, action=action)
        for attempt in sorted(self._running.values(), key=lambda one: -one.keeping.measure()):
            attempt.warn(at, action)  # who has most to lose is told first

    def on_rebalance(self, at: float) -> None:
        """EC2 said at `at` that it may soon take the spot instance away; who gives work out decides what that means."""
        self.host.pings.post("rebalance", notice_at=at)

    def on_terminate(self) -> None:
        """SIGTERM: the agent goes, the machine may stay."""
        self._terminated = True

    def on_replace(self) -> None:
        """SIGHUP: another agent takes this one's place, and goes on with what runs."""
        self.replaced = True

    # --- the loop

    def run(self) -> Optional[str]:
        """Until the machine is to end (the reason), or the agent was told to go or is `replaced` (None)."""
        while not self.replaced:
            self._admit()
            self._tell()
            if self._terminated:
                self._leave()
                return None
            reason = ending.over(self._facts(), self._settings)
            if reason is not None:
                return reason
            due_at = min(self._next_alive, self._next_inbox, self._held.next_look_at)
            timeout = max(0.0, due_at - time.monotonic())
            try:
                self._events.get(timeout=min(timeout, 1.0))()
                while True:
                    self._events.get_nowait()()
            except queue.Empty:
                pass
        return None

    def _facts(self) -> ending.Facts:
        now = time.monotonic()
        return ending.Facts(
            stop=self._stop,
            running=len(self._running),
            waiting=len(self._waiting) + len(self._held.assignments),
            unsent=self.host.pings.unsent(),
            age_s=now - self._born,
            idle_s=now - self._idle_since,
            unreachable_s=now - self._heard_at(),
            interrupted=self._interrupted,
        )

    def _admit(self) -> None:
        problems = self.host.health.problems()
        if problems:
            self._give_back((*self._waiting, *self._held.assignments.values()), "unhealthy", problems[0])
            self._waiting = []
            self._held.assignments.clear()
        if self._waiting and not self._terminated and ending.draining(self._facts(), self._settings) is None:
            running = [_load(one.assignment) for one in self._running.values()]
            count = admission.admit([_load(one) for one in self._its_turn()], running, self._capacity)
            begin, self._waiting = self._waiting[:count], self._waiting[count:]
            for one in begin:
                self._begin(one)

    def _its_turn(self) -> list[Assignment]:
        """Those of the waiting who may share the host with what runs: the first in line and those behind it of the same owner."""
        domain = self._waiting[0].domain
        if domain and self._domain not in ("", domain):
            if not self._running and not self._scrubbing:
                self._change_hands(self._waiting[0])
            return []
        if domain and not self._domain:
            if not self._note("domain", domain=domain):  # the next agent would not know whose jobs this host has had
                return []
            self._domain = domain
        return list(itertools.takewhile(lambda one: one.domain == domain, self._waiting))

    def _change_hands(self, first: Assignment) -> None:
        """Nothing runs, and another owner's attempt is the next: the host is scrubbed for it, or refuses it."""
        from agent import scrub

        why = "this host serves %s" % self._domain if not first.share else scrub.unclean(self.host)
        if why:
            others = [one for one in self._waiting if one.domain != self._domain]
            self._waiting = [one for one in self._waiting if one.domain == self._domain]
            self._give_back(others, "other_domain", why)
            return
        self._scrubbing = True

        def clean() -> None:
            found: dict[str, int] = {}
            try:
                found, left = scrub.scrub(self.host, range(self._first_uid, self._first_uid + UIDS_EACH))
            except Exception as error:  # who waits for it would wait for ever
                left = "what another owner's jobs left cannot be looked for: %s: %s" % (type(error).__name__, error)
            self._events.put(lambda: self.on_scrubbed(first.domain, found, left))

        threading.Thread(target=clean, name="scrub", daemon=True).start()

    def on_scrubbed(self, domain: str, found: Mapping[str, int], left: str) -> None:
        """The host is `domain`'s from now on; or, with a sentence of what is `left`, nobody's any more."""
        self._scrubbing = False
        if left:
            self.host.health.note("scrub", left)
            return
        if self._note("domain", domain=domain):  # else it is tried again
            self.host.pings.post(
                "scrubbed", before=self._domain, domain=domain, found=dict(found), holds=self.host.cache.holds()
            )
            self._domain = domain

    def _give_back(self, ones: Iterable[Assignment], why: str, reason: str) -> None:
        for one in ones:
            self._known[one.key] = inbox.KNOWN
            more = self.host.journal.give_back(one.key)
            self.host.pings.post("refused", job=one.job, attempt=one.attempt, why=why, reason=reason, **more)

    def _begin(self, one: Assignment, stopped: str = "") -> None:
        self._run(one, self.host.keepers.users.take_first(one.key, self._first_uid), stopped)

    def _run(self, one: Assignment, uid: int, stopped: str = "", entry: Optional[Entry] = None) -> None:
        attempt = Attempt(
            self.host, one, uid, lambda key, why: self._events.put(lambda: self.on_ended(key, why)), entry
        )
        if stopped:
            attempt.stop(stopped)
        self._running[one.key] = attempt
        self._idle_told = False
        attempt.start()

    def _tell(self) -> None:
        """What is due by the clock: alive, progress, idle, a look into the inbox."""
        now = time.monotonic()
        if now >= self._held.next_look_at:
            self._look_at_boot(now)
        if now >= self._next_inbox:
            self._next_inbox = now + max(INBOX_EVERY_S, self._settings.ping_every_s)
            self.look()
        if self._running:
            for one in list(self._running.values()):
                if one.begun:
                    one.keeping.tell(regular=now >= self._next_alive)
        if now >= self._next_alive and self.host.installs.running():
            self.host.pings.post("installs", installs=self.host.installs.told())
        problems = self.host.health.problems()
        if now >= self._next_alive or problems != self._problems_told:
            self._next_alive = now + self._settings.ping_every_s
            self._problems_told = problems
            self._alive(problems)
        if not self._running and not self._waiting and not self._held.assignments and not self._idle_told:
            self._idle_told = True
            self.host.pings.post("idle", holds=self.host.cache.holds())

    def _alive(self, problems: list[str]) -> None:
        trouble = self.host.pings.trouble
        self.host.pings.post(
            "alive",
            running=self.running(),
            free_slots=0 if problems else self._free(),
            problems=problems[:SENTENCES_MAX],
            troubles=[*self._troubles.values(), *([trouble] if trouble else [])][:SENTENCES_MAX],
            holds=self.host.cache.holds(),
        )

    def _look_at_boot(self, now: float) -> None:
        if self._held.looked(now):
            self.look()
            return
        for one in self._held.assignments.values():  # it is news again as soon as they come
            reason = "%s within %d s" % (one.lacks, WAIT_MAX_S)
            self.host.pings.post("refused", job=one.job, attempt=one.attempt, why="urls_missing", reason=reason)
        self._held.assignments.clear()

    def running(self) -> list[dict[str, Any]]:
        """The attempts that run, as pings name them."""
        return [named(key) for key in self._running]

    def _free(self) -> int:
        used = sum(one.assignment.slots for one in self._running.values()) + sum(one.slots for one in self._waiting)
        return max(0, self._capacity.slots - used)

    def _leave(self) -> None:
        """End what runs, and say so as far as time allows; the journal says the rest after the next start."""
        for attempt in self._running.values():
            attempt.stop("stopped")
        give_up = time.monotonic() + LAST_WORDS_MAX_S
        while self._running and time.monotonic() < give_up:
            with contextlib.suppress(queue.Empty):
                self._events.get(timeout=0.2)()
        self.host.pings.post("bye", reason="the agent was told to stop by its host")
        self.host.pings.flush(max(0.5, give_up - time.monotonic()))


def adoptable(entry: Entry) -> bool:
    """Whether its command, or what it has left, can still be there: in this start of the machine, begun by an agent that left word."""
    if entry.stage != "begun" or not entry.boot or entry.boot != boot_id() or entry.assignment is None:
        return False
    with contextlib.suppress(Wrong):
        return bool(assignment(entry.assignment).key)
    return False


def _load(one: Assignment) -> Load:
    return Load(one.slots, one.cpu, one.memory_mib)
