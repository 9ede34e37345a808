"""Coursera's graders: a program that is told which part it grades, a submission in /shared/submission, feedback as one JSON object.

Both generations of its tools are kept (`coursera_autograder grade local` says what is valid): the first gave `partId X userId Y filename
Z` as arguments and read the last line of the program's output; the second gives them as variables and reads /shared/feedback.json. The
job's command is what its image calls the entrypoint; an input `grader` is seen at /grader, where most images have it. A grader that does
not end with 0 has not graded.
"""

from __future__ import annotations

import json
import shlex
from typing import Any, Mapping, Optional

from agent.adapters import Adapter, Broken, Found, Layout, Seen, marks, unmarked
from agent.manifest import Assignment

ARGUMENTS = ("partId", "userId", "filename")
TRIES_MAX = 200  # lines that could begin an object, from the last one on


class Coursera(Adapter):
    """See above."""

    name = "coursera"
    folder = "/shared"
    timeout_s = 1200
    raw = "feedback.json"
    own = ("grader",)

    def layout(self, assignment: Assignment, found: Found) -> Layout:
        """A folder for the submission, which may be empty."""
        return Layout(("submission",))

    def command(self, assignment: Assignment) -> str:
        """With its arguments."""
        told = [(name, value) for name, value in self.environment(assignment).items() if name in ARGUMENTS]
        return " ".join([assignment.command, *(shlex.quote(word) for pair in told for word in pair)])

    def environment(self, assignment: Assignment) -> Mapping[str, str]:
        """The same as variables."""
        plain = {name: assignment.parameters.get(name) for name in ARGUMENTS}
        return {name: str(value) for name, value in plain.items() if isinstance(value, (str, int))}

    def shown(self, assignment: Assignment) -> tuple[tuple[str, str], ...]:
        """Its files where its image would have them."""
        has = any(one.path.strip("./").split("/")[0] == "grader" for one in assignment.inputs)
        return (("grader", "/grader"),) if has else ()

    def mark(self, seen: Seen) -> dict[str, Any]:
        """Its score and feedback: as documented, or Broken."""
        value = seen.value
        if seen.problem:
            value = last_object(seen.said)
            if value is None:
                raise unmarked(
                    seen._replace(problem=seen.problem + "; and it printed no JSON object either"), "its grader"
                )
        if seen.exit_code != 0:
            raise Broken("its grader ended with exit code %s, so that its feedback does not count" % seen.exit_code)
        value = marks.an_object(value, "its feedback")
        if "fractionalScore" in value:
            score = marks.fraction(value["fractionalScore"], "its fractionalScore")
        elif isinstance(value.get("isCorrect"), bool):
            score = 1.0 if value["isCorrect"] else 0.0
        elif "isCorrect" in value:
            raise Broken("its isCorrect is %s, and must be true or false" % marks.short(value["isCorrect"]))
        else:
            score = None
        if score is None:
            raise Broken("its feedback has neither fractionalScore nor isCorrect")
        feedback = marks.text(value.get("feedback"), "its feedback")
        if feedback is None:
            raise Broken("its feedback has no text `feedback`")
        kind = "html" if value.get("feedbackType") == "HTML" else "text"
        return marks.fitted({"score": score, "max_score": 1.0, "tests": [], "output": feedback, "output_format": kind})


def last_object(said: str) -> Optional[Any]:
    """The last JSON object that begins a line of what was printed, and ends one; None where there is none."""
    decoder, end = json.JSONDecoder(parse_constant=_no_number), len(said)
    for _ in range(TRIES_MAX):
        start = said.rfind("\n{", 0, end) + 1
        if start == 0 and not said.startswith("{"):
            return None
        try:
            value, after = decoder.raw_decode(said, start)
            if not said[after : said.find("\n", after) if said.find("\n", after) >= 0 else len(said)].strip():
                return value
        except (ValueError, RecursionError):
            pass
        if start == 0:
            return None
        end = start
    return None


def _no_number(name: str) -> Any:
    raise ValueError("%s is not JSON" % name)
