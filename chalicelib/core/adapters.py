"""Whose conventions a grading job is run by, and what a job need not say because they say it (docs/graders.md).

The agent has the other half: `agent/adapters` lays the files out, calls the grader and reads its results.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from chalicelib.core.job_spec import FOLDER, Adapter, Input, Install, JobSpec, Wanted
from chalicelib.errors import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """`command`: "" where a job must say it. `inputs`: without an input at, or below, each of these it could not be graded; one at `.`
    may hold them all. `raw`: the file with the grader's results."""

    command: str
    folder: str
    timeout_s: int
    timeout_max_s: int | None = None
    inputs: tuple[str, ...] = ()
    raw: str
    setup: str = ""  # the script that is run once on a host


CONVENTIONS: Mapping[str, Convention] = {
    Adapter.GRADESCOPE: Convention(
        command="/autograder/run_autograder",
        folder="/autograder",
        timeout_s=600,
        inputs=("source", "submission"),
        raw="results/results.json",
        setup="source/setup.sh",
    ),
    Adapter.PRAIRIELEARN: Convention(
        command="", folder="/grade", timeout_s=30, timeout_max_s=600, raw="results/results.json"
    ),
    Adapter.COURSERA: Convention(
        command="", folder="/shared", timeout_s=1200, inputs=("submission",), raw="feedback.json"
    ),
}


def setup_of(adapter: str) -> str:
    """The script that an adapter's graders bring to be run once on a host; "" where they bring none."""
    convention = CONVENTIONS.get(adapter)
    return convention.setup if convention is not None else ""


def completed(spec: JobSpec) -> JobSpec:
    """With all that its adapter says; what the job says stands."""
    convention = CONVENTIONS.get(spec.adapter)
    if convention is None:
        return spec
    raw = Wanted(glob=convention.raw)
    return replace(
        spec,
        command=spec.command or convention.command,
        timeout_s=spec.timeout_s or convention.timeout_s,
        folder=convention.folder if spec.folder == FOLDER else spec.folder,
        outputs=spec.outputs if any(one.glob == raw.glob for one in spec.outputs) else (*spec.outputs, raw),
        install=spec.install or (Install(path=convention.setup) if convention.setup else None),
    )


def faults(
    adapter: str, *, command: str | None, timeout_s: int | None, folder: str, result: str | None, hosts: int
) -> Iterator[Fault]:
    """What an adapter cannot work with of what a job, or its family, says."""
    convention = CONVENTIONS.get(adapter)
    if convention is None:
        return
    if command is None and not convention.command:
        yield Fault("command", f"is required: for {adapter} it is the grader's entrypoint")
    limit = convention.timeout_max_s
    if limit is not None and timeout_s is not None and timeout_s > limit:
        yield Fault("timeout_s", f"is {timeout_s}; {adapter} allows at most {limit}")
    if folder not in (FOLDER, convention.folder):
        yield Fault("folder", f"is {folder}; graders of {adapter} expect {convention.folder}")
    if hosts > 1:
        yield Fault("hosts", f"is {hosts}; a grader of {adapter} runs on one")
    if result is not None:
        yield Fault("result", f"is not said with adapter {adapter}: what its grader writes is the result")


def lacks(adapter: str, inputs: Iterable[Input]) -> Iterator[Fault]:
    """What a whole job must have among its inputs, at or below the paths that its adapter names; one at `.` may hold them all."""
    convention, inputs = CONVENTIONS.get(adapter), tuple(inputs)
    tops = {_top(one.path) for one in inputs}
    if convention is None:
        return
    for index, one in enumerate(inputs):
        if _plain(one.path) in convention.inputs and not one.unpack and one.git is None:
            yield Fault(f"inputs[{index}]", f"is a file at {one.path}: unpack it there, or name a file in that folder")
    if "." in tops:
        return
    missing = [path for path in convention.inputs if path not in tops]
    if missing:
        needs = " and ".join(convention.inputs)
        yield Fault("inputs", f"have nothing at {missing[0]}: {adapter} grades {needs}")


def _top(path: str) -> str:
    return _plain(path).partition("/")[0] or "."


def _plain(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))
