"""Bootstrap against an AWS: what it makes, that again changes nothing, and how it says no."""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from chalicelib.config import Settings, from_environment
from chalicelib.core.pool import PoolSpec
from chalicelib.store.open import dynamo_stores
from infra import chalice_config, client_file
from infra.agent_files import AgentFiles
from infra.bootstrap import Bootstrapped, bootstrap, main
from infra.errors import InfraError
from infra.stage import FUNCTIONS

AGENT = AgentFiles(sha256="ab" * 32, zipapp=b"PK agent", boot_script="#!/usr/bin/python3\n")


def run(project: Path, stage: str = "dev", **options: Any) -> tuple[Bootstrapped, list[str]]:
    lines: list[str] = []
    done = bootstrap(stage, "us-east-1", project, build_agent=lambda: AGENT, report=lines.append, **options)
    return done, lines


def registry(stage: str = "dev") -> Any:
    return dynamo_stores(Settings(stage=stage, region="us-east-1")).registry


def test_a_stage_gets_everything_that_its_functions_read(aws: str, project: Path) -> None:
    """The environment in config.json is what chalicelib.config wants, and every name in it exists."""
    done, _ = run(project)
    environment = chalice_config.read(project)["stages"]["dev"]["environment_variables"]
    settings = from_environment(environment)
    assert settings == Settings(
        stage="dev",
        region="us-east-1",
        account="123456789012",
        bucket=done.bucket,
        host_role_id=done.host_role_id,
        agent_sha256=AGENT.sha256,
        submissions_url=f"{aws}/123456789012/spillway-dev-submissions",
        heartbeats_url=f"{aws}/123456789012/spillway-dev-heartbeats",
        wakes_url=f"{aws}/123456789012/spillway-dev-wakes.fifo",
        timers_url=f"{aws}/123456789012/spillway-dev-timers",
        dead_letter_urls=tuple(
            f"{aws}/123456789012/spillway-dev-{q}"
            for q in ("submissions-dead", "heartbeats-dead", "wakes-dead.fifo", "timers-dead")
        ),
        notices_arn="arn:aws:sns:us-east-1:123456789012:spillway-dev-notices",
    )
    assert boto3.client("iam").get_role(RoleName="spillway-dev-host")["Role"]["RoleId"] == settings.host_role_id
    s3 = boto3.client("s3")
    assert s3.get_object(Bucket=done.bucket, Key=f"agent/{AGENT.sha256}.pyz")["Body"].read() == AGENT.zipapp
    assert (
        s3.get_object(Bucket=done.bucket, Key=f"agent/{AGENT.sha256}.boot.py")["Body"].read()
        == AGENT.boot_script.encode()
    )
    row = registry()
    assert row.setting("stage") == {
        "bucket": done.bucket,
        "host_role_id": done.host_role_id,
        "agent_sha256": AGENT.sha256,
    }
    assert row.pool("default").spec.offerings[0].region == "us-east-1"


def test_each_function_gets_its_own_exact_policy(aws: str, project: Path) -> None:
    """Chalice looks the file up relative to `.chalice`, in the stage's own part of config.json."""
    done, _ = run(project)
    functions = chalice_config.read(project)["stages"]["dev"]["lambda_functions"]
    assert set(functions) == set(FUNCTIONS)
    for function, settings in functions.items():
        file = project / ".chalice" / settings["iam_policy_file"]
        assert file == project / ".chalice" / "policies" / "dev" / f"{function}.json"
        assert "spillway-*" not in file.read_text()
    assert f"arn:aws:s3:::{done.bucket}/inbox/*" in (project / ".chalice/policies/dev/wakes.json").read_text()


