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
