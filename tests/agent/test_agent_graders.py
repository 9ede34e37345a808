"""Real graders of other systems under the real agent and the real sandbox."""

import pytest
from agent_machine import a_job

pytestmark = pytest.mark.usefixtures("sandboxed")

RUN = """#!/usr/bin/env bash\r
set -e\r
cd /autograder\r
mark=$(cat submission/answer.txt)\r
python3 - "$mark" <<'END'\r
import json, sys\r
who = json.load(open("/autograder/submission_metadata.json"))["users"][0]["email"]\r
json.dump({"tests": [{"name": who, "score": float(sys.argv[1]), "max_score": 2}]}, open("results/results.json", "w"))\r
END\r
"""


def gradescope(job, answer, **fields):
    """What the control plane hands over of such a job."""
    return a_job(
        job,
        "/autograder/run_autograder",
        adapter="gradescope",
        folder="/autograder",
        outputs=["results/results.json"],
        labels={"email": "ada@example.org"},
        install={"script": "true"},
        **{
            "inputs": [
                {"path": "source/run_autograder", "text": RUN},
                {"path": "source/setup.sh", "text": "apt-get install -y nothing\n"},
                {"path": "submission/answer.txt", "text": answer},
            ],
            **fields,
        },
    )


def test_graders_run_as_they_are_where_they_expect_to_be(machine):
    """Layout, line ends, metadata, results, for each system; what a broken one is told as."""
    one = machine(assignments=[gradescope("job-gs", "1.5")]).start()
    finish = one.wait("finish", "job-gs")
    assert finish["outcome"] == "succeeded", finish
    assert finish["result"] == {
        "score": 1.5,
        "max_score": 2.0,
        "tests": [{"name": "ada@example.org", "score": 1.5, "max_score": 2}],
    }
    assert [o["path"] for o in finish["outputs"]] == ["results/results.json"]
