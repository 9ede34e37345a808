"""A grader of Coursera's: told by variables (and, as the first generation was, by arguments) which part it grades."""

import json
import os
import runpy
import sys

told = dict(zip(sys.argv[1::2], sys.argv[2::2]))
part = os.environ.get("partId", told.get("partId"))
EXPECTED = {"5ShhY": ("area", (3, 4), 12), "Zb6wb": ("circumference", (3, 4), 14)}


def feedback(score, text):
    with open("/shared/feedback.json", "w") as file:
        json.dump({"fractionalScore": score, "feedback": text}, file)
    print(json.dumps({"fractionalScore": score, "feedback": text}))
    sys.exit(0)


if part not in EXPECTED:
    sys.exit(f"there is no part {part!r}")
name, arguments, expected = EXPECTED[part]
try:
    found = runpy.run_path("/shared/submission/rectangle.py")[name](*arguments)
except Exception as error:  # whatever a submission does is told to who wrote it
    feedback(0.0, f"Your program failed: {type(error).__name__}: {error}")
feedback(1.0 if found == expected else 0.25, f"{name}{arguments!r} is {found!r}")
