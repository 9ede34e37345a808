"""A course's autograder on the deployed system: from the zip that it uploads to the marks."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from deployed_once import ROOT, Deployed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
EXAMPLE = ROOT / "examples" / "graders" / "gradescope"


def zipped(folder: Path, path: Path, leave_out: str = "") -> Path:
    """As a course zips it: the files at the top, Unix modes lost."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for file in sorted(folder.iterdir()):
            if file.name != leave_out:
                archive.writestr(file.name, file.read_bytes())
    path.write_bytes(whole.getvalue())
    return path


def test_a_gradescope_autograder_marks_what_is_handed_in(deployed: Deployed, tmp_path: Path) -> None:
    """The family has the grader, a job the submission; a wrong zip is nobody's fault who handed in, and the host works on."""
    spillway = deployed.client
    autograder = spillway.upload(zipped(EXAMPLE / "autograder", tmp_path / "autograder.zip"), "source/")
    broken = spillway.upload(zipped(EXAMPLE / "autograder", tmp_path / "broken.zip", "run_autograder"), "source/")
    for name, source in (("fib", autograder), ("fib-broken", broken)):
        defaults = {"adapter": "gradescope", "inputs": [source], "memory_mib": 128, "timeout_s": 60}
        spillway.put_family(name, {"title": name, "defaults": defaults})

    def submitted(family: str, submission: str) -> str:
        handed_in = spillway.upload(EXAMPLE / submission, "submission")
        labels = {"email": f"{submission}@example.org"}
        return spillway.submit(family=family, inputs=[handed_in], labels=labels).id

    ids = [submitted("fib", "right"), submitted("fib-broken", "right"), submitted("fib", "broken")]
    right, nobodys, wrong = spillway.wait(ids, timeout_s=120)
    assert (right.state, right.reason) == ("succeeded", "graded: 10 of 10"), right
    assert right.result["output"] == "Graded for right@example.org."
    assert [output["path"] for output in right.outputs] == ["results/results.json"]
    assert (wrong.state, wrong.result["score"], wrong.cause) == ("succeeded", 0, ""), wrong
    assert (nobodys.state, nobodys.cause, nobodys.started_at) == ("lost", "grader", None), nobodys
    assert "no run_autograder at the top of source" in (nobodys.reason or "")
    assert "since its grader is broken" in " ".join(spillway.why(nobodys.id).sentences)
