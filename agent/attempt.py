"""One attempt, from its inputs to its finish ping, in a thread of its own.

The order is what makes "at most once" true: inputs first (a refusal gives the attempt back untouched), then the journal says
`claiming`, then the claim is won, then the journal says `begun`, then the command is executed. Whatever happens after `begun`
ends in one finish ping, which the journal holds until it is delivered.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Optional

from agent import folder, installs, wire
from agent.aws import Aws, Refused
from agent.cache import Cache
from agent.cgroups import Places
from agent.clock import boot_id, since_boot
from agent.execution import Executed, adopt, execute
from agent.firewall import Fence
from agent.health import Health
from agent.journal import Entry, Journal, named
from agent.keeping import Keepers, Keeping
from agent.limits import allowed
from agent.logs import Log
from agent.manifest import Assignment, Manifest
from agent.paths import Paths, attempt_paths
from agent.pings import Pings
from agent.prepare import prepare
from agent.refusal import Refusal, refuse_image
from agent.report import report
from agent.sandbox import INTERRUPTION, Choice
from agent.supervise import Stopper
from agent.users import FIRST_UID, LAST_UID

if TYPE_CHECKING:
    from agent.gang import Gathering
    from agent.images import Pinned


class Host(NamedTuple):
    """What all attempts of a host share."""

    manifest: Manifest
    userid: str
    paths: Paths
    aws: Aws
    pings: Pings
    journal: Journal
    sandbox: Choice
    groups: Places
    group_prefix: str
    cache: Cache
    health: Health
    keepers: Keepers
    fence: Fence
    installs: installs.Installs


class Attempt(threading.Thread):
    """Runs `assignment`, or adopts it where the journal's `entry` says that it has begun; calls `ended(key, why)` at the end, `why` being
    that of a refusal or "".

    `prefix` is where its log and outputs go in the bucket; `disk_bytes` how large its folder may become. What is done with it in which
    order is here; how is in prepare, execution and report.
    """

    told_within_s = 900.0  # an end before the beginning, whose journal has no room

    def __init__(
        self,
        host: Host,
        assignment: Assignment,
        uid: int,
        ended: Callable[[str, str], None],
        entry: Optional[Entry] = None,
    ) -> None:
        super().__init__(name=assignment.key, daemon=True)
        self.assignment = assignment
        self.uid = uid
        self.host = host
        self._entry = entry
        self.begun = entry is not None
        self._ended = ended
        self.stopper = Stopper()
        self.paths = attempt_paths(host.paths, assignment.job, assignment.attempt)
        self.prefix = "hosts/%s/%s/%d/" % (host.userid, assignment.job, assignment.attempt)
        self.log: Optional[Log] = None
        self.started_at = entry.begun_at if entry else 0.0
        self.began_s = entry.begun_s if entry else 0.0  # by clock.since_boot
        self.allowed = allowed(assignment, host.manifest.settings)
        self.disk_bytes = self.allowed.disk_bytes
        self.image: "Optional[Pinned]" = None  # of its container
        self.as_image = host.manifest.settings.container_user == "image"  # there as the image's own user
        self.taken: Optional[dict[str, Any]] = None  # that EC2 takes the machine back, and when
        self.installed = ""  # the folder of its install
        self.holding = contextlib.ExitStack()  # what must stay on the host until it has ended
        self.thawed_from = ""  # the key of the checkpoint whose processes go on
        self.restored = ""  # what was put back of an earlier attempt, as a sentence
        self.keeping = Keeping(self)
        host.keepers.users.take(assignment.key, uid)
        self.gathering: Optional["Gathering"] = None
        if assignment.hosts > 1:
            from agent import gang

            self.gathering = gang.Gathering()

    def take_uid(self, uid: int) -> bool:
        """Be this user from now on, if no other attempt here is; before anything of it belongs to another."""
        taken = FIRST_UID <= uid <= LAST_UID and self.host.keepers.users.take(self.assignment.key, uid)
        self.uid = uid if taken else self.uid
        return taken

    def stop(self, why: str) -> None:
        """End it: "cancel" or "stopped"."""
        self.stopper.stop(why)
        if self.gathering is not None:
            self.gathering.disturb()

    def warn(self, at: float, action: str) -> None:
        """EC2 takes the machine back at `at` (epoch seconds). One that has not begun is given back; a command that runs finds the deadline
        in the file that $SPILLWAY_INTERRUPTION names: time to save what it has."""
        self.taken = {"interrupt_at": at, "action": action}
        self._pass_on()
        self.keeping.interrupted(at)

    def _pass_on(self) -> None:
        if self.begun and self.taken is not None:
            with contextlib.suppress(
                OSError
            ):  # the folder is the command's own: it may have filled it, or put something in the way
                folder.put(self.paths.tmp, INTERRUPTION, json.dumps(self.taken))

    @property
    def log_bytes(self) -> int:
        """Bytes of log kept so far."""
        return self.log.kept_bytes if self.log is not None else 0

    def run(self) -> None:
        """The thread."""
        why = ""
        try:
            self._whole()
        except Refusal as refusal:
            why = refusal.why
            if why not in ("urls_expired", "urls_missing"):
                refusal.fields.update(self.host.journal.give_back(self.assignment.key))
            self.ping("refused", why=why, reason=str(refusal), **refusal.fields)
        except Exception as error:  # never silent: a thread that dies would leave the attempt unfinished for ever
            sentence = "the agent failed: %s: %s" % (type(error).__name__, error)
            if not isinstance(error, (wire.Unreachable, Refused)):  # those are AWS's
                self.host.health.note("attempt", "%s, with attempt %s" % (sentence, self.assignment.key))
            self._finish("infrastructure", sentence)
        finally:
            # Backwards, and each whatever becomes of the others: else the attempt would hold its slot or its user for ever.
            with contextlib.ExitStack() as last:
                last.callback(self.stopper.close)
                last.callback(self._ended, self.assignment.key, why)
                last.callback(self.host.keepers.users.free, self.assignment.key)
                last.callback(self.holding.close)
                last.callback(folder.remove, self.paths.top)
                if self.log is not None:
                    last.callback(self.log.close)

    def begin(self, at: float, wrapped: bool) -> None:
        """The next thing is its command: from now on it has begun, whatever happens. Raises OSError where that cannot be written down.
        The journal keeps what another agent needs to go on with it."""
        self.started_at, self.began_s = at, since_boot()
        more = {"installed": self.installed} if self.installed else {}
        self.note("begun", at=at, boot=boot_id(), boot_s=self.began_s, uid=self.uid, wrapped=wrapped, **more)
        self.begun = True
        self._pass_on()  # what was announced a moment ago
        shown = {"restored": self.restored} if self.restored else {}
        self.ping("start", **shown, **({"image_digest": self.image.digest} if self.image is not None else {}))

    def killing(self, why: str) -> None:
        """Its command is about to be killed for that reason, which an agent that comes after this one could not find out."""
        with contextlib.suppress(OSError):
            self.note("begun", killed=why)

    def note(self, kind: str, **fields: Any) -> None:
        """Into the journal. Raises OSError: then the step that it names must not be taken."""
        self.host.journal.append(kind, self.assignment.key, **fields)

    def ping(self, kind: str, **fields: Any) -> None:
        """Say something of this attempt."""
        self.host.pings.post(kind, **named(self.assignment.key), **fields)

    def _finish(self, outcome: str, reason: str, **fields: Any) -> None:
        now = round(time.time(), 6)
        if self.started_at:  # how long it took, whoever set the time of day meanwhile
            now = round(self.started_at + since_boot() - self.began_s, 6)
        ping = {
            "kind": "finish",
            "at": round(time.time(), 6),
            "job": self.assignment.job,
            "attempt": self.assignment.attempt,
            "outcome": outcome,
            "reason": reason,
            "exit_code": None,
            "signal": None,
            "started_at": self.started_at or None,
            "finished_at": now,
            "cpu_s": 0.0,
            "memory_peak_mib": 0,
            "log": {"bytes": 0, "cut": False, "text": ""},
            "result": None,
            "outputs": [],
            **fields,
        }
        if self.begun:
            with contextlib.suppress(
                OSError
            ):  # a full disk: the ping goes out all the same, and the journal knows that it has begun
                self.note("finished", ping=ping)
        elif not self.host.journal.insist("finished", self.assignment.key, self.told_within_s, ping=ping):
            return  # the next agent may still begin it, so its end must not be told
        self.host.pings.post_again(ping)

    def _whole(self) -> None:
        if self._entry is not None:
            self._adopt(self._entry)
            return
        assignment, host = self.assignment, self.host
        fault = ""
        if not self.stopper.why:
            if assignment.fault:
                raise Refusal("bad_input", assignment.fault)
            if host.sandbox.default is None or (assignment.untrusted and not host.sandbox.untrusted):
                raise Refusal("no_sandbox", host.sandbox.reason)
            if host.sandbox.default.name == "none" and assignment.folder != "/job":
                raise Refusal("no_sandbox", "%s can be shown in a sandbox only" % assignment.folder)
            refuse_image(assignment.image, host.manifest.settings, host.sandbox.default.images is not None)
            shares = assignment.network and host.sandbox.default.shares_network
            if shares or any(one.git for one in assignment.inputs):
                open_door = host.fence.hold()
                if open_door and shares and assignment.untrusted:
                    raise Refusal("no_sandbox", open_door)
            open_door = host.sandbox.default.guard(assignment.network, self.as_image)
            if open_door:
                raise Refusal("no_sandbox", open_door)
            fault = prepare(self)
        if not self.stopper.why:
            problems = host.health.look()
            if problems:
                raise Refusal("unhealthy", problems[0])
            if fault:
                raise Refusal("unprepared", fault)
            if self.taken is not None:
                raise Refusal("interrupted", "EC2 takes the machine back")
        if not self._claim():
            self._finish("infrastructure", "it was claimed here before, and the journal does not say what became of it")
        elif not self.stopper.why and self.gathering is not None and not self._gathered(self.gathering):
            self._finish("infrastructure", "its gang was not told to begin within an hour")
        elif self.stopper.why == "cancel":
            self._finish("cancelled", "cancelled before it began")
        elif self.stopper.why:
            self._finish("infrastructure", "the agent on this host was stopped before it began")
        else:
            self._tell(execute(self))

    def _adopt(self, entry: Entry) -> None:
        sandbox = self.host.sandbox.default
        if sandbox is not None and sandbox.shares_network and self.assignment.network:
            self.host.fence.hold()
        if sandbox is not None and sandbox.images is not None:
            self.image = sandbox.images.take_again(self.paths.image)
            if self.image is not None:
                self.holding.callback(sandbox.images.give_back, self.image)
        if entry.installed:
            self.holding.enter_context(self.host.installs.held(installs.version_at(entry.installed)))
        # The first one may not have left.
        shown = {"image_digest": self.image.digest} if self.image is not None else {}
        self.host.pings.post_again({"kind": "start", "at": self.started_at, **named(self.assignment.key), **shown})
        done = adopt(self, entry)
        if done is None:
            self._finish("infrastructure", "the agent on this host restarted just before its command began")
        else:
            self._tell(done)

    def _tell(self, done: Executed) -> None:
        try:
            self._finish(**report(self, done))
        finally:
            done.close()

    def _gathered(self, gathering: "Gathering") -> bool:
        """Wait for the others of its gang; False if nobody said anything for too long."""
        from agent import gang

        self.note("claimed")
        self.ping("ready", address=gang.own_address(self.host.manifest.heartbeats_url))
        return gathering.wait(time.monotonic() + gang.GO_MAX_S)

    def _claim(self) -> bool:
        """Win the claim; False when it is this host's own from a time of which nothing is known. Raises Refusal when it is lost."""
        host, key = self.host, self.assignment.key
        self.note("claiming", assignment=self.assignment.kept)
        now = time.time()
        expires_at = int(now + host.manifest.settings.claim_ttl_s)
        answer = host.aws.claim(host.manifest.claims_table, host.userid, key, round(now, 6), expires_at)
        if answer.won or answer.own:
            return True
        if answer.held_by == "agent":
            # Only this host writes that under this key. If the journal knew that it was about to, it is our own claim, whose answer
            # was lost, and nothing began; without that line the journal is not the one of that time, and it may have begun.
            return key in host.journal.at_start.entries
        if answer.held_by == "control":
            raise Refusal("claim_lost", "the control plane took the attempt back before it began")
        raise Refusal("claim_lost", "the claim is held already and AWS did not say by whom")
