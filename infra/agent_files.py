"""The agent in the bucket: its zipapp and boot script, under the zipapp's own hash, so that an upload never changes what a host runs."""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra.terminal import Report


@dataclass(frozen=True, slots=True)
class AgentFiles:
    """`zipapp` is what hosts run; `boot_script` what user data starts with."""

    sha256: str
    zipapp: bytes
    boot_script: str


def build() -> AgentFiles:
    """Build both from agent/ of this checkout."""
    agent: Any = importlib.import_module("agent.build")
    with tempfile.TemporaryDirectory() as folder:
        built = agent.build(Path(folder))
        return AgentFiles(sha256=built.sha256, zipapp=Path(built.path).read_bytes(), boot_script=agent.boot_script())


def upload(s3: Any, bucket: str, files: AgentFiles, report: Report) -> None:
    """Put what is not there yet. The boot script may change while the agent does not, so it is compared."""
    for key, body, kind in (
        (f"agent/{files.sha256}.pyz", files.zipapp, "application/zip"),
        (f"agent/{files.sha256}.boot.py", files.boot_script.encode(), "text/x-python"),
    ):
        if _stored(s3, bucket, key) == body:
            continue
        s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=kind)
        report(f"agent: uploaded {key} ({len(body):,} bytes)")


def _stored(s3: Any, bucket: str, key: str) -> bytes | None:
    try:
        body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise
    return body
