"""The real cloud: the ports on boto3's engine, wired for one stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.cloud.asg import AsgGroups
from chalicelib.cloud.blobs import S3Blobs
from chalicelib.cloud.clients import Clients
from chalicelib.cloud.compute import Ec2Compute
from chalicelib.cloud.facts import Ec2Facts
from chalicelib.cloud.notices import SnsNotices
from chalicelib.cloud.outside import AwsOutside
from chalicelib.cloud.ports import Cloud
from chalicelib.cloud.queues import SqsQueues
from chalicelib.cloud.requests import Requests
from chalicelib.cloud.secrets import AwsSecrets
from chalicelib.config import Settings

if TYPE_CHECKING:
    from botocore.session import Session


@dataclass(frozen=True, slots=True)
class AwsCloud(Cloud):
    """`ports.Cloud` and the count of what it asked of AWS."""

    requests: Requests


def aws_cloud(settings: Settings, *, endpoint_url: str | None = None, session: Session | None = None) -> AwsCloud:
    """The stage's cloud. Nothing of AWS is imported or reached before the first call.

    `endpoint_url` and `session` (a botocore session) take the place of the environment's AWS_ENDPOINT_URL and credentials.
    """
    requests = Requests()
    clients = Clients(requests, endpoint_url, session)
    return AwsCloud(
        compute=Ec2Compute(clients, settings.stage),
        facts=Ec2Facts(clients, settings.stage),
        groups=AsgGroups(clients, settings.stage),
        blobs=S3Blobs(clients, settings.region, settings.bucket),
        secrets=AwsSecrets(clients, settings.region),
        queues=SqsQueues(clients, settings),
        notices=SnsNotices(clients, settings.region, settings.notices_arn),
        outside=AwsOutside(clients, settings),
        requests=requests,
    )
