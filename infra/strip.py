"""What of the installed dependencies a Spillway function really needs.

Most of an unstripped package is botocore's description of 400 services, most of each description is prose, and most of EC2's is
operations that nobody here calls; and Lambda's read-only file system makes Python compile every module anew at each cold
start. So: other services, old API versions, prose, examples and tests go, EC2 and SSM keep the operations listed here, and bytecode
that Python need not check against its source (PEP 552 "unchecked") comes in.

A call of an operation that is not listed fails in Lambda with `AttributeError: 'EC2' object has no attribute …`: add it below.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from infra.errors import InfraError

SERVICES: dict[str, tuple[str, ...] | None] = {
    "autoscaling": (
        "DescribeAutoScalingGroups",
        "SetDesiredCapacity",
        "SetInstanceProtection",
        "TerminateInstanceInAutoScalingGroup",
    ),
    "dynamodb": None,
    "ec2": (
        "CreateTags",
        "DescribeImages",
        "DescribeInstances",
        "DescribeInstanceTypeOfferings",
        "DescribeLaunchTemplates",
        "DescribeLaunchTemplateVersions",
        "DescribeSpotPriceHistory",
        "DescribeSubnets",
        "GetSpotPlacementScores",
        "RunInstances",
        "TerminateInstances",
    ),
    "s3": None,
    "sns": None,
    "sqs": None,
    "secretsmanager": ("BatchGetSecretValue",),
    "ssm": (
        "DescribeInstanceInformation",
        "GetCommandInvocation",
        "GetParameters",
        "ListCommandInvocations",
        "SendCommand",
    ),
    "sts": None,
}
"""Services of which functions make clients; None keeps every operation."""

USELESS = (
    "boto3/data",  # boto3.resource(); we use clients
    "boto3/examples",
    "aws_lambda_powertools/event_handler",  # Chalice routes
    "*.dist-info",  # nothing of this asks importlib.metadata
    "*.data",
    "bin",
)
USELESS_ANYWHERE = ("__pycache__", "tests", "*.pyi", "py.typed", "*.a", "*.c", "*.h")


def strip(site: Path) -> None:
    """Remove what functions do not use from an installed tree, in place, and add bytecode."""
    for pattern in USELESS:
        _remove(site.glob(pattern))
    for pattern in USELESS_ANYWHERE:
        _remove(list(site.rglob(pattern)))
    _strip_botocore(site / "botocore" / "data")
    compile_tree(site)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _strip_botocore(data: Path) -> None:
    for service in sorted(p for p in data.iterdir() if p.is_dir()):
        if service.name not in SERVICES:
            shutil.rmtree(service)
            continue
        *old, newest = sorted(p for p in service.iterdir() if p.is_dir())
        _remove(old)
        _strip_service(newest, SERVICES[service.name])
    endpoints = json.loads((data / "endpoints.json").read_bytes())
    for partition in endpoints["partitions"]:
        partition["services"] = {name: spec for name, spec in partition["services"].items() if name in SERVICES}
    _write(data / "endpoints.json", endpoints)


def _strip_service(folder: Path, operations: tuple[str, ...] | None) -> None:
    """Rewrite each description plain (the package is compressed as a whole), without prose and unwanted operations."""
    _remove(folder.glob("examples-1.json*"))
    for packed in folder.glob("*.json.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    for file in folder.glob("*.json"):
        document = json.loads(file.read_bytes())
        if file.name == "service-2.json":
            document = _without_prose(document)
            if operations is not None:
                document = only_operations(document, operations)
        elif operations is not None and file.name == "paginators-1.json":
            document["pagination"] = {name: p for name, p in document["pagination"].items() if name in operations}
        elif operations is not None and file.name == "paginators-1.sdk-extras.json":
            kept = {name: p for name, p in document["merge"]["pagination"].items() if name in operations}
            document["merge"]["pagination"] = kept
        elif operations is not None and file.name == "waiters-2.json":
            document["waiters"] = {name: w for name, w in document["waiters"].items() if w["operation"] in operations}
        _write(file, document)


def only_operations(model: dict[str, Any], operations: tuple[str, ...]) -> dict[str, Any]:
    """A service's model with these operations and the shapes that they reach."""
    unknown = set(operations) - model["operations"].keys()
    if unknown:
        raise InfraError(
            f"This botocore knows no operation {', '.join(sorted(unknown))}; correct SERVICES in infra/strip.py."
        )
    kept = {name: model["operations"][name] for name in operations}
    shapes: set[str] = set()
    waiting = set(_shape_names(kept))
    while waiting:
        name = waiting.pop()
        shapes.add(name)
        waiting |= set(_shape_names(model["shapes"][name])) - shapes
    return {**model, "operations": kept, "shapes": {n: s for n, s in model["shapes"].items() if n in shapes}}


def _shape_names(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "shape" and isinstance(value, str):
                yield value
            else:
                yield from _shape_names(value)
    elif isinstance(node, list):
        for item in node:
            yield from _shape_names(item)


def _without_prose(node: Any) -> Any:
    """Empty, not absent: botocore reads some of it."""
    if isinstance(node, dict):
        return {k: "" if k == "documentation" and isinstance(v, str) else _without_prose(v) for k, v in node.items()}
    if isinstance(node, list):
        return [_without_prose(item) for item in node]
    return node


def _write(file: Path, document: Any) -> None:
    file.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")


def compile_tree(tree: Path) -> None:
    """Add bytecode to a tree that will be /var/task; in a process with a fixed hash seed, because the order of sets shows in it."""
    compileall = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    command = [*compileall, "-s", str(tree), "-p", "/var/task", str(tree)]
    done = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True)
    if done.returncode:
        raise InfraError(f"This does not compile: {done.stdout.strip()}")
