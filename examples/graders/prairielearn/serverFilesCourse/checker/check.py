"""Checks fib.py against the question's cases, in the format that PrairieLearn reads."""

import json
import subprocess
import sys
from pathlib import Path

GRADE = Path("/grade")
PROGRAM = "import sys; sys.path.insert(0, '/grade/student'); import fib; print(fib.fib(int(sys.argv[1])))"


def answer(results):
    (GRADE / "results" / "results.json").write_text(json.dumps(results))
    sys.exit(0)


def run(n):
    try:
        command = [sys.executable, "-I", "-c", PROGRAM, str(n)]
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
    except subprocess.TimeoutExpired:
        return "nothing within 5 seconds"


try:
    compile((GRADE / "student" / "fib.py").read_text(), "fib.py", "exec")
except (OSError, SyntaxError) as error:
    answer({"gradable": False, "format_errors": f"fib.py cannot be read: {error}"})
tests = []
for case in json.loads((GRADE / "tests" / "cases.json").read_text()):
    said = run(case["n"])
    right = said == str(case["is"])
    tests.append(
        {
            "name": f"fib({case['n']})",
            "points": case["points"] if right else 0,
            "max_points": case["points"],
            "message": "" if right else f"expected {case['is']}, got {said[:100]}",
        }
    )
score = sum(test["points"] for test in tests) / sum(test["max_points"] for test in tests)
answer({"gradable": True, "score": score, "tests": tests})
