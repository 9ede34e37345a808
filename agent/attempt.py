"""One attempt, from its inputs to its finish ping, in a thread of its own.

The order is what makes "at most once" true: inputs first (a refusal gives the attempt back untouched), then the journal says
`claiming`, then the claim is won, then the journal says `begun`, then the command is executed. Whatever happens after `begun`
ends in one finish ping, which the journal holds until it is delivered.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from typing import Any, Callable, Mapping, NamedTuple, Optional

from agent import errand, folder, git, inputs, outputs, parameters, processes, verdict, wire
from agent.aws import Aws, Refused
from agent.cache import Cache
from agent.cgroups import Group, Places, Use
from agent.health import Health
from agent.journal import Journal
from agent.limits import Limits
from agent.logs import Log
from agent.manifest import Assignment, Manifest
from agent.paths import Paths
from agent.pings import Pings
from agent.sandbox import INTERRUPTION, Ask, Choice
from agent.supervise import Bounds, Command, Stopper

DOUBT_S = 1.0


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


class Refusal(Exception):
    """The attempt is given back, not begun. `why` is a `refused` ping's."""

    def __init__(self, why: str, reason: str) -> None:
        super().__init__(reason)
        self.why = why


class Attempt(threading.Thread):
    """Runs `assignment`; calls `ended(key, why)` at the end, `why` being that of a refusal or ""."""

    def __init__(self, host: Host, assignment: Assignment, uid: int, ended: Callable[[str, str], None]) -> None:
        super().__init__(name=assignment.key, daemon=True)
        self.assignment = assignment
        self.uid = uid
        self.begun = False
        self._host = host
        self._ended = ended
        self._stopper = Stopper()
        self._folder = os.path.join(host.paths.work, "%s.%d" % (assignment.job, assignment.attempt))
        self._work = self._folder + "/work"
        self._log: Optional[Log] = None
        self._started_at = 0.0
        self._disk_bytes = assignment.disk_mib << 20 or host.manifest.settings.work_limit_bytes
        self._taken: Optional[dict[str, Any]] = None

    def stop(self, why: str) -> None:
        """End it: "cancel" or "stopped"."""
        self._stopper.stop(why)

    def warn(self, at: float, action: str) -> None:
        """EC2 takes the machine back at `at` (epoch seconds). One that has not begun is given back; a command that runs finds the deadline
        in the file that $SPILLWAY_INTERRUPTION names: time to save what it has."""
        self._taken = {"interrupt_at": at, "action": action}
        self._pass_on()

    def _pass_on(self) -> None:
        if self.begun and self._taken is not None:
            with contextlib.suppress(
                OSError
            ):  # the folder is the command's own: it may have filled it, or put something in the way
                folder.put(self._folder + "/tmp", INTERRUPTION, json.dumps(self._taken))

    @property
    def log_bytes(self) -> int:
        """Bytes of log kept so far."""
        return self._log.kept_bytes if self._log is not None else 0

    def run(self) -> None:
        """The thread."""
        why = ""
        try:
            self._whole()
        except Refusal as refusal:
            why = refusal.why
            if why not in ("urls_expired", "urls_missing"):
                with contextlib.suppress(OSError):  # a sick disk: whoever takes it back wins the claim first
                    self._note("settled")
            self._ping("refused", why=why, reason=str(refusal))
        except Exception as error:  # never silent: a thread that dies would leave the attempt unfinished for ever
            sentence = "the agent failed: %s: %s" % (type(error).__name__, error)
            if not isinstance(error, (wire.Unreachable, Refused)):  # those are AWS's
                self._host.health.note("attempt", "%s, with attempt %s" % (sentence, self.assignment.key))
            self._finish("infrastructure", sentence)
        finally:
            try:
                folder.remove(self._folder)
            finally:  # whatever happens: without this the attempt would hold its slot for ever
                self._ended(self.assignment.key, why)
                self._stopper.close()

    def _note(self, kind: str, **fields: Any) -> None:
        self._host.journal.append(kind, self.assignment.key, **fields)

    def _ping(self, kind: str, **fields: Any) -> None:
        self._host.pings.post(kind, job=self.assignment.job, attempt=self.assignment.attempt, **fields)

    def _finish(self, outcome: str, reason: str, **fields: Any) -> None:
        now = round(time.time(), 6)
        ping = {
            "kind": "finish",
            "at": now,
            "job": self.assignment.job,
            "attempt": self.assignment.attempt,
            "outcome": outcome,
            "reason": reason,
            "exit_code": None,
            "signal": None,
            "started_at": self._started_at or None,
            "finished_at": now,
            "cpu_s": 0.0,
            "memory_peak_mib": 0,
            "log": {"bytes": 0, "cut": False, "text": ""},
            "result": None,
            "outputs": [],
            **fields,
        }
        with contextlib.suppress(OSError):  # a full disk: the ping goes out all the same
            self._note("finished", ping=ping)
        self._host.pings.post_again(ping)

    def _whole(self) -> None:
        assignment, host = self.assignment, self._host
        fault = ""
        if not self._stopper.why:
            if assignment.fault:
                raise Refusal("bad_input", assignment.fault)
            if host.sandbox.default is None or (assignment.untrusted and not host.sandbox.untrusted):
                raise Refusal("no_sandbox", host.sandbox.reason)
            if host.sandbox.default.name == "none" and assignment.folder != "/job":
                raise Refusal("no_sandbox", "%s can be shown in a sandbox only" % assignment.folder)
            fault = self._prepare()
        if not self._stopper.why:
            problems = host.health.look()
            if problems:
                raise Refusal("unhealthy", problems[0])
            if fault:
                raise Refusal("unprepared", fault)
            if self._taken is not None:
                raise Refusal("interrupted", "EC2 takes the machine back")
        if not self._claim():
            self._finish("infrastructure", "it was claimed here before, and the journal does not say what became of it")
        elif self._stopper.why == "cancel":
            self._finish("cancelled", "cancelled before it began")
        elif self._stopper.why:
            self._finish("infrastructure", "the agent on this host was stopped before it began")
        else:
            self._execute()

    def _prepare(self) -> str:
        """Fill the work folder; a sentence when that failed through no fault of the attempt."""
        folder.remove(self._folder)
        try:
            os.makedirs(self._work)
            os.makedirs(self._folder + "/tmp")
            if not self.assignment.lacks:
                self._clone()
            inputs.prepare(self.assignment, self._work, self._host.cache, self._disk_bytes)
            sandbox = self._host.sandbox.default
            if sandbox is not None and sandbox.drops_uid:
                folder.give(self._folder, self.uid)
        except inputs.NotUsable as error:
            if error.why:
                raise Refusal(error.why, str(error)) from error
            return str(error)
        except OSError as error:
            return "the work folder could not be made: %s" % error
        return ""

    def _clone(self) -> None:
        """Fetch its repositories, each in the sandbox, with network. Raises NotUsable, OSError."""
        sandbox, assignment, top = self._host.sandbox.default, self.assignment, self._folder
        assert sandbox is not None

        def run(command: str, environment: Mapping[str, str], secrets: Mapping[str, str]) -> git.Ran:
            ask = Ask(
                command, self._work, top + "/tmp", True, environment, assignment.job, assignment.attempt, self.uid
            )
            return errand.run(sandbox, ask._replace(secrets=secrets), top, self._disk_bytes, self._stopper)

        for one in assignment.inputs:
            if one.git is not None and not self._stopper.why:
                if sandbox.drops_uid:
                    folder.give(top, self.uid)
                token = assignment.values.get(one.git.token, "")
                git.fetch(one.path, one.git, token, run, lambda: bool(self._stopper.why))

    def _claim(self) -> bool:
        """Win the claim; False when it is this host's own from a time of which nothing is known. Raises Refusal when it is lost."""
        host, key = self._host, self.assignment.key
        self._note("claiming", assignment=self.assignment.kept)
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

    def _execute(self) -> None:
        host, assignment = self._host, self.assignment
        settings = host.manifest.settings
        sandbox = host.sandbox.default
        assert sandbox is not None
        prefix = "hosts/%s/%s/%d/" % (host.userid, assignment.job, assignment.attempt)
        group: Optional[Group] = None
        if host.groups.folders:
            group = Group(host.groups, "%s%s.%d" % (host.group_prefix, assignment.job, assignment.attempt))
        try:
            holds = group.holds if group is not None else frozenset()
            if group is not None:
                group.limit(assignment.cpu, assignment.memory_mib, settings.processes_max)
            limits = Limits(
                file_bytes=self._disk_bytes,
                cpu_s=assignment.timeout_s * (os.cpu_count() or 1),
                memory_bytes=0 if "memory" in holds else assignment.memory_mib << 20,
                processes=0 if "pids" in holds else settings.processes_max,
            )
            self._log = Log(
                self._folder + "/log",
                settings.log_limit_bytes,
                lambda offset, data: host.aws.put_object(prefix + "log/%012d" % offset, data, "text/plain"),
            )
            ask = Ask(
                assignment.command,
                self._work,
                self._folder + "/tmp",
                assignment.network,
                {**parameters.variables(assignment.parameters), **assignment.environment},
                assignment.job,
                assignment.attempt,
                self.uid,
                assignment.folder,
                {variable: assignment.values[name] for variable, name in assignment.secrets.items()},
            )
            launch = sandbox.launch(ask)
            self._started_at = round(time.time(), 6)
            self._note("begun", at=self._started_at)
            self.begun = True
            self._pass_on()  # what was announced a moment ago
            self._ping("start")
            command = Command(launch, group, limits.pairs())
            self._note("begun", pid=command.pid, pid_started=processes.started(command.pid))
            pids = group.pids if group is not None and group.holds else lambda: processes.tree(command.pid)
            disk_full = folder.Watch(self._folder, self._disk_bytes, pids)
            bounds = Bounds(assignment.timeout_s, settings.processes_max, disk_full)
            ended = command.run(bounds, self._stopper, self._log.feed)
            use = group.use() if group is not None else Use(0.0, 0, 0, 0)
            self._report(ended, use, prefix)
        finally:
            if group is not None:
                group.kill()
                group.remove()

    def _keep_all(self, prefix: str) -> tuple[list[dict[str, Any]], str]:
        """The whole work folder as one output."""
        from agent import archive

        path = self._folder + "/archive.tar.gz"
        try:
            size, problem = archive.pack(self._work, path, self._host.manifest.settings.work_limit_bytes)
            self._host.aws.put_file(prefix + "out/" + archive.NAME, path, size)
        except Exception as error:  # what it printed and its other outputs may still go through
            return [], "its archive could not be stored: %s" % error
        return [{"path": archive.NAME, "bytes": size}], problem

    def _doubt(self, ended: Any) -> str:
        """What was wrong with the sandbox, if a command failed so early that it may be its fault; nobody is blamed for that."""
        early = time.time() - self._started_at < DOUBT_S
        return self._host.health.probe() if ended.exit_code and not ended.killed and early else ""

    def _report(self, ended: Any, use: Use, prefix: str) -> None:
        host, assignment = self._host, self.assignment
        settings = host.manifest.settings
        found = verdict.decide(
            verdict.Facts(
                exit_code=ended.exit_code,
                killed=ended.killed,
                fault=self._doubt(ended),
                oom_kills=use.oom_kills,
                memory_peak_mib=use.memory_peak_mib,
                memory_mib=assignment.memory_mib,
                timeout_s=assignment.timeout_s,
                processes_max=settings.processes_max,
                work_limit_bytes=self._disk_bytes,
            )
        )
        problems = []
        if not ended.clean:
            problems.append("not all of its processes could be killed")
            host.health.note("processes", "not all processes of attempt %s could be killed" % assignment.key)
        result = None
        if assignment.result:
            result, problem = outputs.read_result(self._work, assignment.result)
            problems.append(problem)
        stored, problem = outputs.collect(
            self._work,
            assignment.outputs,
            lambda path, full, size: host.aws.put_file(prefix + "out/" + path, full, size),
        )
        problems.append(problem)
        if assignment.archive:
            one, problem = self._keep_all(prefix)
            stored = [kept for kept in stored if kept["path"] not in {new["path"] for new in one}] + one
            problems.append(problem)
        assert self._log is not None
        log, problem = self._log.finish()
        problems.append(problem)
        self._finish(
            found.outcome,
            "; ".join([found.reason, *filter(None, problems)]),
            exit_code=ended.exit_code,
            signal=verdict.signal_of(ended.exit_code),
            cpu_s=round(use.cpu_s or ended.cpu_s, 6),
            memory_peak_mib=use.memory_peak_mib,
            log=log,
            result=result,
            outputs=stored,
        )
