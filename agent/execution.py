"""From the claim to the last of an attempt's processes: its group, its limits, its log, its command - begun here, or adopted from an
agent that did not live to see its end."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple, Optional

from agent import adapters, checkpoints, folder, minder, parameters, processes
from agent.cgroups import Group, Use
from agent.journal import Entry
from agent.limits import limits, outgrown
from agent.logs import SMALL_BYTES, Log
from agent.sandbox import Ask, Launch, Mount, Sandbox
from agent.supervise import Bounds, Command, Ended

if TYPE_CHECKING:
    from agent.attempt import Attempt


NOTHING = Use(0.0, 0, 0, 0)


class Executed(NamedTuple):
    """What became of the command, what it has used, and its log. The group is empty, and keeps what it counted until `close`."""

    ended: Ended
    use: Use
    log: Log
    group: Optional[Group]
    fault: str = ""  # of what was to run it, never the command's own

    def close(self) -> None:
        """When its end is in the journal."""
        if self.group is not None:
            self.group.remove()


def ask_of(attempt: "Attempt") -> Ask:
    """How the sandbox is asked to run an attempt's command."""
    assignment = attempt.assignment
    adapter = adapters.of(assignment.adapter)
    shown = [Mount(os.path.join(attempt.paths.work, path), target) for path, target in adapter.shown(assignment)]
    if attempt.installed:
        shown.append(Mount(attempt.installed, attempt.installed, variable="SPILLWAY_INSTALL_DIR"))
    return Ask(
        adapter.command(assignment),
        attempt.paths.work,
        attempt.paths.tmp,
        assignment.network,
        {
            **parameters.variables(assignment.parameters),
            **adapter.environment(assignment),
            **assignment.environment,
            **_gang(attempt),
        },
        assignment.job,
        assignment.attempt,
        attempt.uid,
        assignment.folder,
        {variable: assignment.values[name] for variable, name in assignment.secrets.items()},
        (*shown, *attempt.keeping.mounts),
        image=attempt.image,
        cpu=assignment.cpu,
        memory_mib=assignment.memory_mib,
        processes_max=attempt.allowed.processes_max,
        file_bytes=attempt.allowed.file_bytes,
    )


def _gang(attempt: "Attempt") -> dict[str, str]:
    if attempt.gathering is None:
        return {}
    from agent import gang

    return gang.variables(attempt.assignment.rank, attempt.gathering.peers)


def group_name(prefix: str, key: str) -> str:
    """Of an attempt's control group."""
    return prefix + key.replace("#", ".")


def _group(attempt: "Attempt") -> Optional[Group]:
    host, assignment = attempt.host, attempt.assignment
    sandbox = host.sandbox.default
    container: Optional[Group] = sandbox.group(assignment.job, assignment.attempt) if sandbox is not None else None
    if container is not None or not host.groups.folders:
        return container
    return Group(host.groups, group_name(host.group_prefix, assignment.key))


def _log(attempt: "Attempt") -> Log:
    aws, prefix = attempt.host.aws, attempt.prefix
    return Log(
        attempt.paths.log,
        attempt.host.manifest.settings.log_limit_bytes,
        lambda offset, data: aws.put_object("%slog/%012d" % (prefix, offset), data, "text/plain"),
        0 if attempt.assignment.rank else SMALL_BYTES,  # the job's row has no room for all of its members' logs
    )


def _launch(attempt: "Attempt", sandbox: Sandbox) -> Launch:
    """How its command begins, or how what an earlier attempt has left of it goes on."""
    ask = ask_of(attempt)
    if not attempt.keeping.by_criu:
        return sandbox.launch(ask)
    from agent import criu
    from agent.sandbox.bwrap import Bubblewrap

    assert isinstance(sandbox, Bubblewrap)
    return (
        criu.thaw(sandbox, ask, attempt.paths.thawing) if attempt.thawed_from else sandbox.launch(criu.kept_alive(ask))
    )


def execute(attempt: "Attempt") -> Executed:
    """Run the command to its end. The journal says `begun` before anything of it is executed; what is left of it is ended."""
    host, assignment = attempt.host, attempt.assignment
    sandbox = host.sandbox.default
    assert sandbox is not None
    group = _group(attempt)
    try:
        holds = group.holds if group is not None else frozenset()
        if group is not None:
            group.limit(assignment.cpu, assignment.memory_mib, attempt.allowed.processes_max)
        # The client of an engine is none of the job's: what it may use is not counted.
        others = processes.of_user(os.getuid()) if os.getuid() and "pids" not in holds else 0
        pairs = limits(attempt.allowed, holds, os.cpu_count() or 1, others).pairs() if sandbox.images is None else []
        log = attempt.log = _log(attempt)
        attempt.keeping.open()
        minder.prepare(attempt.paths)
        launch = _launch(attempt, sandbox)
        try:
            attempt.begin(round(time.time(), 6), launch.keeper)
        except BaseException:  # nobody will inherit them
            for fd in launch.inherit:
                os.close(fd)
            raise
        held = minder.start(attempt.paths, launch, group, pairs)
        return _oversee(attempt, Command(held, group, launch.keeper), group, log)
    except BaseException:
        attempt.keeping.close(False)
        _end(attempt, group)
        raise


def adopt(attempt: "Attempt", entry: Entry) -> Optional[Executed]:
    """Go on with a command that an earlier agent has begun; None when it had not been executed yet, and now never will."""
    held = minder.adopt(attempt.paths)
    group = _group(attempt)
    try:
        if held is None:
            _end(attempt, group)
            return None
        log = attempt.log = _log(attempt)
        attempt.keeping.open()
        return _oversee(attempt, Command(held, group, entry.wrapped), group, log, entry.killed)
    except BaseException:
        attempt.keeping.close(False)
        _end(attempt, group)
        raise


def _end(attempt: "Attempt", group: Optional[Group]) -> None:
    if group is None or not group.holds:
        pid = minder.find(attempt.paths.minder)
        if pid:
            processes.end_session(pid)
    if group is not None:
        group.kill()
        group.remove()


def _oversee(attempt: "Attempt", command: Command, group: Optional[Group], log: Log, killed: str = "") -> Executed:
    assignment = attempt.assignment
    pids = group.pids if group is not None and group.holds else lambda: processes.tree(command.pid)
    attempt.keeping.began(command.pid)
    disk_full = folder.Watch(attempt.paths.top, attempt.disk_bytes, pids)

    def beyond() -> str:
        use = group.use() if group is not None else NOTHING
        full = disk_full() or (attempt.as_image and group is not None and group.outgrown(attempt.disk_bytes))
        return outgrown(attempt.allowed, use, log.came) or ("disk" if full else "")

    bounds = Bounds(attempt.began_s + assignment.timeout_s, beyond, attempt.killing)
    ended = command.run(bounds, attempt.stopper, log.take, killed)
    attempt.keeping.close(checkpoints.worth_it(ended.killed, ended.exit_code))
    fault = group.fault(ended.exit_code) if group is not None and not ended.killed else ""
    fault = fault or (attempt.keeping.not_thawed() if ended.exit_code and not ended.killed else "")
    return Executed(ended, group.use() if group is not None else NOTHING, log, group, fault)
