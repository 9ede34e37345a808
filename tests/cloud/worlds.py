"""Three clouds behind one set of hands: in memory, boto3 against bare moto, boto3 against the embedded cloud's front.

A World gives the cloud under test and what a test needs to look at its other side: what a queue delivers, what a topic
published, what a signed URL answers. Each test gets a stage of its own, so the servers can live as long as the test run.
"""

from __future__ import annotations

import itertools
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import botocore.session

from chalicelib.cloud.aws import AwsCloud, aws_cloud
from chalicelib.cloud.memory import MemoryCloud, memory_cloud
from chalicelib.cloud.ports import Cloud
from chalicelib.config import Settings
from chalicelib.core.host import Launch, Offering

REGION = "us-east-1"
MOTO_IMAGE = "ami-760aaa0f"  # one that moto has, of Linux; listing them all takes seconds
NOW = 1_750_000_000.0
_stages = itertools.count(1)


def a_launch(name: str, hosts: int = 1, **changes: Any) -> Launch:
    """A launch of `hosts` machines; its name is its ClientToken, unique to the test."""
    offering = changes.pop("offering", Offering(region=REGION, instance_type="c7i.large"))
    fields: dict[str, Any] = {
        "id": f"launch-{name}",
        "pool": "default",
        "offering": offering,
        "hosts": tuple(f"host-{name}-{i}" for i in range(hosts)),
        "user_data": b"#!/bin/sh\ntrue\n",
        "created_at": NOW,
        "sent_at": NOW,
    }
    return Launch(**(fields | changes))


class World(Protocol):
    kind: str
    stage: str
    cloud: Cloud

    def count(self, operation: str) -> int: ...
    def receive(self, queue: str) -> list[str]: ...
    def kill(self, queue: str, body: str) -> None: ...
    def published(self) -> list[tuple[dict[str, Any], dict[str, str]]]: ...
    def download(self, url: str) -> bytes: ...
    def upload(self, url: str, body: bytes, headers: Mapping[str, str]) -> None: ...
    def make_group(self, *, size_max: int = 10, protects: bool = True, replaces: bool = False) -> str: ...
    def keep_secret(self, name: str, value: str) -> None: ...


