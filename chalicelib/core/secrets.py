"""Secrets that jobs name: where they lie, and what a name may look like.

`ssm:NAME` is the parameter, `secretsmanager:NAME` the secret called `/spillway/<stage>/<owner>/NAME`: a job can only ever name its
own owner's, whatever it writes. Values exist in the memory of the function that hands a job over, in the host's own inbox, and in the
job's environment; never on a row, in a log or in user data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from chalicelib.core.job import Job
from chalicelib.core.job_spec import JobSpec
from chalicelib.errors import Fault

SSM, MANAGER = "ssm", "secretsmanager"
WEBHOOK_KEY = "webhook-key"
PARTS_MAX = 8  # Parameter Store takes 15 levels, of which the stage and the owner are three
VALUE_BYTES_MAX = 65_536
TOTAL_BYTES_MAX = 131_072  # of one job: an environment has no room for more
_PART = re.compile(r"[A-Za-z0-9_.-]+")
TAKEN = frozenset({"UID", "EUID", "PPID", "SHELLOPTS", "BASHOPTS", "BASH_VERSINFO"})  # shells let nobody set these


@dataclass(frozen=True, slots=True)
class Secret:
    """What AWS says of one: its value, or (`fault`) why it will never give it."""

    value: str = field(default="", repr=False)
    fault: str = ""


ABSENT = Secret(fault="there is none of this name")


def place(name: str, stage: str, owner: str) -> str:
    """Which secret `ssm:NAME` or `secretsmanager:NAME` is for a job of this owner: `ssm:/spillway/dev/alice/NAME`."""
    service, _, rest = name.partition(":")
    return f"{service}:/spillway/{stage}/{owner}/{rest}"


def webhook_key(stage: str, owner: str) -> str:
    """The parameter that signs an owner's webhooks, where there is one; no job can name it, and it is handed to none."""
    return f"{SSM}:/spillway/{stage}/{owner}/{WEBHOOK_KEY}"


def names(spec: JobSpec) -> frozenset[str]:
    """All that a job names."""
    return frozenset(spec.secrets.values()) | {i.git.token for i in spec.inputs if i.git is not None and i.git.token}


def too_much(values: dict[str, str]) -> str:
    """Why these values cannot be handed over together; empty where they can."""
    for name, value in values.items():
        if "\0" in value:
            return f"the secret {name} holds a NUL character, which no environment can"
        if len(value.encode("utf-8", "replace")) > VALUE_BYTES_MAX:
            return f"the secret {name} is longer than {VALUE_BYTES_MAX} bytes"
    if sum(len(value.encode("utf-8", "replace")) for value in values.values()) > TOTAL_BYTES_MAX:
        return f"its secrets are longer than {TOTAL_BYTES_MAX} bytes together"
    return ""


def faults(spec: JobSpec) -> Iterator[Fault]:
    """Names that no secret can have, and variables that no shell would set."""
    for variable, name in spec.secrets.items():
        if variable in TAKEN or variable.startswith("SPILLWAY_"):
            yield Fault(f"secrets.{variable}", "is a variable that the shell, or Spillway, sets itself")
        yield from _of_name(f"secrets.{variable}", name)
    for index, one in enumerate(spec.inputs):
        if one.git is not None and one.git.token:
            yield from _of_name(f"inputs[{index}].git.token", one.git.token)
            if not one.git.url.startswith("https://") and urlsplit(one.git.url).hostname not in (
                "127.0.0.1",
                "localhost",
            ):
                yield Fault(f"inputs[{index}].git.url", "is not https: its token would travel for everybody to read")


def _of_name(where: str, name: str) -> Iterator[Fault]:
    parts = name.partition(":")[2].split("/")
    if name.partition(":")[2] == WEBHOOK_KEY:
        yield Fault(where, "is what signs your webhooks, and is handed to no job")
    good = all(_PART.fullmatch(part) and part.strip(".") for part in parts)
    if not good or len(parts) > PARTS_MAX:
        yield Fault(
            where,
            f"is {name}; after the colon stand letters, digits and '._-', in at most {PARTS_MAX} parts with '/' between them",
        )


def lacks(job: Job, name: str, stage: str, fault: str) -> str:
    """The sentence of a job that names a secret that it cannot have."""
    return f"its secret {name} ({place(name, stage, job.owner).partition(':')[2]}): {fault}"
