"""A missing object answers 404 only to those who may list the bucket; S3 tells everybody else 403, and so must we."""

from __future__ import annotations

from localcloud.calls import AwsCall, AwsReply
from localcloud.front import Forward, Front
from localcloud.iam import Authorizer, denied
from localcloud.policy import Request


def install(front: Front, authorizer: Authorizer) -> None:
    """Stand around GetObject and HeadObject."""

    def hide(call: AwsCall, forward: Forward) -> AwsReply:
        reply = forward(call)
        if reply.status != 404 or call.principal is None:
            return reply
        wanted = Request("s3:ListBucket", f"arn:aws:s3:::{call.params.get('Bucket')}", {})
        return reply if authorizer.allows(call.principal, wanted) else denied(call, call.principal, wanted)

    for action in ("GetObject", "HeadObject"):
        front.intercept("s3", action, hide)
