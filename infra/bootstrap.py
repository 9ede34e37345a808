"""Bootstrap a stage: everything it needs before `chalice deploy`, created or brought up to date. Running it again changes nothing.

In this order, so that each step finds what it needs: the home stack, a region stack in the home region and in each further region, the
agent in the bucket, the registry (settings, the pool `default`, the first admin token), the stage's exact policies and environment
for Chalice, and the client's own file. Stopping it anywhere and starting it again is safe.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boto3

from chalicelib.config import Settings
from chalicelib.errors import StoreUnavailable
from chalicelib.store.open import dynamo_stores
from infra import agent_files, chalice_config, client_file, policies, registry, stacks, terminal
from infra.errors import InfraError, explain
from infra.grading import wanted as grading_of
from infra.s3_inputs import wanted as s3_inputs_of
from infra.stage import FUNCTIONS, check_region, check_stage
from infra.terminal import Report

TEMPLATES = Path(__file__).parent
QUEUES = ("submissions", "heartbeats", "wakes.fifo", "timers")
DEAD_LETTERS = ("submissions-dead", "heartbeats-dead", "wakes-dead.fifo", "timers-dead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrapped:
    """A stage that can be deployed. `token` is the admin token's text if this call made it (it is kept nowhere in AWS), else None."""

    stage: str
    region: str
    account: str
    bucket: str
    host_role_id: str
    agent_sha256: str
    environment: dict[str, str]
    token: str | None


def bootstrap(
    stage: str,
    region: str | None,
    project_dir: Path,
    *,
    host_regions: Sequence[str] = (),
    s3_inputs: Sequence[str] | None = None,
    grading: tuple[str | None, str | None] = (None, None),
    webhook_hosts: Sequence[str] = (),
    new_token: bool = False,
    report: Report = terminal.silent,
    build_agent: Callable[[], agent_files.AgentFiles] = agent_files.build,
) -> Bootstrapped:
    """Create or update the stage. Raises InfraError with a sentence for people.

    region: the stage's home (None: the session's). host_regions: further regions in which hosts may run. s3_inputs: places that jobs may
    take S3 objects from, `s3://bucket/prefix/` (None: those that were named before). grading: bucket and results queue of a PrairieLearn
    installation (None: as before). webhook_hosts: hosts of our own that webhooks may call without HTTPS. new_token: make another admin
    token though there is one. Whose AWS it is says the environment (AWS_PROFILE, keys, AWS_ENDPOINT_URL), as for any AWS tool.
    """
    check_stage(stage)
    region = check_region(region)
    host_regions = [region, *(r for r in map(check_region, host_regions) if r != region)]
    chalice_config.read(project_dir)  # fail before anything is created
    with explained():
        session = boto3.session.Session(region_name=region)
        identity = session.client("sts").get_caller_identity()
        account, partition = identity["Account"], identity["Arn"].split(":")[1]
        report(f"{stage}: account {account}, {region}")
        outputs = _ensure_stacks(session, stage, region, host_regions, report)
        bucket, role_id = outputs["Bucket"], outputs["HostRoleId"]
        agent = build_agent()
        agent_files.upload(session.client("s3"), bucket, agent, report)
        environment = _environment(
            session, stage, region, account, bucket, role_id, agent.sha256, outputs["NoticesArn"]
        )
        places = s3_inputs_of(session, project_dir, stage, region, s3_inputs)
        environment["SPILLWAY_S3_INPUTS"] = ",".join(map(str, places))
        graded = grading_of(session, project_dir, stage, region, *grading)
        environment |= graded.environment
        if webhook_hosts:
            environment["SPILLWAY_WEBHOOK_HOSTS"] = ",".join(webhook_hosts)
        known = None if new_token else client_file.read(project_dir, stage).get("token")
        token = registry.seed(
            dynamo_stores(Settings(stage=stage, region=region)).registry,
            region,
            settings={"bucket": bucket, "host_role_id": role_id, "agent_sha256": agent.sha256},
            known_token=known,
            new_token=new_token,
            report=report,
        )
    facts = policies.Facts(
        stage=stage,
        region=region,
        account=account,
        partition=partition,
        bucket=bucket,
        s3_inputs=places,
        grading_bucket=graded.bucket,
        grading_results_arn=graded.results_arn,
    )
    chalice_config.write_stage(project_dir, stage, environment, policies.write_stage(project_dir, FUNCTIONS, facts))
    client_file.write(project_dir, stage, region, **({"token": token} if token else {}))
    report(f"{stage}: ready for `python -m infra.deploy --stage {stage}`")
    return Bootstrapped(
        stage=stage,
        region=region,
        account=account,
        bucket=bucket,
        host_role_id=role_id,
        agent_sha256=agent.sha256,
        environment=environment,
        token=token,
    )