def test_the_token_is_made_once_and_kept_as_a_hash_only(aws: str, project: Path) -> None:
    """Its text is returned once and stands in the client's file, which nobody else may read."""
    done, _ = run(project)
    assert done.token is not None
    assert done.token.startswith("spw_")
    assert len(done.token) == 4 + 43
    (stored,) = registry().tokens()
    assert stored.sha256 == hashlib.sha256(done.token.encode()).hexdigest()
    assert (stored.role, stored.owner) == ("admin", "admin")
    file = client_file.path(project, "dev")
    assert json.loads(file.read_text()) == {"api_url": None, "token": done.token, "region": "us-east-1", "stage": "dev"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    items = boto3.client("dynamodb").scan(TableName="spillway-dev-registry")["Items"]
    assert done.token not in json.dumps(items)


def test_places_for_s3_inputs_are_granted_kept_and_taken_back(aws: str, project: Path) -> None:
    """The role that signs may read exactly what was named; who says nothing later leaves it so; `none` ends it."""
    boto3.client("s3").create_bucket(Bucket="courses")

    def granted(**options: Any) -> tuple[str, list[Any]]:
        done, _ = run(project, **options)
        policy = json.loads((project / ".chalice/policies/dev/wakes.json").read_text())
        found = [s["Resource"] for s in policy["Statement"] if s["Sid"] == "SignAllowedInputs"]
        return done.environment["SPILLWAY_S3_INPUTS"], found

    assert granted() == ("", [])
    named = (
        "us-east-1:courses/{owner}/,us-east-1:courses/all/",
        [["arn:aws:s3:::courses/*/*", "arn:aws:s3:::courses/all/*"]],
    )
    assert granted(s3_inputs=["s3://courses/{owner}", "s3://courses/all/"]) == named
    assert granted() == named
    assert "SignAllowedInputs" not in (project / ".chalice/policies/dev/api_handler.json").read_text()
    assert granted(s3_inputs=["none"]) == ("", [])


def test_a_grading_installation_is_granted_kept_and_taken_back(aws: str, project: Path) -> None:
    """Two functions get exactly what grading needs of its bucket and its queue; who says nothing later leaves it so."""
    boto3.client("s3").create_bucket(Bucket="grading")
    boto3.client("sqs").create_queue(QueueName="results")

    def granted(**options: Any) -> dict[str, dict[str, Any]]:
        done, _ = run(project, **options)
        assert done.environment["SPILLWAY_GRADING_BUCKET"] in ("", "us-east-1:grading/")
        found = {}
        for function in FUNCTIONS:
            policy = json.loads((project / f".chalice/policies/dev/{function}.json").read_text())
            found |= {f"{function}/{s['Sid']}": s["Resource"] for s in policy["Statement"] if "Grading" in s["Sid"]}
        return found

    assert granted() == {}
    named = {
        "wakes/SignGradingJobs": ["arn:aws:s3:::grading/*/job.tar.gz"],
        "timers/KeepGradingResults": [
            f"arn:aws:s3:::grading/*/{name}" for name in ("results.json", "archive.tar.gz", "output.log")
        ],
        "timers/AnswerGradingJobs": "arn:aws:sqs:us-east-1:123456789012:results",
    }
    assert granted(grading=("grading", "results")) == named
    assert granted() == named
    assert from_environment(
        chalice_config.read(project)["stages"]["dev"]["environment_variables"]
    ).grading_results_url.endswith("/results")
    assert granted(grading=("none", None)) == {}
    for wrong, sentence in (
        (("grading", None), "needs both"),
        (("grading", "x"), "no queue x"),
        (("x1x", "results"), "no bucket"),
    ):
        with pytest.raises(InfraError, match=sentence):
            run(project, grading=wrong)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("courses/x", "no place in S3: write s3://bucket/prefix/"),
        ("s3://courses/*/", "characters that are not allowed"),
        ("s3://not-there/x/", "There is no bucket not-there"),
    ],
)
def test_a_place_that_cannot_be_is_refused(aws: str, project: Path, place: str, sentence: str) -> None:
    """A wildcard in it would open more than was meant."""
    with pytest.raises(InfraError, match=sentence.replace("(", ".").replace("*", ".")):
        run(project, s3_inputs=[place])


def test_bootstrapping_again_changes_nothing(aws: str, project: Path) -> None:
    """Same names, same token, same bytes in the project; what operators changed is left as they made it."""
    first, _ = run(project)
    registry().put_pool("default", PoolSpec(hosts_max=3), version=1)
    client_file.record_api_url(project, "dev", "http://api/")
    before = {f: f.read_bytes() for f in project.rglob("*") if f.is_file()}
    stamps = _upload_times(first.bucket)

    second, lines = run(project)

    assert second.token is None
    assert replace(second, token=first.token) == first
    assert {f: f.read_bytes() for f in project.rglob("*") if f.is_file()} == before
    assert registry().pool("default").spec.hosts_max == 3
    assert len(registry().tokens()) == 1
    assert _upload_times(first.bucket) == stamps
    assert not [line for line in lines if "uploaded" in line or "made" in line]


