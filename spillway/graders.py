"""A grader's folder, recognised by what lies in it: whose conventions it follows, and where its files and a submission belong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from spillway.errors import BadInput
from spillway.family_files import Files, taken

FAMILY = "family.json"


@dataclass(frozen=True)
class Grading:
    """The JobSpec of a grading, without its inputs, and those: (path in the work folder, file or folder here)."""

    document: dict[str, Any]
    files: Files


class Kind(NamedTuple):
    """`fits` says whether a folder is of this kind; `grading` makes the job of it and a submission."""

    adapter: str
    what: str
    fits: Callable[[Path], bool]
    grading: Callable[[Path, Path], Grading]


def _gradescope(grader: Path, submission: Path) -> Grading:
    return Grading({"adapter": "gradescope"}, [("source", grader), _handed_in("submission", submission)])


def _prairielearn(question: Path, submission: Path) -> Grading:
    options = _read(question / "info.json").get("externalGradingOptions") or {}
    courses = options.get("serverFilesCourse") if isinstance(options, dict) else None
    if not isinstance(options, dict) or not isinstance(courses or [], list):
        raise BadInput(
            f"{question}/info.json: externalGradingOptions is an object, and serverFilesCourse in it a list of names."
        )
    document: dict[str, Any] = {"adapter": "prairielearn"}
    for name, field in (
        ("entrypoint", "command"),
        ("timeout", "timeout_s"),
        ("environment", "environment"),
        ("enableNetworking", "network"),
    ):
        if (value := options.get(name)) is not None:
            document[field] = " ".join(value) if isinstance(value, list) else value
    files = [_handed_in("student", submission)]
    if (tests := question / "tests").is_dir():
        files.append(("tests", tests))
    course = next((folder for folder in question.resolve().parents if (folder / "infoCourse.json").is_file()), None)
    for name in courses or ():
        if course is None:
            raise BadInput(
                f"{question}/info.json wants serverFilesCourse/{name}, and there is no infoCourse.json above it."
            )
        files.append((f"serverFilesCourse/{name}", course / "serverFilesCourse" / name))
    return Grading(document, files)


def _family(grader: Path, submission: Path) -> Grading:
    family, files = taken(_read(grader / FAMILY), grader)
    if not isinstance(defaults := family.get("defaults"), dict):
        raise BadInput(f"{grader}/{FAMILY} has no defaults: an object with the fields of its jobs (docs/jobs.md).")
    return Grading(dict(defaults), [*files, _handed_in("submission", submission)])


KINDS = (
    Kind("command", f"a {FAMILY}", lambda f: (f / FAMILY).is_file(), _family),
    Kind("gradescope", "a run_autograder", lambda f: (f / "run_autograder").is_file(), _gradescope),
    Kind(
        "prairielearn",
        "an info.json with externalGradingOptions",
        lambda f: _has_options(f / "info.json"),
        _prairielearn,
    ),
)


def grading(grader: Path, submission: Path) -> Grading:
    """The grading of a submission (file or folder) by a grader's folder. Raises BadInput."""
    if grader.is_file():
        raise BadInput(f"{grader} is a file: unpack it, and name the folder.")
    if not grader.is_dir():
        raise BadInput(f"There is no folder {grader}.")
    for kind in KINDS:
        if kind.fits(grader):
            return kind.grading(grader, submission)
    raise BadInput(
        f"{grader} is no grader that is known: it holds neither {' nor '.join(kind.what for kind in KINDS)}."
    )


def _handed_in(folder: str, submission: Path) -> tuple[str, Path]:
    """A single file lies in the folder of that name, as where more than one was handed in."""
    return (f"{folder}/{submission.name}" if submission.is_file() else folder), submission


def _has_options(path: Path) -> bool:
    return path.is_file() and "externalGradingOptions" in _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise BadInput(f"{path} is no JSON: {error}.") from None
    if not isinstance(document, dict):
        raise BadInput(f"{path} should hold a JSON object.")
    return document
