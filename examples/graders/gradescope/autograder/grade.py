"""Grades `fib(n)` of a submission's fib.py, test by test, in the format that Gradescope reads."""

import json
import subprocess
import sys

submission, results = sys.argv[1:]
CASES = [
    ("1.1", "the first ones", 1, 1, 2, "visible"),
    ("1.2", "a larger one", 10, 55, 3, "visible"),
    ("2", "too large for a naive recursion", 90, 2880067194370816120, 5, "after_published"),
]
PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); import fib; print(fib.fib(int(sys.argv[2])))"


def run(n):
    """What the submission says of `n`: (its output, what went wrong). It runs in a process of its own."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", PROGRAM, submission, str(n)], capture_output=True, text=True, timeout=5
        )
    except subprocess.TimeoutExpired:
        return "", "It ran for more than 5 seconds."
    return done.stdout.strip(), done.stderr[-2000:]


tests = []
for number, name, n, expected, points, visibility in CASES:
    output, wrong = run(n)
    passed = output == str(expected)
    tests.append(
        {
            "number": number,
            "name": f"fib({n}): {name}",
            "score": points if passed else 0,
            "max_score": points,
            "status": "passed" if passed else "failed",
            "output": "" if passed else wrong or f"fib({n}) is {expected}, not {output[:100]}",
            "visibility": visibility,
        }
    )
with open("submission_metadata.json") as file:
    who = json.load(file)["users"][0]["email"] or "somebody"
with open(results, "w") as file:
    json.dump({"tests": tests, "output": f"Graded for {who}.", "stdout_visibility": "hidden"}, file)
