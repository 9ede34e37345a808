"""Real graders of other systems (examples/graders) under the real agent and the real sandbox."""

from pathlib import Path

import pytest
from agent_machine import a_job

from agent.adapters import completed
from spillway.bundle import pack

pytestmark = pytest.mark.usefixtures("sandboxed")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "graders"
QUESTION = EXAMPLES / "prairielearn"


@pytest.fixture
def town(machine):
    """A machine, and how it is given jobs: `town(job, adapter, {path: folder, text or bytes}, **fields)`."""
    one, jobs = machine(settings={"slots": 4}), []

    def add(job, adapter, inputs, **fields):
        entries, urls = [], {}
        for path, source in inputs.items():
            if not isinstance(source, str):
                sha256, address = one.put_input(pack(source) if isinstance(source, Path) else source)
                urls[sha256] = address
                entries.append({"path": path, "sha256": sha256, "unpack": True})
            else:
                entries.append({"path": path, "text": source})
        said = a_job(job, inputs=entries, urls=urls, adapter=adapter, cpu=0.5, **fields)
        install = {} if "install" in fields else {"install": None}
        jobs.append({**completed({**said, "command": fields.get("command"), "folder": None}), **install})

    def start():
        one.manifest["hosts"][0]["assignments"] = jobs
        return one.start()

    add.start = start
    return add


def test_graders_run_unchanged_and_bad_submissions_get_bad_marks(town):
    """Each system's layout, call and results; what a student did wrong is the grader's to say, and the job has succeeded."""
    gradescope = EXAMPLES / "gradescope"
    for name in ("right", "broken"):
        inputs = {"source": gradescope / "autograder", "submission": gradescope / name}
        town("job-" + name, "gradescope", inputs, labels={"email": "ada@example.org"})
    question = {
        "serverFilesCourse": QUESTION / "serverFilesCourse",
        "tests": QUESTION / "questions" / "fibonacci" / "tests",
    }
    for name in ("right", "unreadable"):
        inputs = {**question, "student": QUESTION / name}
        town("job-pl-" + name, "prairielearn", inputs, command="/grade/serverFilesCourse/checker/run.sh")
    for part in ("5ShhY", "Zb6wb"):
        inputs = {"grader": EXAMPLES / "coursera" / "grader", "submission": EXAMPLES / "coursera" / "submission"}
        said = {"partId": part, "userId": 42, "filename": "my rectangle.py"}
        town("job-" + part, "coursera", inputs, command="python3 /grader/grade.py", parameters=said)
    one = town.start()
    finish = {p["job"]: p for p in (one.wait("finish", job) for job in ("job-right", "job-broken"))}
    right, wrong = finish["job-right"], finish["job-broken"]
    assert (right["outcome"], right["cause"], right["reason"]) == ("succeeded", "", "graded: 10 of 10"), right
    assert right["result"]["output"] == "Graded for ada@example.org."
    assert [test["visibility"] for test in right["result"]["tests"]] == ["visible", "visible", "after_published"]
    assert [output["path"] for output in right["outputs"]] == ["results/results.json"]
    assert (wrong["outcome"], wrong["result"]["score"]) == ("succeeded", 0), wrong
    assert "SyntaxError" in wrong["result"]["tests"][0]["output"]
    right, unreadable = one.wait("finish", "job-pl-right"), one.wait("finish", "job-pl-unreadable")
    assert (right["outcome"], right["result"]["score"], len(right["result"]["tests"])) == ("succeeded", 1.0, 3), right
    assert (unreadable["outcome"], unreadable["reason"]) == ("succeeded", "graded: not gradable"), unreadable
    assert "fib.py cannot be read" in unreadable["result"]["format_errors"][0]
    area, wrong = one.wait("finish", "job-5ShhY"), one.wait("finish", "job-Zb6wb")
    assert (area["result"]["score"], area["result"]["output"]) == (1.0, "area(3, 4) is 12"), area
    assert (wrong["outcome"], wrong["result"]["score"]) == ("succeeded", 0.25), wrong


