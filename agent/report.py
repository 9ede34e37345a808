"""What an attempt's end is told as: verdict, result, outputs, log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent import folder, graded, outputs, verdict
from agent.clock import since_boot
from agent.execution import Executed
from agent.patience import WAIT_MAX_S, Patience

if TYPE_CHECKING:
    from agent.attempt import Attempt

DOUBT_S = 1.0
LOST = "its processes were ended by somebody else, and left no exit code"


def report(attempt: "Attempt", done: Executed) -> dict[str, Any]:
    """The fields of the finish ping; files are stored."""
    host, assignment, ended, use = attempt.host, attempt.assignment, done.ended, done.use
    found = verdict.decide(
        verdict.Facts(
            exit_code=ended.exit_code,
            killed=ended.killed,
            fault=done.fault or _doubt(attempt, done),
            oom_kills=use.oom_kills,
            memory_peak_mib=use.memory_peak_mib,
            cpu_s=use.cpu_s or ended.cpu_s,
            at_limit=_at_limit(attempt, done),
            allowed=attempt.allowed,
            pids_refused=use.pids_refused,
            printed_bytes=done.log.came,
        )
    )
    patience = Patience(
        lambda: attempt.stopper.why == "stopped", min(WAIT_MAX_S, host.manifest.settings.unreachable_max_s)
    )
    problems = []
    if not ended.clean:
        problems.append("not all of its processes could be killed")
        host.health.note("processes", "not all processes of attempt %s could be killed" % assignment.key)
    result, cause = None, ""
    if assignment.adapter != "command":
        found, result, cause = graded.judged(assignment, attempt.paths.work, found, ended.exit_code, done.log.last)
    elif assignment.result:
        result, problem = outputs.read_result(attempt.paths.work, assignment.result)
        problems.append(problem)
    stored, problem = outputs.collect(
        attempt.paths.work,
        assignment.outputs,
        lambda path, full, size: patience(lambda: host.aws.put_file(attempt.prefix + "out/" + path, full, size)),
    )
    problems.append(problem)
    if assignment.archive:
        one, problem = _keep_all(attempt, patience)
        stored = [kept for kept in stored if kept["path"] not in {new["path"] for new in one}] + one
        problems.append(problem)
    log, problem = done.log.finish(patience)
    problems.append(problem)
    return {
        "outcome": found.outcome,
        "cause": cause,
        "reason": "; ".join([found.reason, *filter(None, problems)]),
        "exit_code": ended.exit_code,
        "signal": verdict.signal_of(ended.exit_code),
        "cpu_s": round(use.cpu_s or ended.cpu_s, 6),
        "memory_peak_mib": use.memory_peak_mib,
        "log": log,
        "result": result,
        "outputs": stored,
        **({"image_digest": attempt.image.digest} if attempt.image is not None else {}),
    }


def _doubt(attempt: "Attempt", done: Executed) -> str:
    """What was wrong with the sandbox, if a command failed so early that it may be its fault; nobody is blamed for that. Or that nobody
    knows how it ended."""
    if done.ended.exit_code is None and not done.ended.killed and not done.use.oom_kills:
        return LOST
    early = since_boot() - attempt.began_s < DOUBT_S
    return attempt.host.health.probe() if done.ended.exit_code and not done.ended.killed and early else ""


def _at_limit(attempt: "Attempt", done: Executed) -> str:
    """A file of a command that failed which is as large as its files may be: programs that are told so seldom say it."""
    if not done.ended.exit_code or done.ended.killed:
        return ""
    return folder.of_size(attempt.paths.work, attempt.allowed.file_bytes)


def _keep_all(attempt: "Attempt", patience: Patience) -> tuple[list[dict[str, Any]], str]:
    """The whole work folder as one output."""
    from agent import archive

    path = attempt.paths.top + "/archive.tar.gz"
    try:
        size, problem = archive.pack(attempt.paths.work, path, attempt.host.manifest.settings.work_limit_bytes)
        patience(lambda: attempt.host.aws.put_file(attempt.prefix + "out/" + archive.NAME, path, size))
    except Exception as error:  # what it printed and its other outputs may still go through
        return [], "its archive could not be stored: %s" % error
    return [{"path": archive.NAME, "bytes": size}], problem
