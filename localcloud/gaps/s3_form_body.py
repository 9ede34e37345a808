"""An object put with `Content-Type: application/x-www-form-urlencoded` (urllib's default): moto reads it as a form and stores nothing."""

from __future__ import annotations

from localcloud.calls import AwsCall, AwsReply
from localcloud.front import Forward, Front

FORM = "application/x-www-form-urlencoded"


def install(front: Front) -> None:
    """Let moto see bytes; the object's recorded content type is then S3's default one."""

    def as_bytes(call: AwsCall, forward: Forward) -> AwsReply:
        if call.environ.get("CONTENT_TYPE", "").startswith(FORM):
            call.environ = {**call.environ, "CONTENT_TYPE": "binary/octet-stream"}
        return forward(call)

    for action in ("PutObject", "UploadPart"):
        front.intercept("s3", action, as_bytes)