WINDOWS = "#!/bin/sh\r\nset -e\r\necho '{\"score\": 2}' > results/results.json\r\ngrep -c $(printf '\\015') source/setup.sh; true\r\n"


def test_broken_graders_are_told_from_bad_submissions(town):
    """Missing, crashed, silent, oversized: the grader's fault, also where nothing was begun; a limit is the job's own."""
    source = {"source/setup.sh": "true", "submission/x": ""}
    setup = {"source/setup.sh": "#!/bin/sh\r\ntrue\r\n", "submission/x": ""}
    town("job-windows", "gradescope", {**setup, "source/run_autograder": WINDOWS})
    town("job-none", "gradescope", {"submission/x": "", "source/hw1/run_autograder": WINDOWS})
    town("job-noway", "gradescope", {**source, "source/run_autograder": "#!/usr/bin/nothing\n"})
    town("job-silent", "gradescope", {**source, "source/run_autograder": "#!/bin/sh\nexit 0\n"})
    link = "#!/bin/sh\nln -s /etc/passwd results/results.json\n"
    town("job-link", "gradescope", {**source, "source/run_autograder": link})
    huge = "#!/bin/sh\nhead -c 2000000 /dev/zero > results/results.json\n"
    town("job-huge", "gradescope", {**source, "source/run_autograder": huge})
    long = """#!/bin/sh\npython3 -c 'print("{\\"score\\": 3, \\"output\\": \\"" + "x" * 500000 + "\\"}")' > results/results.json\n"""
    town("job-long", "gradescope", {**source, "source/run_autograder": long})
    slow = "#!/bin/sh\nsleep 60\n"
    town("job-slow", "gradescope", {**source, "source/run_autograder": slow}, timeout_s=1)
    printed = """head -c 2000000 /dev/zero; printf '\\n{"isCorrect": true, "feedback": "%s"}\\n' "$partId"; true"""
    town("job-printed", "coursera", {"submission/x": ""}, command=printed, parameters={"partId": "5ShhY"})
    stale = {"results/results.json": '{"score": 100}', "submission/x": "", "source/setup.sh": "true"}
    town("job-stale", "gradescope", {**stale, "source/run_autograder": "#!/bin/sh\nexit 0\n"})
    run = {"source/setup.sh": "true", "source/run_autograder": WINDOWS}
    town("job-unreadable", "gradescope", {**run, "submission": b"no archive"})
    town("job-unreadable-grader", "gradescope", {"source": b"no archive", "submission/x": ""})
    one = town.start()
    for job, why in (("job-unreadable", "bad_input"), ("job-unreadable-grader", "bad_grader")):
        assert one.wait("refused", job)["why"] == why
    windows = one.wait("finish", "job-windows")
    assert (windows["result"]["score"], windows["log"]["text"]) == (2, "0\n"), windows
    refused = one.wait("refused", "job-none")
    assert refused["why"] == "bad_grader"
    assert "it is in source/hw1: zip the files themselves" in refused["reason"]
    reasons = {
        "job-noway": "run_autograder ended with exit code 127",
        "job-silent": "it wrote no result 'results/results.json'",
        "job-stale": "it wrote no result 'results/results.json'",
        "job-link": "is not in the work folder",
        "job-huge": "is larger than 1024 KiB",
    }
    for job, reason in reasons.items():
        finish = one.wait("finish", job)
        assert (finish["outcome"], finish["cause"], finish["result"]) == ("infrastructure", "grader", None), finish
        assert finish["reason"].startswith("its grader is broken: "), finish
        assert reason in finish["reason"], finish
    long = one.wait("finish", "job-long")["result"]
    assert (long["score"], long["cut"], len(long["output"])) == (3, True, 8192)
    printed = one.wait("finish", "job-printed")["result"]
    assert (printed["score"], printed["output"]) == (1.0, "5ShhY")
    slow = one.wait("finish", "job-slow")
    assert (slow["outcome"], slow["cause"], slow["result"]) == ("timed_out", "", None), slow
