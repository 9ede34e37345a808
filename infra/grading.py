"""The PrairieLearn installation that a stage grades for: its bucket and its results queue, as its operator names them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.core.s3_places import ADDRESS, Place, place
from infra import chalice_config
from infra.errors import InfraError
from infra.s3_inputs import NONE, bucket_place

if TYPE_CHECKING:
    import boto3


@dataclass(frozen=True, slots=True)
class Grading:
    """What was named; all empty: this stage grades for nobody."""

    bucket: Place | None = None
    results_url: str = ""
    results_arn: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """As the functions read it."""
        return {
            "SPILLWAY_GRADING_BUCKET": str(self.bucket or ""),
            "SPILLWAY_GRADING_RESULTS_URL": self.results_url,
            "SPILLWAY_GRADING_RESULTS_ARN": self.results_arn,
        }


def wanted(
    session: boto3.session.Session, project_dir: Path, stage: str, home: str, bucket: str | None, queue: str | None
) -> Grading:
    """What was named now, or else before. `none` as a bucket takes it back. Raises InfraError for what is not there."""
    if bucket is None and queue is None:
        stages = chalice_config.read(project_dir).get("stages", {})
        before = stages.get(stage, {}).get("environment_variables", {})
        known = before.get("SPILLWAY_GRADING_BUCKET", "")
        urls = before.get("SPILLWAY_GRADING_RESULTS_URL", ""), before.get("SPILLWAY_GRADING_RESULTS_ARN", "")
        return Grading(place(known), *urls) if known else Grading()
    if bucket == NONE:
        return Grading()
    if not bucket or not queue:
        raise InfraError("Grading needs both: --grading-bucket BUCKET and --grading-results QUEUE.")
    sqs = session.client("sqs")
    try:
        url = str(sqs.get_queue_url(QueueName=queue)["QueueUrl"])
    except ClientError as error:
        if "NonExistentQueue" in error.response["Error"]["Code"]:
            raise InfraError(f"There is no queue {queue} in {home}.") from error
        raise
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return Grading(bucket_place(session, home, f"{ADDRESS}{bucket.removeprefix(ADDRESS).strip('/')}/"), url, arn)
