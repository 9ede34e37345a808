"""What must be there before an attempt is claimed: its folder, its repositories, its inputs. Nothing of it executes the job's own code."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Mapping

from agent import adapters, errand, folder, git, graded, inputs, restore
from agent.refusal import Refusal
from agent.sandbox import Ask

if TYPE_CHECKING:
    from agent.attempt import Attempt


def prepare(attempt: "Attempt") -> str:
    """Fill the attempt's folder; a sentence when that failed through no fault of the attempt. Raises Refusal."""
    assignment, host, paths = attempt.assignment, attempt.host, attempt.paths
    folder.remove(paths.top)
    try:
        os.makedirs(paths.work)
        os.makedirs(paths.tmp)
        if not assignment.lacks:
            _clone(attempt)
        inputs.prepare(assignment, paths.work, host.cache, attempt.disk_bytes)
        graded.lay_out(assignment, paths.work)
        if assignment.checkpoint is not None:
            os.makedirs(paths.checkpoint)
            attempt.restored = restore.restore(assignment, assignment.checkpoint, paths.checkpoint)
        sandbox = host.sandbox.default
        if sandbox is not None and sandbox.images is not None and not attempt.stopper.why:
            image = assignment.image or host.manifest.settings.container_image
            attempt.image = sandbox.images.take(image, lambda: bool(attempt.stopper.why))
        if sandbox is not None and sandbox.drops_uid:
            folder.give(paths.top, attempt.uid)
    except adapters.Broken as error:
        raise Refusal("bad_grader", str(error)) from error
    except inputs.NotUsable as error:
        if error.why == "bad_input" and graded.is_graders(assignment, error.path):
            raise Refusal("bad_grader", str(error)) from error
        if error.why:
            raise Refusal(error.why, str(error)) from error
        return str(error)
    except OSError as error:
        return "the work folder could not be made: %s" % error
    return ""


def _clone(attempt: "Attempt") -> None:
    """Fetch its repositories, each in the sandbox, with network. Raises NotUsable, OSError."""
    assignment, paths = attempt.assignment, attempt.paths
    if all(one.git is None for one in assignment.inputs):
        return
    assert attempt.host.sandbox.default is not None
    sandbox = attempt.host.sandbox.default.helper()
    if sandbox is None:
        raise inputs.NotUsable("", "repositories are fetched under bubblewrap, and this host cannot run it")

    def run(command: str, environment: Mapping[str, str], secrets: Mapping[str, str]) -> git.Ran:
        ask = Ask(command, paths.work, paths.tmp, True, environment, assignment.job, assignment.attempt, attempt.uid)
        return errand.run(sandbox, ask._replace(secrets=secrets), paths.top, attempt.disk_bytes, attempt.stopper)

    for one in assignment.inputs:
        if one.git is not None and not attempt.stopper.why:
            if sandbox.drops_uid:
                folder.give(paths.top, attempt.uid)
            token = assignment.values.get(one.git.token, "")
            try:
                git.fetch(one.path, one.git, token, run, lambda: bool(attempt.stopper.why))
            except inputs.NotUsable as error:
                error.path = one.path
                raise
