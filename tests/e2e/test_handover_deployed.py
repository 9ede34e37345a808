"""What jobs are handed beside their command, through deployed functions and their own policies."""

from __future__ import annotations

import pytest
from deployed_once import ELSEWHERE, Deployed

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
