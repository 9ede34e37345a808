"""What jobs are handed beside their command, through deployed functions and their own policies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from deployed_once import ELSEWHERE, Deployed
from git_server import TOKEN, GitServer

from spillway.errors import Refused

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_an_object_of_another_bucket_reaches_its_job(deployed: Deployed) -> None:
    """The role that signs may read what bootstrap allowed; what it did not allow is refused at submit."""
    deployed.cloud.aws("s3").put_object(Bucket=ELSEWHERE, Key="shared/a/lesson.txt", Body=b"the lesson")
    job = deployed.client.submit(
        "cat here/lesson", timeout_s=30, inputs=[{"path": "here/lesson", "s3": f"s3://{ELSEWHERE}/shared/a/lesson.txt"}]
    )
    done = deployed.client.wait([job.id], timeout_s=60)[0]
    assert done.succeeded, done
    assert deployed.client.log(job.id).text == "the lesson"
    with pytest.raises(Refused, match="in no place that jobs of admin may read"):
        deployed.client.submit("true", timeout_s=30, inputs=[{"path": "x", "s3": f"s3://{ELSEWHERE}/bob/x"}])


def test_secrets_of_both_services_reach_their_job_and_nobody_elses(deployed: Deployed) -> None:
    """Read by the pass's own role; the API shows their names only, and what is not there fails its job with a sentence."""
    deployed.cloud.aws("ssm").put_parameter(Name="/spillway/local/admin/one", Value="value-one", Type="SecureString")
    deployed.cloud.aws("secretsmanager").create_secret(Name="/spillway/local/admin/a/two", SecretString="value-two")
    deployed.cloud.aws("ssm").put_parameter(Name="/spillway/local/bob/three", Value="value-three", Type="SecureString")
    job = deployed.client.submit(
        "echo $ONE $TWO", timeout_s=30, secrets={"ONE": "ssm:one", "TWO": "secretsmanager:a/two"}
    )
    lacks = deployed.client.submit("true", timeout_s=30, secrets={"THREE": "ssm:three"})
    done, failed = deployed.client.wait([job.id, lacks.id], timeout_s=60)
    assert done.succeeded, done
    assert deployed.client.log(job.id).text == "value-one value-two\n"
    assert "value-one" not in str(done)
    assert failed.reason == "its secret ssm:three (/spillway/local/admin/three): there is none of this name"
    tables = deployed.cloud.aws("dynamodb")
    rows = [
        tables.scan(TableName=f"spillway-local-{name}")["Items"] for name in ("backlog", "hosts", "registry", "claims")
    ]
    assert "value-one" not in str(rows)


def test_a_repository_its_parameters_and_named_outputs(deployed: Deployed, tmp_path: Path) -> None:
    """A course's private grader, fetched with its token, told by parameters what to grade; what it leaves has names."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    (tmp_path / "private").mkdir()
    server = GitServer(tmp_path)
    try:
        marks = "import json; print(json.load(open('parameters.json'))['weights'])"
        script = f'python3 -c "{marks}" > marks.txt; echo $SPILLWAY_PARAM_EXERCISE'
        url = server.make("private/grader", {"grade.sh": script})
        parameters = deployed.cloud.aws("ssm")
        parameters.put_parameter(Name="/spillway/local/admin/git", Value=TOKEN, Type="SecureString")
        job = deployed.client.submit(
            "sh grader/grade.sh",
            timeout_s=30,
            parameters={"exercise": 3, "weights": [1, 2]},
            inputs=[{"path": "grader", "git": {"url": url, "branch": "main", "token": "ssm:git"}}],
            outputs=[{"name": "marks", "glob": "marks.*"}],
        )
        (done,) = deployed.client.wait([job.id], timeout_s=60)
        assert done.succeeded, done
        assert deployed.client.log(job.id).text == "3\n"
        (kept,) = deployed.client.outputs(job.id)
        assert (kept.name, kept.path) == ("marks", "marks.txt")
        assert deployed.client.download(kept, tmp_path / "into").read_text() == "[1, 2]\n"
    finally:
        server.close()
