"""What moto records wrongly, bridged: one file for each gap.

CloudFormation says complete but drops public access block, lifecycle, TTL, point-in-time recovery, bucket policy and alarms: that is not
bridged; those are asserted on the template.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localcloud.gaps import (
    apigateway_import,
    lambda_mapping_role,
    lambda_recursion,
    s3_form_body,
    s3_missing_key,
    sqs_fifo,
    sqs_sender,
    sts_identity,
)

if TYPE_CHECKING:
    from localcloud.front import Front
    from localcloud.iam import Authorizer
    from localcloud.identity import Identities
    from localcloud.sources.hooks import Hooks


def install_all(front: Front, hooks: Hooks, authorizer: Authorizer, identities: Identities) -> None:
    """Install every bridge but those of instances, which their fleet installs itself."""
    apigateway_import.install(front)
    lambda_mapping_role.install(front, authorizer)
    lambda_recursion.install(front)
    s3_form_body.install(front)
    s3_missing_key.install(front, authorizer)
    sts_identity.install(front, identities)
    sqs_sender.install(hooks, front)
    sqs_fifo.Deduplication().install(hooks)