def _upload_times(bucket: str) -> dict[str, Any]:
    return {o["Key"]: o["LastModified"] for o in boto3.client("s3").list_objects_v2(Bucket=bucket)["Contents"]}


def test_a_lost_token_is_replaced_only_on_request(aws: str, project: Path) -> None:
    """Without its text bootstrap says so; another admin token is made when asked for."""
    first, _ = run(project)
    client_file.path(project, "dev").unlink()
    again, lines = run(project)
    assert again.token is None
    assert any("--new-token" in line for line in lines)
    third, _ = run(project, new_token=True)
    assert third.token not in (None, first.token)
    assert client_file.read(project, "dev")["token"] == third.token


def test_two_stages_of_one_account_share_nothing(aws: str, project: Path) -> None:
    """Names, buckets, tokens; and config.json holds both."""
    one, _ = run(project, "a")
    two, _ = run(project, "a-b")
    assert one.bucket != two.bucket
    assert one.host_role_id != two.host_role_id
    assert one.token != two.token
    assert set(chalice_config.read(project)["stages"]) == {"a", "a-b"}
    urls = [v for k, v in one.environment.items() if k.endswith(("_URL", "_URLS", "_ARN"))]
    assert not [u for u in urls if "spillway-a-b-" in u]


def test_hosts_may_run_in_further_regions(aws: str, project: Path) -> None:
    """Each gets a launch template and forwards its events home; home itself does not."""
    run(project, host_regions=["eu-central-1"])
    for region in ("us-east-1", "eu-central-1"):
        ec2 = boto3.client("ec2", region_name=region)
        (found,) = ec2.describe_launch_templates(LaunchTemplateNames=["spillway-dev-host"])["LaunchTemplates"]
        assert found["DefaultVersionNumber"] == found["LatestVersionNumber"]
        rules = boto3.client("events", region_name=region).list_rules()["Rules"]
        assert [r["Name"] for r in rules] == ([] if region == "us-east-1" else ["spillway-dev-forward"])


def test_a_failed_first_creation_is_cleared_away(aws: str, project: Path) -> None:
    """CloudFormation allows nothing but deletion of a stack in ROLLBACK_COMPLETE; a person should not have to know that."""
    boto3.client("cloudformation").create_stack(
        StackName="spillway-dev-home", TemplateBody=json.dumps({"Resources": {"T": {"Type": "AWS::SNS::Topic"}}})
    )
    _set_status(aws, "spillway-dev-home", "ROLLBACK_COMPLETE")
    _, lines = run(project)
    assert any("its first creation failed" in line for line in lines)
    assert (
        boto3.client("cloudformation").describe_stacks(StackName="spillway-dev-home")["Stacks"][0]["StackStatus"]
        == "CREATE_COMPLETE"
    )


def _set_status(aws: str, name: str, status: str) -> None:
    """moto never fails a creation by itself; its server runs in this process."""
    from moto.cloudformation.models import cloudformation_backends

    (stack,) = [s for s in cloudformation_backends["123456789012"]["us-east-1"].stacks.values() if s.name == name]
    stack.status = status


def test_a_bad_name_is_refused_before_anything_is_made(
    aws: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command exits with 1 and a sentence, and AWS is untouched."""
    assert main(["--stage", "Dev!", "--project-dir", str(project)]) == 1
    assert "cannot be a stage's name" in capsys.readouterr().err
    assert boto3.client("cloudformation").list_stacks()["StackSummaries"] == []


def test_a_folder_that_is_no_checkout_is_refused_before_anything_is_made(aws: str, tmp_path: Path) -> None:
    """The sentence says what to do."""
    with pytest.raises(InfraError, match="--project-dir"):
        run(tmp_path)
    assert boto3.client("cloudformation").list_stacks()["StackSummaries"] == []


def test_missing_credentials_are_told_as_such(aws: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as a traceback of botocore's."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(InfraError, match="no AWS credentials"):
        run(project)


def test_an_aws_that_does_not_answer_is_told_as_such(project: Path, aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With where to look."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(InfraError, match="does not answer"):
        run(project)
