"""A stage's name and the region it lives in: what is allowed, and why."""

from __future__ import annotations

import difflib
import re

import boto3

from infra.errors import InfraError

FUNCTIONS = (
    "api_handler",
    "authorize",
    "submissions",
    "heartbeats",
    "wakes",
    "timers",
    "tick",
    "ec2_events",
    "commands",
)
"""Names of the handlers in app.py, as Chalice knows them (`api_handler` serves every route)."""

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?")


def check_stage(stage: str) -> str:
    """Return the name if it may be a stage's, else raise InfraError.

    Beside the letters: the API's function is called `spillway-<stage>` and the others `spillway-<stage>-<handler>`, so a stage
    called `dev-tick` would overwrite the tick of `dev`.
    """
    if not _NAME.fullmatch(stage):
        raise InfraError(
            f"{stage!r} cannot be a stage's name: use 1 to 20 lower-case letters, digits and hyphens, "
            "a letter first and no hyphen at the end."
        )
    for function in FUNCTIONS:
        if stage.endswith(f"-{function}"):
            raise InfraError(
                f"{stage!r} cannot be a stage's name: its API would be called like the function {function!r} "
                f"of the stage {stage.removesuffix('-' + function)!r}. Choose a name that does not end in -{function}."
            )
    return stage


def check_region(region: str | None) -> str:
    """Return the region if AWS has it; None means the session's own (AWS_REGION, profile). Raises InfraError."""
    session = boto3.session.Session()
    region = region or session.region_name
    if not region:
        raise InfraError("No region is given. Say --region us-east-1 (or set AWS_REGION).")
    known = [
        r
        for partition in session.get_available_partitions()
        for r in session.get_available_regions("dynamodb", partition)
    ]
    if region not in known:
        near = difflib.get_close_matches(region, known, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InfraError(f"AWS has no region {region!r}.{hint}")
    return region
