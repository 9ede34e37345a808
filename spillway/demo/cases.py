"""What is graded: examples/grading/expected.json as jobs, and what this machine cannot run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spillway.errors import BadInput

if TYPE_CHECKING:
    from spillway.client import Client
    from spillway.records import Job

GRADE = "python3 grader/grade.py assignment submission --hide-tests"
TIMEOUT_S = 180  # the grader has limits of its own; this one is for a grader that hangs
BATCH_MAX = 20


@dataclass(frozen=True)
class Case:
    """One submission and what is expected of it. `state` is the job's final state, `mark` its score."""

    assignment: str
    submission: str
    mark: int
    max: int
    state: str
    hostile: bool
    needs_compiler: bool
    why: str
    command: str | None = None
    timeout_s: int = TIMEOUT_S
    memory_mib: int = 512
    log_cut: bool = False

    @property
    def name(self) -> str:
        """`words/right`: also the job's name, by which a queue submission is found again."""
        return f"{self.assignment}/{self.submission}"


@dataclass(frozen=True)
class Mark:
    """A case and how its job ended."""

    case: Case
    job: Job

    @property
    def score(self) -> float:
        """The result's score; 0 where there is none."""
        result = self.job.result
        score = result.get("score", 0) if isinstance(result, dict) else 0
        return score if isinstance(score, int | float) else 0

    @property
    def log_was_cut(self) -> bool:
        """The log reached its limit."""
        return bool((self.job.log or {}).get("cut"))

    @property
    def wrong(self) -> str | None:
        """What differs from what was expected; None if nothing does."""
        if self.job.state != self.case.state:
            return f"the job is {self.job.state} ({self.job.reason}), not {self.case.state}"
        if self.score != self.case.mark:
            return f"the mark is {self.score:g}, not {self.case.mark}"
        if self.case.log_cut and not self.log_was_cut:
            return "its log was not cut"
        return None


def read_cases(folder: Path) -> list[Case]:
    """All cases of examples/grading."""
    file = folder / "expected.json"
    try:
        return [Case(**entry) for entry in json.loads(file.read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{file} cannot be used: {error}.") from error


def runnable(cases: Sequence[Case]) -> tuple[list[Case], dict[str, str]]:
    """The cases that this machine can run, and for each other one why it is skipped."""
    from localcloud import doctor  # what `make setup` calls missing is what is skipped here

    lacking = {}
    if doctor.bubblewrap_lack() or not _machines_have("bwrap"):
        lacking["hostile"] = "needs the sandbox, and bubblewrap is missing or does not work"
    if doctor.compiler_lack() or not _machines_have(*doctor.C_COMPILERS):
        lacking["needs_compiler"] = "needs a C compiler"
    skipped = {case.name: why for case in cases for need, why in lacking.items() if getattr(case, need)}
    return [case for case in cases if case.name not in skipped], skipped


def split(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """(by HTTP in one batch, on the submissions queue): every fourth takes the queue, and what the batch has no room for."""
    by_http = [case for n, case in enumerate(cases) if n % 4 != 3][:BATCH_MAX]
    return by_http, [case for case in cases if case not in by_http]


def specs(spillway: Client, folder: Path, cases: Sequence[Case], pool: str) -> dict[str, dict[str, Any]]:
    """A JobSpec for each case, by its name; what they need is uploaded."""
    grader = spillway.upload(folder / "grader")
    assignments: Mapping[str, Any] = {
        name: spillway.upload(folder / name, "assignment")
        for name in {case.assignment for case in cases if case.command is None}
    }
    found = {}
    for case in cases:
        submission = spillway.upload(folder / "submissions" / case.assignment / case.submission, "submission")
        spec: dict[str, Any] = {
            "pool": pool,
            "name": case.name,
            "owner": "demo-course",
            "labels": {"assignment": case.assignment, "submission": case.submission},
            "command": case.command or GRADE,
            "timeout_s": case.timeout_s,
            "memory_mib": case.memory_mib,
        }
        if case.command is None:
            spec |= {"inputs": [grader, assignments[case.assignment], submission], "result": "result.json"}
        else:
            spec |= {"inputs": [submission]}
        found[case.name] = spec
    return found


def _machines_have(*names: str) -> bool:
    """One of the programs is where the embedded cloud's machines look: in the system's folders, not in this user's PATH."""
    return any(shutil.which(name, path="/usr/local/bin:/usr/bin:/bin") for name in names)
