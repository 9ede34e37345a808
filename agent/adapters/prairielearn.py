"""PrairieLearn's external graders: /grade with `tests`, `student`, `serverFilesCourse` and `data/data.json`, an entrypoint,
`results/results.json`.

Kept is what its documentation ("External Grading") and its grader host (`apps/grader-host`) do: an entrypoint that lies in /grade is made
executable; one that does not end with 0 has not graded, whatever it left; results are an object with `score` in [0, 1], unless `gradable`
is false. The job's command is the entrypoint, with its arguments.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from agent.adapters import Adapter, Broken, Found, Layout, Seen, marks, unmarked
from agent.manifest import Assignment

DATA = "data/data.json"


class PrairieLearn(Adapter):
    """See above."""

    name = "prairielearn"
    folder = "/grade"
    timeout_s = 30
    raw = "results/results.json"
    own = ("tests", "serverFilesCourse", "data", ".")
    asks = (DATA,)

    def asked(self, assignment: Assignment) -> tuple[str, ...]:
        """Its entrypoint too."""
        return (*self.asks, _inside(assignment)) if _inside(assignment) else self.asks

    def layout(self, assignment: Assignment, found: Found) -> Layout:
        """The entrypoint executable; `data.json` from the job's parameters, where none was given."""
        program = _inside(assignment)
        if program and program not in found.files:
            raise Broken("its entrypoint %s is not there" % _program(assignment))
        files = () if DATA in found.files else ((DATA, _data(assignment)),)
        return Layout((), files, ((program, program),) if program else ())

    def mark(self, seen: Seen) -> dict[str, Any]:
        """Score, tests, messages: as documented, or Broken."""
        if seen.problem:
            raise unmarked(seen, "its entrypoint")
        if seen.exit_code != 0:
            raise Broken("its entrypoint ended with exit code %s, so that its results do not count" % seen.exit_code)
        value = marks.an_object(seen.value, "its results")
        gradable = value.get("gradable", True)
        if not isinstance(gradable, bool):
            raise Broken("its gradable is %s, and must be true or false" % marks.short(gradable))
        score = marks.fraction(value.get("score"), "its score") if gradable else None
        if gradable and score is None:
            raise Broken('its results have no score, and do not say "gradable": false')
        wrong = value.get("format_errors")
        wrongs = [wrong] if isinstance(wrong, str) else marks.a_list(wrong, "its format_errors")
        if any(not isinstance(one, str) for one in wrongs):
            raise Broken("its format_errors must be texts")
        return marks.fitted(
            {
                "score": score,
                "max_score": 1.0,
                "gradable": gradable,
                "tests": [_test(one, index) for index, one in enumerate(_tests(value))],
                **marks.said(
                    {
                        "message": _shown(value.get("message")),
                        "output": _shown(value.get("output")),
                        "format_errors": wrongs,
                    }
                ),
            }
        )


def _tests(value: Any) -> list[Any]:
    """Its tests, where they are such: additional data is the grader's own, and PrairieLearn asks nothing of it."""
    tests = value.get("tests")
    return [one for one in tests if isinstance(one, dict)] if isinstance(tests, list) else []


def _test(test: Any, index: int) -> dict[str, Any]:
    def points(name: str) -> Any:
        found = test.get(name)
        return found if isinstance(found, (int, float)) and not isinstance(found, bool) else None

    return marks.said(
        {
            "name": _shown(test.get("name")) or "Test %d" % (index + 1),
            "score": points("points"),
            "max_score": points("max_points"),
            "description": _shown(test.get("description")),
            "message": _shown(test.get("message")),
            "output": _shown(test.get("output")),
        }
    )


def _shown(value: Any) -> Any:
    return value if isinstance(value, str) else None


def _words(assignment: Assignment) -> list[str]:
    try:
        return shlex.split(assignment.command)
    except ValueError:  # a quote that does not end: the shell will say so
        return []


def _program(assignment: Assignment) -> str:
    words = _words(assignment)
    return words[0] if words else ""


def _inside(assignment: Assignment) -> str:
    """The entrypoint relative to the work folder; "" where it is a program of the host's, or a shell's line."""
    program, folder = _program(assignment), assignment.folder + "/"
    if program.startswith(folder):
        inside = program[len(folder) :]
    elif program.startswith(("./", "serverFilesCourse/", "tests/")):
        inside = program
    else:
        return ""
    parts = [part for part in inside.split("/") if part not in ("", ".")]
    return "" if ".." in parts else "/".join(parts)


def _data(assignment: Assignment) -> str:
    """The question's data object: the job's parameter `data`, or one whose `params` are all of its parameters."""
    given = assignment.parameters.get("data")
    data = (
        given
        if isinstance(given, dict)
        else {"params": dict(assignment.parameters), "correct_answers": {}, "options": {}}
    )
    return json.dumps(data, ensure_ascii=False) + "\n"
