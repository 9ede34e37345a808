"""Graders that were written for other systems, run as they are: whose files lie where, what is called, and what its results mean.

An adapter is told by an assignment's `adapter`. All of it is data and pure functions: `layout` says what is to be done to the filled work
folder, `command`, `environment` and `shown` how the grader is called, `mark` what its results say. Doing it is agent/graded.py.

Two faults are never the submission's: what is wrong with the grader's own files, and results that are none. Both are `Broken`; then the
attempt is nobody's to pay for, and staff is told. A submission that does not compile is no fault at all: its grader says so in its
results.
"""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Optional

from agent.manifest import Assignment, Wrong

RAW_MAX_BYTES = 1 << 20  # of a results file: what PrairieLearn allows


class Broken(Exception):
    """The grader is broken. The message is a sentence for staff, that says what to do where that is known."""


class Layout(NamedTuple):
    """What a filled work folder still needs, all of it relative to it: folders that there must be, files (path, text) where there are
    none, programs (from, to) to be copied - onto themselves, where both are the same - and made executable. `texts`: such programs are
    scripts, whose lines may end as Windows has them."""

    folders: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    programs: tuple[tuple[str, str], ...] = ()
    texts: bool = False


class Found(NamedTuple):
    """The regular files of a work folder that were asked for, relative to it."""

    files: frozenset[str]


class Seen(NamedTuple):
    """What an ended grader left. `value` is its parsed results file, None with the `problem` that says why there is none; `said` is the
    last of what it printed."""

    value: Any
    problem: str
    said: str
    exit_code: Optional[int]


class Adapter:
    """A job's own command, as it is; the others say where they differ."""

    name = "command"
    folder = "/job"  # where it wants to find its work folder
    timeout_s = 0  # what it allows where a job does not say
    raw = ""  # its results file
    program = ""  # what it runs where a job names no command
    setup = ""  # the script of the grader's that is run once on a host
    own: tuple[
        str, ...
    ] = ()  # paths of inputs that belong to the grader: what is wrong with them is not the submission's fault
    asks: tuple[str, ...] = ()  # files that `layout` must know of; `*` is any one folder

    def asked(self, assignment: Assignment) -> tuple[str, ...]:
        """What `layout` wants to know of, in addition."""
        return self.asks

    def layout(self, assignment: Assignment, found: Found) -> Layout:
        """Raises Broken where files of the grader's are missing."""
        return Layout()

    def command(self, assignment: Assignment) -> str:
        """What is run."""
        return assignment.command

    def environment(self, assignment: Assignment) -> Mapping[str, str]:
        """Variables of its own."""
        return {}

    def shown(self, assignment: Assignment) -> tuple[tuple[str, str], ...]:
        """Parts of the work folder that are to be seen elsewhere too, read-only: (relative path, absolute path)."""
        return ()

    def mark(self, seen: Seen) -> dict[str, Any]:
        """The job's result, in the words that all adapters share (agent/adapters/marks.py). Raises Broken."""
        raise NotImplementedError


def of(name: str) -> Adapter:
    """The adapter of an assignment. Raises Wrong for one that there is not."""
    if name == "command":
        return Adapter()
    if name == "gradescope":
        from agent.adapters.gradescope import Gradescope

        return Gradescope()
    if name == "prairielearn":
        from agent.adapters.prairielearn import PrairieLearn

        return PrairieLearn()
    if name == "coursera":
        from agent.adapters.coursera import Coursera

        return Coursera()
    raise Wrong("there is no adapter %r" % (name,))


def completed(document: Mapping[str, Any]) -> dict[str, Any]:
    """An ASSIGNMENT with what its adapter says and it does not: the control plane's part, done where there is none. Raises Wrong."""
    adapter = of(document.get("adapter") or "command")
    found = dict(document)
    if adapter.raw:
        for name, value in (("command", adapter.program), ("folder", adapter.folder), ("timeout_s", adapter.timeout_s)):
            found[name] = found.get(name) or value
        globs = [one["glob"] if isinstance(one, dict) else one for one in found.get("outputs") or ()]
        if adapter.setup and found.get("install") is None:
            found["install"] = {"path": adapter.setup}
        found["outputs"] = [*(found.get("outputs") or ()), *([] if adapter.raw in globs else [adapter.raw])]
    return found


def unmarked(seen: Seen, what: str) -> Broken:
    """Why there is nothing to be marked: how it ended says more than that a file is missing."""
    ended = "" if seen.exit_code == 0 else "%s ended with exit code %s%s, and " % (what, seen.exit_code, _told(seen))
    return Broken(ended + seen.problem)


def _told(seen: Seen) -> str:
    if seen.exit_code == 126:
        return " (a shell's word for: it is there, and cannot be executed)"
    if seen.exit_code == 127:
        return " (a shell's word for: it, or what its first line names, is not there)"
    return ""