@dataclass
class MemoryWorld:
    kind = "memory"
    stage: str
    cloud: MemoryCloud
    now: list[float]

    def count(self, operation: str) -> int:
        return self.cloud.calls.count(operation)

    def receive(self, queue: str) -> list[str]:
        source = getattr(self.cloud.queues, queue)
        messages = source.receive(self.now[0])
        for message in messages:
            source.delete(message.receipt)
        return [message.body for message in messages]

    def kill(self, queue: str, body: str) -> None:
        getattr(self.cloud.queues, queue).dead.send(body, self.now[0], group="g", dedup=body)

    def published(self) -> list[tuple[dict[str, Any], dict[str, str]]]:
        notices = self.cloud.notices.published
        return [(n, {k: v for k, v in n.items() if isinstance(v, str) and v}) for n in notices]

    def download(self, url: str) -> bytes:
        body = self.cloud.blobs.fetch(url)
        assert body is not None
        return body

    def upload(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.cloud.blobs.send(url, body, headers)

    def keep_secret(self, name: str, value: str) -> None:
        self.cloud.secrets.values[name] = value

    def make_group(self, *, size_max: int = 10, protects: bool = True, replaces: bool = False) -> str:
        """The spot group of pool default."""
        offering = Offering(region=REGION, instance_type="c7i.large", market="spot")
        name = self.cloud.groups.make("default", offering, b"", size_max=size_max, protects=protects)
        self.cloud.groups.groups[REGION, name].replaces = replaces
        return name


@dataclass
class AwsWorld:
    kind: str
    stage: str
    cloud: AwsCloud
    endpoint_url: str
    settings: Settings
    watcher_url: str  # a queue that hears the notices topic

    def client(self, service: str) -> Any:
        return a_client(service, self.endpoint_url)

    def count(self, operation: str) -> int:
        return self.cloud.requests.count(operation)

    def receive(self, queue: str) -> list[str]:
        return self._take(getattr(self.settings, f"{queue}_url"))

    def _take(self, url: str) -> list[str]:
        sqs = self.client("sqs")
        bodies = []
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            bodies.append(message["Body"])
        return bodies

    def kill(self, queue: str, body: str) -> None:
        url = next(u for u in self.settings.dead_letter_urls if f"-{queue}-dead" in u)
        fifo = {"MessageGroupId": "g", "MessageDeduplicationId": body} if url.endswith(".fifo") else {}
        self.client("sqs").send_message(QueueUrl=url, MessageBody=body, **fifo)

    def published(self) -> list[tuple[dict[str, Any], dict[str, str]]]:
        found = []
        for body in self._take(self.watcher_url):
            envelope = json.loads(body)
            attributes = {name: a["Value"] for name, a in envelope.get("MessageAttributes", {}).items()}
            found.append((json.loads(envelope["Message"]), attributes))
        return found

    def download(self, url: str) -> bytes:
        with urllib.request.urlopen(url, timeout=10) as answer:
            body: bytes = answer.read()
        return body

    def upload(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        request = urllib.request.Request(url, data=body, method="PUT", headers=dict(headers))
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except urllib.error.HTTPError as error:
            raise PermissionError(error.read().decode()) from error

    def keep_secret(self, name: str, value: str) -> None:
        service, _, path = name.partition(":")
        if service == "ssm":
            self.client("ssm").put_parameter(Name=path, Value=value, Type="SecureString")
        else:
            self.client("secretsmanager").create_secret(Name=path, SecretString=value)

    def make_group(self, *, size_max: int = 10, protects: bool = True, replaces: bool = False) -> str:
        """The spot group of pool default, as `infra/groups.py` makes it."""
        name = f"spillway-{self.stage}-default-spot"
        template = {"LaunchTemplateName": f"spillway-{self.stage}-host", "Version": "1"}
        scaling = self.client("autoscaling")
        scaling.create_auto_scaling_group(
            AutoScalingGroupName=name,
            MinSize=0,
            MaxSize=size_max,
            AvailabilityZones=[f"{REGION}a"],
            NewInstancesProtectedFromScaleIn=protects,
            MixedInstancesPolicy={
                "InstancesDistribution": {"OnDemandPercentageAboveBaseCapacity": 0},
                "LaunchTemplate": {
                    "LaunchTemplateSpecification": template,
                    "Overrides": [{"InstanceType": "c7i.large"}, {"InstanceType": "m7i.large"}],
                },
            },
            Tags=[
                {"Key": "spillway:stage", "Value": self.stage, "PropagateAtLaunch": True},
                {"Key": "spillway:pool", "Value": "default", "PropagateAtLaunch": True},
                {"Key": "spillway:launch", "Value": name, "PropagateAtLaunch": True},
            ],
        )
        if not replaces:
            scaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=["AZRebalance", "ReplaceUnhealthy"])
        return name


def memory_world() -> MemoryWorld:
    now = [NOW]
    stage = f"t{next(_stages)}"
    return MemoryWorld(stage, memory_cloud(lambda: now[0], stage=stage), now)


@cache
def a_session() -> Any:
    """One for all: a session reads each service's model once."""
    session = botocore.session.Session()
    session.set_credentials("AKIAEXAMPLE", "secret")
    return session


@cache
def a_client(service: str, endpoint_url: str) -> Any:
    return a_session().create_client(service, region_name=REGION, endpoint_url=endpoint_url)


def _host_role(iam: Any, name: str) -> None:
    """A role with which a machine may register for Run Command, and its profile."""
    iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    register = {"Effect": "Allow", "Action": "ssm:UpdateInstanceInformation", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [register]})
    iam.put_role_policy(RoleName=name, PolicyName="host", PolicyDocument=document)
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


def aws_world(kind: str, endpoint_url: str) -> AwsWorld:
    """A stage of its own on a server: queues, topic, bucket, launch template."""
    stage = f"t{next(_stages)}-{os.getpid()}"
    prefix = f"spillway-{stage}"

    def client(service: str) -> Any:
        return a_client(service, endpoint_url)

    sqs, sns, s3, ec2 = (client(service) for service in ("sqs", "sns", "s3", "ec2"))

    def queue(name: str) -> str:
        fifo = {"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
        attributes = fifo if name.endswith(".fifo") else {}
        return str(sqs.create_queue(QueueName=f"{prefix}-{name}", Attributes=attributes)["QueueUrl"])

    topic = sns.create_topic(Name=f"{prefix}-notices")["TopicArn"]
    watcher = queue("watcher")
    arn = sqs.get_queue_attributes(QueueUrl=watcher, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    s3.create_bucket(Bucket=f"{prefix}-bucket")
    _host_role(client("iam"), f"{prefix}-host")
    ec2.create_launch_template(
        LaunchTemplateName=f"{prefix}-host",
        LaunchTemplateData={"ImageId": MOTO_IMAGE, "IamInstanceProfile": {"Name": f"{prefix}-host"}},
    )
    settings = Settings(
        stage=stage,
        region=REGION,
        bucket=f"{prefix}-bucket",
        submissions_url=queue("submissions"),
        heartbeats_url=queue("heartbeats"),
        wakes_url=queue("wakes.fifo"),
        timers_url=queue("timers"),
        dead_letter_urls=tuple(
            queue(name) for name in ("submissions-dead", "heartbeats-dead", "wakes-dead.fifo", "timers-dead")
        ),
        notices_arn=topic,
    )
    cloud = aws_cloud(settings, endpoint_url=endpoint_url, session=a_session())
    return AwsWorld(kind, stage, cloud, endpoint_url, settings, watcher)
