"""From the committed policies, which any stage could use, to those of one stage, which fit nothing else.

policies/*.json are valid IAM documents with wildcards for region, account and stage: `arn:aws:sqs:*:*:spillway-*-wakes.fifo`. Prefixes
would not keep stages apart (`spillway-a-*` also matches what belongs to a stage `a-b`), so each wildcard is replaced by the fact.
EC2, Auto Scaling and Run Command keep their region open: a pool may have offerings in any.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalicelib.core.s3_places import OWNER, Place
from infra.errors import InfraError

ANSWERS = "timers"  # the function that speaks to a grading installation
SIGNERS = frozenset({"wakes"})  # a signed URL is worth what its signer may do
ANY_REGION = frozenset({"autoscaling", "ec2", "ssm"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the wildcards stand for in one stage."""

    stage: str
    region: str
    account: str
    partition: str
    bucket: str
    s3_inputs: tuple[Place, ...] = ()
    grading_bucket: Place | None = None
    grading_results_arn: str = ""


def render(policy: Any, facts: Facts) -> Any:
    """The policy with every wildcard that means region, account, stage or bucket replaced."""
    if isinstance(policy, dict):
        return {key: _value(key, value, facts) for key, value in policy.items()}
    if isinstance(policy, list):
        return [render(item, facts) for item in policy]
    return _arn(policy, facts) if isinstance(policy, str) else policy


def _value(key: str, value: Any, facts: Facts) -> Any:
    if key.endswith("Tag/spillway:stage"):
        return facts.stage
    return render(value, facts)


def _arn(text: str, facts: Facts) -> str:
    if not text.startswith("arn:aws:"):
        return text
    _, _, service, region, account, rest = text.split(":", 5)
    here = service not in ANY_REGION or rest.startswith("parameter/")  # secrets lie at home
    region = facts.region if region == "*" and here else region
    account = facts.account if account == "*" else account
    rest = rest.replace("spillway-*-home-bucket-*", facts.bucket).replace("spillway-*", f"spillway-{facts.stage}")
    rest = rest.replace("/spillway/*/", f"/spillway/{facts.stage}/")
    return f"arn:{facts.partition}:{service}:{region}:{account}:{rest}"


def _granted(function: str, facts: Facts) -> list[dict[str, Any]]:
    """What this stage alone has: rights to other people's buckets that its operator named."""
    granted = []
    keys = sorted({f"{place.bucket}/{place.prefix.replace(OWNER, '*')}*" for place in facts.s3_inputs})
    if function in SIGNERS and keys:
        granted.append(_objects("SignAllowedInputs", "s3:GetObject", keys, facts))
    if facts.grading_bucket is not None:
        root = f"{facts.grading_bucket.bucket}/{facts.grading_bucket.prefix}"
        if function in SIGNERS:
            granted.append(_objects("SignGradingJobs", "s3:GetObject", [f"{root}*/job.tar.gz"], facts))
        if function == ANSWERS:
            kept = [f"{root}*/{name}" for name in ("results.json", "archive.tar.gz", "output.log")]
            granted.append(_objects("KeepGradingResults", "s3:PutObject", kept, facts))
            queue = {"Action": "sqs:SendMessage", "Resource": facts.grading_results_arn}
            granted.append({"Sid": "AnswerGradingJobs", "Effect": "Allow", **queue})
    return granted


def _objects(sid: str, action: str, keys: list[str], facts: Facts) -> dict[str, Any]:
    resources = [f"arn:{facts.partition}:s3:::{key}" for key in keys]
    return {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resources}


def write_stage(project_dir: Path, functions: tuple[str, ...], facts: Facts) -> dict[str, str]:
    """Write `.chalice/policies/<stage>/<function>.json`; return function → the path as Chalice wants it, relative to `.chalice`."""
    target = project_dir / ".chalice" / "policies" / facts.stage
    target.mkdir(parents=True, exist_ok=True)
    paths = {}
    for function in functions:
        source = project_dir / "policies" / f"{function}.json"
        try:
            policy = json.loads(source.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InfraError(f"{source} is missing: every function needs its own policy.") from None
        except json.JSONDecodeError as error:
            raise InfraError(f"{source} is not JSON: {error}") from None
        policy = render(policy, facts)
        policy["Statement"] += _granted(function, facts)
        (target / source.name).write_text(json.dumps(policy, indent=2) + "\n", encoding="utf-8")
        paths[function] = f"policies/{facts.stage}/{source.name}"
    return paths
