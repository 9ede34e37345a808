"""The front with its guards and gaps, over moto, without functions and instances."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from moto.backends import get_backend

from localcloud.faults import Faults
from localcloud.front import Front
from localcloud.gaps import install_all
from localcloud.iam import Authorizer
from localcloud.identity import Credentials, Identities
from localcloud.signatures import SignatureGuard
from localcloud.sources.hooks import Hooks

SERVICES = ("iam", "sqs", "sns", "s3", "dynamodb", "ec2", "ssm", "events", "apigateway", "sts")


class Clock:
    """The time as the front sees it: the real one, shifted."""

    def __init__(self) -> None:
        self.shift_s = 0.0

    def __call__(self) -> float:
        import time

        return time.time() + self.shift_s


class FrontCloud:
    """What a test touches."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.identities = Identities(self.clock)
        self.authorizer = Authorizer()
        self.front = Front(self.identities, [SignatureGuard(self.identities, self.clock), self.authorizer])
        self.faults = Faults(self.front)
        self.hooks = Hooks()
        install_all(self.front, self.hooks, self.authorizer, self.identities)
        self.faults._hook_queues(self.hooks)

    def role(self, name: str, *statements: dict[str, Any]) -> None:
        """A role that is allowed these statements (an "Effect" may be left out)."""
        iam = self.front.client("iam")
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **s} for s in statements]}
        iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=json.dumps(document))

    def client_as(self, service: str, credentials: Credentials, **changed: str) -> Any:
        """A boto3 client that signs with a session's credentials."""
        return boto3.session.Session().client(
            service,
            region_name="us-east-1",
            endpoint_url=self.front.url,
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=changed.get("secret", credentials.secret_key),
            aws_session_token=changed.get("token", credentials.token),
            config=Config(retries={"total_max_attempts": 1}, signature_version="s3v4" if service == "s3" else None),
        )


@contextmanager
def front_cloud() -> Iterator[FrontCloud]:
    """A started front with nothing in it."""
    for service in SERVICES:
        get_backend(service).reset()  # type: ignore[call-overload]
    cloud = FrontCloud()
    cloud.front.start()
    try:
        yield cloud
    finally:
        cloud.front.stop()
        cloud.hooks.restore()
