"""What users send and get, as strict structs: unknown fields, wrong types and impossible values are refused with the path of what is wrong.

`control` and `core` never see these; `job_spec` makes a plain record of a job's document. Those of pools are in `pool_wire.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from chalicelib.api import wire_words
from chalicelib.core.job import Input, JobSpec
from chalicelib.errors import BadRequest, Fault, TooLarge

SPEC_BYTES_MAX = 131_072  # of one job's document
BATCH_MAX = 500
BATCH_BYTES_MAX = 2_097_152  # the answer says labels twice, and Lambda refuses one over 6 MB when all is recorded
TEXT_BYTES_MAX = 65_536
ENVIRONMENT_CHARS_MAX = 65_536  # of all names and values: the agent takes no more

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Path = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_BYTES_MAX)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1024)]


class Strict(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, kw_only=True):
    """Encoded without defaults, so that a family's defaults can stand where nothing was said."""


class InputWire(Strict, frozen=True, kw_only=True):
    """A file or folder in the work folder: an upload by `sha256` (unpacked if `unpack`), or a short `text`."""

    path: Path
    sha256: Sha256 | None = None
    unpack: bool = False
    text: Text | None = None


class JobSpecWire(Strict, frozen=True, kw_only=True):
    """One job, as `POST /jobs` and the submissions queue take it."""

    command: Annotated[str, msgspec.Meta(min_length=1, max_length=16_384)] | None = None
    family: Name | None = None
    pool: Name = "default"
    name: Annotated[str, msgspec.Meta(max_length=256)] = ""
    owner: Name | None = None
    cpu: Annotated[float, msgspec.Meta(gt=0, le=1024)] = 1.0
    memory_mib: Annotated[int, msgspec.Meta(ge=16, le=25_165_824)] = 512
    slots: Count = 1
    timeout_s: Annotated[int, msgspec.Meta(ge=1, le=1_209_600)]
    priority: Annotated[int, msgspec.Meta(ge=0, le=9)] = 5
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=20)] = 1
    network: bool = False
    untrusted: bool = True
    environment: Annotated[dict[str, Annotated[str, msgspec.Meta(max_length=8192)]], msgspec.Meta(max_length=100)] = {}
    inputs: Annotated[list[InputWire], msgspec.Meta(max_length=50)] = []
    outputs: Annotated[list[Path], msgspec.Meta(max_length=50)] = []
    result: Path | None = None
    labels: Annotated[dict[Name, Annotated[str, msgspec.Meta(max_length=256)]], msgspec.Meta(max_length=20)] = {}
    idempotency_key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None


class BatchWire(Strict, frozen=True, kw_only=True):
    jobs: Annotated[list[JobSpecWire], msgspec.Meta(min_length=1, max_length=BATCH_MAX)]


class UploadWire(Strict, frozen=True, kw_only=True):
    """An upload announced: its SHA-256 in hex and its size."""

    sha256: Sha256
    bytes: Annotated[int, msgspec.Meta(ge=0, le=5_368_709_120)]


W = TypeVar("W", bound=Strict)


def decode(body: bytes | str, type_: type[W], bytes_max: int = SPEC_BYTES_MAX) -> W:
    """Decode a document. Raises BadRequest (which field, what) or TooLarge."""
    if len(body) > bytes_max:
        raise TooLarge(f"the body has {len(body)} bytes; at most {bytes_max} are taken here")
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # the last: thousands of brackets
        raise BadRequest(f"the body is not JSON: {error}", (Fault("", f"is not JSON: {error}"),)) from None


def convert(document: Any, type_: type[W]) -> W:
    """A document that is decoded already, as its struct. Raises BadRequest (which field, what)."""
    try:
        return msgspec.convert(document, type_)
    except msgspec.ValidationError as error:
        raise _refusal(error) from None


def refuse(faults: Sequence[Fault]) -> None:
    """Raises BadRequest with all of them, if there are any; its sentence is the first one's."""
    if faults:
        raise BadRequest(f"{faults[0].field}: {faults[0].message}", tuple(faults))


def _refusal(error: msgspec.ValidationError) -> BadRequest:
    found = wire_words.fault(str(error))
    return BadRequest(f"{found.field or 'the body'}: {found.message}", (found,))


_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*\Z")


def job_spec(wire: JobSpecWire, prefix: str = "") -> JobSpec:
    """The record of a job's document; `command` must be there by now. Raises BadRequest with what no schema can say."""
    refuse([Fault(prefix + field, message) for field, message in _spec_faults(wire)])
    return JobSpec(
        command=wire.command or "",
        timeout_s=wire.timeout_s,
        pool=wire.pool,
        family=wire.family,
        name=wire.name,
        cpu=wire.cpu,
        memory_mib=wire.memory_mib,
        slots=wire.slots,
        priority=wire.priority,
        max_attempts=wire.max_attempts,
        network=wire.network,
        untrusted=wire.untrusted,
        environment=wire.environment,
        inputs=tuple(Input(path=i.path, sha256=i.sha256, unpack=i.unpack, text=i.text) for i in wire.inputs),
        outputs=tuple(wire.outputs),
        result=wire.result,
        labels=wire.labels,
        idempotency_key=wire.idempotency_key,
    )


def _spec_faults(wire: JobSpecWire) -> list[tuple[str, str]]:
    faults = []
    if wire.command is None:
        faults.append(("command", "is required where no family is named"))
    elif "\0" in wire.command:
        faults.append(("command", "has a NUL character, which no shell command can hold"))
    for index, item in enumerate(wire.inputs):
        if (item.sha256 is None) == (item.text is None):
            faults.append((f"inputs[{index}]", "needs either sha256 or text"))
        elif _leaves(item.path):
            faults.append((f"inputs[{index}].path", "must be relative and stay inside the work folder"))
    paths = [(f"outputs[{i}]", path) for i, path in enumerate(wire.outputs)]
    if wire.result is not None:
        paths.append(("result", wire.result))
    faults += [(field, "must be relative and stay inside the work folder") for field, path in paths if _leaves(path)]
    if sum(len(name) + len(value) for name, value in wire.environment.items()) > ENVIRONMENT_CHARS_MAX:
        faults.append(("environment", f"has more than {ENVIRONMENT_CHARS_MAX} characters in its names and values"))
    for name, value in wire.environment.items():
        if not _VARIABLE.match(name):
            faults.append((f"environment.{name}", "is not a name of an environment variable"))
        elif "\0" in value:
            faults.append((f"environment.{name}", "has a NUL character, which no environment can hold"))
    return faults


def _leaves(path: str) -> bool:
    return path.startswith(("/", "~")) or "\\" in path or "\0" in path or ".." in path.split("/")


def to_json(document: Any) -> str:
    return msgspec.json.encode(document).decode()
