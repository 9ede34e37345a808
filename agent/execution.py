"""From the claim to the last of an attempt's processes: its group, its limits, its log, its command."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple, Optional

from agent import adapters, checkpoints, folder, parameters, processes
from agent.cgroups import Group, Use
from agent.limits import limits, outgrown
from agent.logs import Log
from agent.sandbox import Ask, Mount
from agent.supervise import Bounds, Command, Ended

if TYPE_CHECKING:
    from agent.attempt import Attempt


NOTHING = Use(0.0, 0, 0, 0)


class Executed(NamedTuple):
    """What became of the command, what it has used, and its log."""

    ended: Ended
    use: Use
    log: Log
    fault: str = ""  # of what was to run it, never the command's own


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


def execute(attempt: "Attempt") -> Executed:
    """Run the command to its end. The journal says `begun` before anything of it is executed; what is left of it is ended."""
    host, assignment, paths = attempt.host, attempt.assignment, attempt.paths
    settings = host.manifest.settings
    sandbox = host.sandbox.default
    assert sandbox is not None
    container = sandbox.group(assignment.job, assignment.attempt)
    group: Optional[Group] = container
    if group is None and host.groups.folders:
        group = Group(host.groups, "%s%s.%d" % (host.group_prefix, assignment.job, assignment.attempt))
    try:
        holds = group.holds if group is not None else frozenset()
        if group is not None:
            group.limit(assignment.cpu, assignment.memory_mib, attempt.allowed.processes_max)
        pairs = limits(attempt.allowed, holds, os.cpu_count() or 1).pairs()
        log = attempt.log = Log(
            paths.log,
            settings.log_limit_bytes,
            lambda offset, data: host.aws.put_object("%slog/%012d" % (attempt.prefix, offset), data, "text/plain"),
        )
        attempt.keeping.open()
        launch = sandbox.launch(ask_of(attempt))
        attempt.begin(round(time.time(), 6))
        command = Command(launch, group, pairs)
        attempt.note("begun", pid=command.pid, pid_started=processes.started(command.pid))
        pids = group.pids if group is not None and group.holds else lambda: processes.tree(command.pid)
        disk_full = folder.Watch(paths.top, attempt.disk_bytes, pids)

        def beyond() -> str:
            use = group.use() if group is not None else NOTHING
            return outgrown(attempt.allowed, use, log.came) or ("disk" if disk_full() else "")

        bounds = Bounds(assignment.timeout_s, beyond)
        ended = command.run(bounds, attempt.stopper, log.feed)
        attempt.keeping.close(checkpoints.worth_it(ended.killed, ended.exit_code))
        fault = container.fault(ended.exit_code) if container is not None and not ended.killed else ""
        return Executed(ended, group.use() if group is not None else NOTHING, log, fault)
    finally:
        attempt.keeping.close(False)
        if group is not None:
            group.kill()
            group.remove()
