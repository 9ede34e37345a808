"""The places in S3 that a stage's jobs may take objects from: as people name them, with the regions of their buckets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.core.s3_places import ADDRESS, Place, place, split
from infra import chalice_config
from infra.errors import InfraError

if TYPE_CHECKING:
    import boto3

NONE = "none"


def wanted(
    session: boto3.session.Session, project_dir: Path, stage: str, home: str, said: Sequence[str] | None
) -> tuple[Place, ...]:
    """The places that were named, or (None) those of the last time. Raises InfraError for what is no place, or no bucket."""
    if said is None:
        stages = chalice_config.read(project_dir).get("stages", {})
        before = stages.get(stage, {}).get("environment_variables", {}).get("SPILLWAY_S3_INPUTS", "")
        return tuple(place(text) for text in before.split(",") if text)
    named = [text for text in said if text != NONE]
    return tuple(dict.fromkeys(bucket_place(session, home, text) for text in named))


def bucket_place(session: boto3.session.Session, home: str, text: str) -> Place:
    """The place that `s3://bucket/prefix/` names, in its bucket's region. Raises InfraError."""
    bucket, prefix = split(text)
    if not text.startswith(ADDRESS):
        raise InfraError(f"{text!r} is no place in S3: write s3://bucket/prefix/.")
    prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
    try:
        found = place(f"{home}:{bucket}/{prefix}")
    except ValueError:
        raise InfraError(
            f"{text!r} is no place in S3: its bucket or its prefix has characters that are not allowed here."
        ) from None
    return Place(_region(session, bucket, home), found.bucket, found.prefix)


def _region(session: boto3.session.Session, bucket: str, home: str) -> str:
    """S3 tells a bucket's region even to those who may not read it."""
    try:
        answer = session.client("s3").head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            raise InfraError(f"There is no bucket {bucket}.") from error
        answer = error.response
    return str(answer["ResponseMetadata"].get("HTTPHeaders", {}).get("x-amz-bucket-region") or home)