@contextmanager
def explained() -> Iterator[None]:
    """What AWS says becomes an InfraError with a sentence, where there is one."""
    try:
        yield
    except StoreUnavailable as error:
        raise InfraError(str(error)) from error
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            raise
        raise sentence from error


def _ensure_stacks(
    session: boto3.session.Session, stage: str, home: str, host_regions: Sequence[str], report: Report
) -> dict[str, str]:
    tags = {"spillway:stage": stage}
    outputs = stacks.ensure(
        session.client("cloudformation"),
        f"spillway-{stage}-home",
        TEMPLATES / "home" / "template.yaml",
        {"Stage": stage},
        tags,
        report,
    )
    for region in host_regions:
        made = stacks.ensure(
            session.client("cloudformation", region_name=region),
            f"spillway-{stage}-region",
            TEMPLATES / "region" / "template.yaml",
            {"Stage": stage, "HomeRegion": home},
            tags,
            report,
        )
        _make_default(
            session.client("ec2", region_name=region), made["LaunchTemplateId"], made["LaunchTemplateVersion"]
        )
    return outputs


def _make_default(ec2: Any, template: str, version: str) -> None:
    """Let new launches use the newest version: CloudFormation adds versions, but leaves the first one the default."""
    (now,) = ec2.describe_launch_templates(LaunchTemplateIds=[template])["LaunchTemplates"]
    if now["DefaultVersionNumber"] != int(version):
        ec2.modify_launch_template(LaunchTemplateId=template, DefaultVersion=version)


def _environment(
    session: boto3.session.Session,
    stage: str,
    region: str,
    account: str,
    bucket: str,
    role_id: str,
    agent_sha256: str,
    notices_arn: str,
) -> dict[str, str]:
    """The functions' environment, docs/contracts.md §1. Chalice wants text only."""
    sqs = session.client("sqs")

    def url(queue: str) -> str:
        return str(sqs.get_queue_url(QueueName=f"spillway-{stage}-{queue}")["QueueUrl"])

    return {
        "SPILLWAY_STAGE": stage,
        "SPILLWAY_REGION": region,
        "SPILLWAY_ACCOUNT_ID": account,
        "SPILLWAY_BUCKET": bucket,
        "SPILLWAY_HOST_ROLE_ID": role_id,
        "SPILLWAY_AGENT_SHA256": agent_sha256,
        **{f"SPILLWAY_{queue.removesuffix('.fifo').upper()}_URL": url(queue) for queue in QUEUES},
        "SPILLWAY_DEAD_LETTER_URLS": ",".join(url(queue) for queue in DEAD_LETTERS),
        "SPILLWAY_NOTICES_ARN": notices_arn,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m infra.bootstrap`: exit code 0, or 1 with a sentence on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.bootstrap", description="Create or update what a stage needs in AWS."
    )
    parser.add_argument(
        "--stage", required=True, help="the stage's name: lower-case letters, digits, hyphens; at most 20"
    )
    parser.add_argument("--project-dir", type=Path, default=Path.cwd(), help="where app.py is (default: here)")
    parser.add_argument("--region", help="the stage's home region (default: the profile's)")
    parser.add_argument(
        "--host-region", action="append", default=[], help="a further region in which hosts may run (may be repeated)"
    )
    parser.add_argument(
        "--s3-input",
        action="append",
        help="a place that jobs may take S3 objects from, s3://bucket/prefix/ (may be repeated; `none` takes all back)",
    )
    parser.add_argument("--grading-bucket", help="the bucket of a PrairieLearn installation (`none` takes it back)")
    parser.add_argument("--grading-results", help="its results queue, by name")
    parser.add_argument("--new-token", action="store_true", help="make another admin token, if the first is lost")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(argv)
    try:
        done = bootstrap(
            options.stage,
            options.region,
            options.project_dir.resolve(),
            host_regions=options.host_region,
            s3_inputs=options.s3_input,
            grading=(options.grading_bucket, options.grading_results),
            new_token=options.new_token,
            report=terminal.progress,
        )
    except InfraError as error:
        terminal.progress(str(error))
        return 1
    if options.json:
        terminal.say(json.dumps(asdict(done)))
    elif done.token:
        terminal.say(f"Admin token, shown this once (also in .spillway/{done.stage}.json): {done.token}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
