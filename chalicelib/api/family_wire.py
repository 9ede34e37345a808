"""What users send about families."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from chalicelib.api.job_wire import GitUrl, JobSpecWire, SecretName, job_spec
from chalicelib.api.wire import Name, Path, Strict, refuse
from chalicelib.core.family import Family
from chalicelib.errors import Fault

NOT_OF_A_FAMILY = ("family", "family_version", "not_before", "after", "idempotency_key")


class SourceWire(Strict, frozen=True, kw_only=True):
    """The family's repository: cloned into `path` of the work folder. `token` names the secret that opens it."""

    url: GitUrl
    branch: Annotated[str, Meta(max_length=255, pattern=r"^([A-Za-z0-9_.][A-Za-z0-9_./-]*)?\Z")] = ""
    token: SecretName | None = None
    path: Path = "source"


class FamilyWire(Strict, frozen=True, kw_only=True):
    """A job definition: default values, a JSON Schema of its parameters, and where its code is."""

    title: Annotated[str, Meta(max_length=256)] = ""
    defaults: JobSpecWire = msgspec.field(default_factory=JobSpecWire)
    schema: Annotated[dict[str, Any], Meta(max_length=20)] = {}
    source: SourceWire | None = None


class FamilyQuery(Strict, frozen=True, kw_only=True):
    """Which version; left out: the newest."""

    version: Annotated[int, Meta(ge=1)] | None = None


def family(name: str, wire: FamilyWire, *, by: str) -> Family:
    """The record of a family's document. Raises BadRequest."""
    said = msgspec.to_builtins(wire.defaults)
    faults = [
        Fault(f"defaults.{field}", "is said by a job, not by its family") for field in NOT_OF_A_FAMILY if field in said
    ]
    refuse(faults)
    whole = msgspec.structs.replace(
        wire.defaults, command=wire.defaults.command or "true", timeout_s=wire.defaults.timeout_s or 1
    )
    job_spec(whole, "defaults.", whole=False)
    source = None if wire.source is None else {"path": wire.source.path, **msgspec.to_builtins(wire.source)}
    if source is not None:
        git = {key: value for key, value in source.items() if key != "path"}
        job_spec(
            msgspec.convert(
                {"command": "true", "timeout_s": 1, "inputs": [{"path": source["path"], "git": git}]}, JobSpecWire
            ),
            "source.",
        )
    return Family(
        name=msgspec.convert(name, Name),
        version=0,
        title=wire.title,
        defaults=said,
        schema=wire.schema,
        source=source,
        by=by,
    )
