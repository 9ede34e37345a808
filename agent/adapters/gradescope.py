"""Gradescope's autograders: a zip with `setup.sh` and `run_autograder`, unpacked to /autograder/source.

Their documentation ("Autograder Specifications", "Submission Metadata") is what this keeps: `run_autograder` is copied to /autograder and
run there, the submission is in /autograder/submission, what is known of it in /autograder/submission_metadata.json, and the results are
awaited in /autograder/results/results.json. As there, scripts are freed of Windows' line ends, and an exit code means nothing where there
are results. `setup.sh` is the job's `install`: it is run once on each host, not once for an image.
"""

from __future__ import annotations

import json
import time
from typing import Any, Mapping, Optional

from agent.adapters import Adapter, Broken, Found, Layout, Seen, marks, unmarked
from agent.manifest import Assignment

PROGRAM = "run_autograder"
METADATA = "submission_metadata.json"
VISIBILITY = frozenset(("visible", "hidden", "after_due_date", "after_published"))
FORMATS = frozenset(("text", "html", "simple_format", "md", "ansi"))
STATUS = frozenset(("passed", "failed"))
OUTPUTS = (("output_format", FORMATS), ("visibility", VISIBILITY))


class Gradescope(Adapter):
    """See above."""

    name = "gradescope"
    folder = "/autograder"
    timeout_s = 600
    program = "/autograder/" + PROGRAM
    setup = "source/setup.sh"
    raw = "results/results.json"
    own = ("source",)
    asks = ("source/" + PROGRAM, "source/*/" + PROGRAM, setup)

    def layout(self, assignment: Assignment, found: Found) -> Layout:
        """Its program where it is called, an empty results folder, and what is known of the submission."""
        if "source/" + PROGRAM not in found.files:
            inside = sorted(path for path in found.files if path.startswith("source/") and path.endswith("/" + PROGRAM))
            where = (
                "; it is in %s: zip the files themselves, not the folder that holds them"
                % inside[0][: -len(PROGRAM) - 1]
                if inside
                else ""
            )
            raise Broken("its autograder has no %s at the top of source%s" % (PROGRAM, where))
        wanted = assignment.install.path if assignment.install is not None else self.setup
        if wanted == self.setup and wanted not in found.files:
            raise Broken("its autograder has no setup.sh at the top of source")
        setup = ((self.setup, self.setup),) if self.setup in found.files else ()
        programs = (("source/" + PROGRAM, PROGRAM), *setup)
        return Layout(("submission", "results"), ((METADATA, _metadata(assignment)),), programs, texts=True)

    def mark(self, seen: Seen) -> dict[str, Any]:
        """Score, tests, visibility, output, leaderboard: as documented, or Broken."""
        if seen.problem:
            raise unmarked(seen, PROGRAM)
        value = marks.an_object(seen.value, "its results")
        tests = [
            _test(one, "tests[%d]" % index) for index, one in enumerate(marks.a_list(value.get("tests"), "its tests"))
        ]
        score = marks.number(value.get("score"), "its score")
        if score is None:
            scores = [one.get("score") for one in tests]
            score = marks.total(scores)
            if score is None:
                missing = next((i for i, one in enumerate(scores) if one is None), None)
                raise Broken(
                    "its results have no score, and no tests"
                    if missing is None
                    else "its results have no score, and neither has tests[%d]: one or the other is required" % missing
                )
        return marks.fitted(
            {
                "score": score,
                "max_score": marks.total([one.get("max_score") for one in tests]),
                "tests": tests,
                **marks.said(
                    {
                        "output": marks.text(value.get("output"), "its output"),
                        "output_format": marks.word(value.get("output_format"), "its output_format", FORMATS),
                        "visibility": marks.word(value.get("visibility"), "its visibility", VISIBILITY),
                        "stdout_visibility": marks.word(
                            value.get("stdout_visibility"), "its stdout_visibility", VISIBILITY
                        ),
                        "execution_time": marks.number(value.get("execution_time"), "its execution_time"),
                        "leaderboard": [
                            _row(one, "leaderboard[%d]" % index)
                            for index, one in enumerate(marks.a_list(value.get("leaderboard"), "its leaderboard"))
                        ],
                        "extra_data": value.get("extra_data"),
                    }
                ),
            }
        )


def _test(value: Any, what: str) -> dict[str, Any]:
    test = marks.an_object(value, what)
    tags = marks.a_list(test.get("tags"), what + ".tags")
    if any(not isinstance(tag, str) for tag in tags):
        raise Broken("%s.tags must be texts" % what)
    numbered = test.get("number")
    if isinstance(numbered, (int, float)) and not isinstance(numbered, bool):
        numbered = str(numbered)  # 1.1 is meant as a text, and often written as none
    return marks.said(
        {
            "name": marks.text(test.get("name"), what + ".name"),
            "number": marks.text(numbered, what + ".number"),
            "score": marks.number(test.get("score"), what + ".score"),
            "max_score": marks.number(test.get("max_score"), what + ".max_score"),
            "status": marks.word(test.get("status"), what + ".status", STATUS),
            "output": marks.text(test.get("output"), what + ".output"),
            **{name: marks.word(test.get(name), "%s.%s" % (what, name), words) for name, words in OUTPUTS},
            "name_format": marks.word(test.get("name_format"), what + ".name_format", FORMATS),
            "tags": tags,
            "extra_data": test.get("extra_data"),
        }
    )


def _row(value: Any, what: str) -> dict[str, Any]:
    row = marks.an_object(value, what)
    name = marks.text(row.get("name"), what + ".name")
    shown = row.get("value")
    if name is None or not isinstance(shown, (str, int, float)):
        raise Broken("%s needs a name and a value" % what)
    order = marks.word(row.get("order"), what + ".order", frozenset(("asc", "desc")))
    return marks.said({"name": name, "value": shown, "order": order})


def _metadata(assignment: Assignment) -> str:
    """What Gradescope would say of the submission, as far as the job says it: its parameter `submission_metadata`, field by field over
    this."""
    labels = assignment.labels
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    known: dict[str, Any] = {
        "id": assignment.job,
        "created_at": now,
        "assignment": {
            "id": labels.get("assignment"),
            "course_id": labels.get("course"),
            "title": labels.get("assignment"),
            "due_date": labels.get("due_date"),
            "late_due_date": None,
            "release_date": None,
            "group_size": None,
            "group_submission": False,
            "total_points": None,
        },
        "submission_method": "upload",
        "users": [{"id": labels.get("student"), "email": labels.get("email"), "name": labels.get("name")}],
        "previous_submissions": [],
    }
    given = assignment.parameters.get("submission_metadata")
    return json.dumps(_over(known, given if isinstance(given, dict) else None), ensure_ascii=False, indent=1) + "\n"


def _over(known: Mapping[str, Any], given: Optional[Mapping[str, Any]]) -> dict[str, Any]:
    found = {**known, **(given or {})}
    if given is not None and isinstance(given.get("assignment"), dict):
        found["assignment"] = {**known["assignment"], **given["assignment"]}
    return found
