"""What must be there before an attempt is claimed: its folder, its repositories, its inputs, what its install makes of the host.

Nothing of it executes the job's own code; an install is run beside it, for all jobs that name it.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Mapping

from agent import adapters, errand, folder, git, graded, inputs, parameters, restore
from agent.manifest import Assignment, Checkpoint, Install
from agent.refusal import Refusal
from agent.sandbox import Ask
from agent.unpack import Hostile, safe_parts

if TYPE_CHECKING:
    from agent.attempt import Attempt

WORD_MAX_BYTES = 120_000  # of an argument; Linux takes a little more


def prepare(attempt: "Attempt") -> str:
    """Fill the attempt's folder; a sentence when that failed through no fault of the attempt. Raises Refusal."""
    assignment, host, paths = attempt.assignment, attempt.host, attempt.paths
    _sayable(assignment)
    folder.remove(paths.top)
    try:
        os.makedirs(paths.work)
        os.makedirs(paths.tmp)
        if not assignment.lacks:
            _clone(attempt)
        inputs.prepare(assignment, paths.work, host.cache, attempt.disk_bytes)
        graded.lay_out(assignment, paths.work)
        if assignment.checkpoint is not None:
            _restore(attempt, assignment.checkpoint)
        sandbox = host.sandbox.default
        contained = sandbox is not None and sandbox.images is not None  # what is done to the host is not seen there
        if assignment.install is not None and not contained and not attempt.stopper.why:
            _install(attempt, assignment.install)
        if sandbox is not None and sandbox.images is not None and not attempt.stopper.why:
            from agent import images

            image = assignment.image or host.manifest.settings.container_image
            attempt.image = sandbox.images.take(image, lambda: bool(attempt.stopper.why))
            attempt.holding.callback(sandbox.images.give_back, attempt.image)
            images.note(paths.image, attempt.image)
        if sandbox is not None and sandbox.drops_uid:
            folder.give(paths.top, attempt.uid)
        if (
            attempt.image is not None and attempt.as_image
        ):  # nobody knows who that is; the way to them is the container's alone
            for path in (paths.work, paths.tmp, *((paths.checkpoint,) if assignment.checkpoint else ())):
                os.chmod(path, 0o777)
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


def _sayable(assignment: Assignment) -> None:
    """What an adapter makes of parameters must be what a program can be given: whoever chose a file's name may have thought of that.
    Raises Refusal."""
    adapter = adapters.of(assignment.adapter)
    for word in (adapter.command(assignment), *adapter.environment(assignment).values()):
        if "\0" in word or len(word.encode("utf-8", "replace")) > WORD_MAX_BYTES:
            raise Refusal("bad_input", "its command, or a parameter that is given to it, is too long or holds a NUL")


def _restore(attempt: "Attempt", wanted: Checkpoint) -> None:
    """What an earlier attempt has kept: files for its folder, or processes with the files that they work on. Raises NotUsable, OSError."""
    paths = attempt.paths
    os.makedirs(paths.checkpoint)
    if wanted.by == "files":
        attempt.restored = restore.restore(attempt.assignment, wanted, paths.checkpoint).sentence
        return
    from agent import criu

    cannot = criu.lacks(attempt.host.sandbox.default, attempt.assignment.network)
    if cannot:
        attempt.restored = "it starts afresh: %s" % cannot if attempt.assignment.restore else ""
        return
    done = restore.restore(attempt.assignment, wanted, paths.checkpoint, lambda: criu.usable(attempt))
    attempt.restored, attempt.thawed_from = done
    if attempt.thawed_from:
        criu.put_back(attempt)


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


def _install(attempt: "Attempt", install: Install) -> None:
    """Wait until it is ready on this host, held for as long as the attempt lives. Raises Refusal, OSError."""
    from agent.installs import Order, version

    assignment, work, installs = attempt.assignment, attempt.paths.work, attempt.host.installs
    try:
        home = "/".join(safe_parts(install.path)[:-1])
    except Hostile as error:
        raise Refusal("bad_input", "its install cannot be used: %s" % error) from error
    if install.path and not os.path.isfile(os.path.join(work, install.path)):
        raise Refusal("bad_input", "its install %s is not among its inputs" % install.path)

    def fill(target: str) -> None:
        if install.path:
            _copy(os.path.join(work, home), os.path.join(target, home), {parameters.FILE} if not home else set())

    # A grader of another system is written for one place: there its setup finds it too, and there its changes are found.
    place = assignment.folder if assignment.adapter != adapters.Adapter.name else ""
    order = Order(version(install, assignment.inputs, work), install, fill, place)
    attempt.holding.enter_context(installs.held(order.version))
    attempt.installed = installs.provide(order, assignment.key, attempt.stopper, lambda: attempt.taken is not None)
    if attempt.installed and place and home:
        _copy(os.path.join(attempt.installed, home), os.path.join(work, home), set())


def _copy(source: str, target: str, without: "set[str]") -> None:
    """A folder with all that is in it, over what is there; names of `without` at its top are left out. Raises NotUsable, OSError."""
    if folder.is_deep(source):
        raise inputs.NotUsable(
            "bad_input", "folders beside its install are more than %d levels deep" % folder.DEPTH_MAX
        )
    os.makedirs(target, exist_ok=True)
    shutil.copytree(
        source,
        target,
        symlinks=True,
        ignore=lambda parent, _: without if parent == source else set(),
        dirs_exist_ok=True,
    )
