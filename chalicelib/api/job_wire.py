"""What users send about jobs, as strict structs, and the plain records that are made of them."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from chalicelib.api.wire import Epoch, Moment, Name, Path, Sha256, Strict, epoch_s, refuse
from chalicelib.core import adapters, job_parameters
from chalicelib.core.job import JobState
from chalicelib.core.job_filter import JobFilter
from chalicelib.core.job_spec import (
    FOLDER,
    INSTALL_TIMEOUT_S,
    RETRY_ON,
    Checkpoint,
    GitSource,
    Input,
    Install,
    JobSpec,
    Notify,
    RetryOn,
    Wanted,
)
from chalicelib.errors import Fault

BATCH_MAX = 500
SYSTEM_FOLDERS = frozenset(
    "bin boot checkpoint dev etc home lib lib32 lib64 libx32 media mnt opt proc root run sbin spillway srv sys tmp usr var".split()  # noqa: SIM905
)
PAGE_MAX = 200
BATCH_BYTES_MAX = 2_097_152  # the answer says labels twice, and Lambda refuses one over 6 MB when all is recorded
WHOLE_BYTES_MAX = 163_840  # of one job with what its family says: DynamoDB keeps 400 KB of a row, and its end comes to stand there too
TEXT_BYTES_MAX = 65_536
ENVIRONMENT_CHARS_MAX = 65_536  # of all names and values: the agent takes no more

Text = Annotated[str, Meta(max_length=TEXT_BYTES_MAX)]
Count = Annotated[int, Meta(ge=1, le=1024)]
JobId = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9#-]+\Z")]
SecretName = Annotated[str, Meta(max_length=512, pattern=r"^(ssm|secretsmanager):[A-Za-z0-9_./+=@-]+\Z")]
LabelText = Annotated[str, Meta(max_length=321, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(:.*)?\Z")]
S3Address = Annotated[str, Meta(max_length=1100, pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\x00]+\Z")]
GitUrl = Annotated[str, Meta(max_length=1024, pattern=r"^https?://[^\s@]+\Z")]


class GitWire(Strict, frozen=True, kw_only=True):
    """A repository that the host clones; `token` names the secret that opens it."""

    url: GitUrl
    branch: Annotated[str, Meta(max_length=255, pattern=r"^([A-Za-z0-9_.][A-Za-z0-9_./-]*)?\Z")] = ""
    token: SecretName | None = None


class InputWire(Strict, frozen=True, kw_only=True):
    """A file or folder in the work folder: an upload by `sha256` or an `s3` object (unpacked if `unpack`), a short `text`, or a `git`
    repository."""

    path: Path
    sha256: Sha256 | None = None
    s3: S3Address | None = None
    unpack: bool = False
    text: Text | None = None
    git: GitWire | None = None


class WantedWire(Strict, frozen=True, kw_only=True):
    """Files to keep under a name."""

    glob: Path
    name: Annotated[str, Meta(max_length=64)] = ""


class NotifyWire(Strict, frozen=True, kw_only=True):
    """Who is told when the job has ended."""

    webhook: Annotated[str, Meta(max_length=2048, pattern=r"^https?://[^\s]+\Z")] | None = None
    topic: bool = False


class InstallWire(Strict, frozen=True, kw_only=True):
    """What is run once on each host before the first job that names it: a `script`, or the one at `path` among the inputs."""

    script: Text | None = None
    path: Path | None = None
    timeout_s: Annotated[int, Meta(ge=1, le=3600)] = INSTALL_TIMEOUT_S


class CheckpointWire(Strict, frozen=True, kw_only=True):
    """What an attempt leaves for the one after it: the files in $SPILLWAY_CHECKPOINT_DIR, or its processes (`criu`)."""

    interval_s: Annotated[int, Meta(ge=5, le=86_400)] = 300
    by: Literal["files", "criu"] = "files"
    mib_max: Annotated[int, Meta(ge=1, le=102_400)] = 1024


class JobSpecWire(Strict, frozen=True, kw_only=True):
    """One job, as `POST /jobs` and the submissions queue take it."""

    command: Annotated[str, Meta(min_length=1, max_length=16_384)] | None = None
    family: Name | None = None
    family_version: Annotated[int, Meta(ge=1)] | None = None
    parameters: Annotated[dict[str, Any], Meta(max_length=200)] = {}
    pool: Name = "default"
    name: Annotated[str, Meta(max_length=256)] = ""
    owner: Name | None = None
    cpu: Annotated[float, Meta(ge=0.001, le=1024)] = 1.0
    memory_mib: Annotated[int, Meta(ge=16, le=25_165_824)] = 512
    disk_mib: Annotated[int, Meta(ge=1, le=16_777_216)] = 2048
    slots: Count = 1
    instance_types: Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=20)] = []
    market: Literal["spot", "on_demand"] | None = None
    timeout_s: Annotated[int, Meta(ge=1, le=1_209_600)] | None = None
    priority: Annotated[int, Meta(ge=0, le=9)] = 5
    queue_ttl_s: Annotated[int, Meta(ge=1, le=1_209_600)] | None = None
    not_before: Moment | None = None
    after: Annotated[list[JobId], Meta(max_length=100)] = []
    after_on: Literal["success", "finish"] = "success"
    max_attempts: Annotated[int, Meta(ge=1, le=20)] = 1
    retry_on: Annotated[list[Annotated[str, Meta(max_length=20)]], Meta(max_length=50)] | None = None
    network: bool = False
    untrusted: bool = True
    image: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    environment: Annotated[dict[str, Annotated[str, Meta(max_length=8192)]], Meta(max_length=100)] = {}
    secrets: Annotated[dict[str, SecretName], Meta(max_length=20)] = {}
    inputs: Annotated[list[InputWire], Meta(max_length=50)] = []
    outputs: Annotated[list[Path | WantedWire], Meta(max_length=50)] = []
    result: Path | None = None
    folder: Annotated[str, Meta(pattern=r"^/[a-z][a-z0-9_-]{0,31}\Z")] = FOLDER
    archive: bool = False
    cpu_s: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None
    output_mib: Annotated[int, Meta(ge=1, le=1_048_576)] = 1024
    file_mib: Annotated[int, Meta(ge=1, le=16_777_216)] | None = None
    processes_max: Annotated[int, Meta(ge=8, le=32_768)] | None = None
    adapter: Literal["command", "gradescope", "prairielearn", "coursera"] = "command"
    install: InstallWire | None = None
    checkpoint: CheckpointWire | None = None
    stall_s: Annotated[int, Meta(ge=1, le=1_209_600)] | None = None
    hosts: Annotated[int, Meta(ge=1, le=100)] = 1
    labels: Annotated[dict[Name, Annotated[str, Meta(max_length=256)]], Meta(max_length=20)] = {}
    notify: NotifyWire | None = None
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=128)] | None = None


class BatchWire(Strict, frozen=True, kw_only=True):
    """Several jobs in one request: all or none are accepted."""

    jobs: Annotated[list[JobSpecWire], Meta(min_length=1, max_length=BATCH_MAX)]


class JobsQuery(Strict, frozen=True, kw_only=True):
    """Which jobs are listed: those that fit all that is said, a page from `cursor` on (the `next` of the page before); or those whose `ids`
    are named. Without pool and owner it is the pool `default` for operators, and a submitter's own jobs for submitters."""

    pool: Name | None = None
    owner: Name | None = None
    state: Annotated[list[JobState], Meta(max_length=11)] = []
    family: Name | None = None
    label: Annotated[list[LabelText], Meta(max_length=5)] = []
    schedule: Name | None = None
    array: JobId | None = None
    since: Epoch | None = None
    until: Epoch | None = None
    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX)] = 50
    cursor: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}\Z")] | None = None
    ids: Annotated[str, Meta(max_length=6500, pattern=r"^[A-Za-z0-9-]{1,64}(,[A-Za-z0-9-]{1,64}){0,99}\Z")] | None = (
        None
    )


class LogQuery(Strict, frozen=True, kw_only=True):
    """From which byte of the log on; of which of its several hosts."""

    from_: Annotated[int, Meta(ge=0, le=10**15)] = msgspec.field(default=0, name="from")
    rank: Annotated[int, Meta(ge=0, le=99)] | None = None


def job_filter(asked: JobsQuery, owner: str | None) -> JobFilter:
    """What a query means; `owner`: the only one that the caller sees, None for all."""
    mine = owner if owner is not None else asked.owner
    labels = dict(text.partition(":")[::2] if ":" in text else (text, None) for text in asked.label)
    return JobFilter(
        pool=asked.pool or (None if mine is not None else "default"),
        owner=mine,
        states=frozenset(asked.state),
        family=asked.family,
        labels=labels,
        schedule=asked.schedule,
        array=asked.array,
        since=asked.since,
        until=asked.until,
    )


_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*\Z")
_EXIT = re.compile(r"^exit:(\d{1,3})\Z")


def job_spec(wire: JobSpecWire, prefix: str = "", *, whole: bool = True) -> JobSpec:
    """The record of a job's document, what its adapter says filled in; `command` and `timeout_s` must be there by then. `whole`: it is no
    family's defaults, to which a job adds. Raises BadRequest with what no schema can say."""
    faults = _faults(wire)
    if whole:
        faults += [(f.field, f.message) for f in adapters.lacks(wire.adapter, map(_input, wire.inputs))]
    refuse([Fault(prefix + field, message) for field, message in faults])
    return adapters.completed(_said(wire))


def _said(wire: JobSpecWire) -> JobSpec:
    return JobSpec(
        command=wire.command or "",
        timeout_s=wire.timeout_s or 0,
        pool=wire.pool,
        family=wire.family,
        family_version=wire.family_version,
        parameters=wire.parameters,
        name=wire.name,
        cpu=wire.cpu,
        memory_mib=wire.memory_mib,
        disk_mib=wire.disk_mib,
        slots=wire.slots,
        instance_types=tuple(wire.instance_types),
        market=wire.market,
        priority=wire.priority,
        queue_ttl_s=wire.queue_ttl_s,
        not_before=epoch_s(wire.not_before) if wire.not_before is not None else None,
        after=tuple(dict.fromkeys(wire.after)),
        after_on=wire.after_on,
        max_attempts=wire.max_attempts,
        retry_on=RETRY_ON if wire.retry_on is None else tuple(dict.fromkeys(wire.retry_on)),
        network=wire.network,
        untrusted=wire.untrusted,
        image=wire.image,
        environment=wire.environment,
        secrets=wire.secrets,
        inputs=tuple(_input(i) for i in wire.inputs),
        outputs=tuple(Wanted(glob=o) if isinstance(o, str) else Wanted(glob=o.glob, name=o.name) for o in wire.outputs),
        result=wire.result,
        folder=wire.folder,
        archive=wire.archive,
        cpu_s=wire.cpu_s,
        output_mib=wire.output_mib,
        file_mib=wire.file_mib,
        processes_max=wire.processes_max,
        adapter=wire.adapter,
        install=_install(wire.install),
        checkpoint=_checkpoint(wire.checkpoint),
        stall_s=wire.stall_s,
        hosts=wire.hosts,
        labels=wire.labels,
        notify=Notify(webhook=wire.notify.webhook, topic=wire.notify.topic) if wire.notify else None,
        idempotency_key=wire.idempotency_key,
    )


def _input(wire: InputWire) -> Input:
    git = GitSource(url=wire.git.url, branch=wire.git.branch, token=wire.git.token) if wire.git else None
    return Input(path=wire.path, sha256=wire.sha256, s3=wire.s3, unpack=wire.unpack, text=wire.text, git=git)


def _install(wire: InstallWire | None) -> Install | None:
    if wire is None:
        return None
    return Install(script=wire.script or "", path=wire.path or "", timeout_s=wire.timeout_s)


def _checkpoint(wire: CheckpointWire | None) -> Checkpoint | None:
    return None if wire is None else Checkpoint(interval_s=wire.interval_s, by=wire.by, mib_max=wire.mib_max)


def _faults(wire: JobSpecWire) -> list[tuple[str, str]]:
    faults = []
    if (size := _bytes(wire)) > WHOLE_BYTES_MAX:
        faults.append(
            ("inputs", f"are too much: the job has {size} bytes, and at most {WHOLE_BYTES_MAX} are kept; upload it")
        )
    if wire.command is None and wire.adapter == "command":
        faults.append(("command", "is required where no family says it"))
    elif "\0" in (wire.command or ""):
        faults.append(("command", "has a NUL character, which no shell command can hold"))
    if wire.timeout_s is None and wire.adapter == "command":
        faults.append(("timeout_s", "is required" if wire.family is None else f"is required: {wire.family} says none"))
    said: dict[str, Any] = {
        "command": wire.command,
        "timeout_s": wire.timeout_s,
        "folder": wire.folder,
        "result": wire.result,
        "hosts": wire.hosts,
    }
    faults += [(fault.field, fault.message) for fault in adapters.faults(wire.adapter, **said)]
    for index, item in enumerate(wire.inputs):
        if sum(kind is not None for kind in (item.sha256, item.text, item.s3, item.git)) != 1:
            faults.append((f"inputs[{index}]", "needs exactly one of sha256, s3, text and git"))
        elif _leaves(item.path):
            faults.append((f"inputs[{index}].path", "must be relative and stay inside the work folder"))
    for index, wanted in enumerate(wire.outputs):
        if isinstance(wanted, str):
            if _leaves(wanted):
                faults.append((f"outputs[{index}]", "must be relative and stay inside the work folder"))
        elif _leaves(wanted.glob):
            faults.append((f"outputs[{index}].glob", "must be relative and stay inside the work folder"))
    if wire.result is not None and _leaves(wire.result):
        faults.append(("result", "must be relative and stay inside the work folder"))
    if wire.install is not None:
        if (wire.install.script is None) == (wire.install.path is None):
            faults.append(("install", "needs exactly one of script and path"))
        elif wire.install.path is not None and _leaves(wire.install.path):
            faults.append(("install.path", "must be relative and stay inside the work folder"))
        elif wire.install.script is not None and "\0" in wire.install.script:
            faults.append(("install.script", "has a NUL character, which no shell script can hold"))
    if wire.folder[1:] in SYSTEM_FOLDERS:
        faults.append(("folder", f"is {wire.folder}, which belongs to the system"))
    for index, what in enumerate(wire.retry_on or ()):
        if what not in set(RetryOn) and not _EXIT.match(what):
            faults.append((f"retry_on[{index}]", f"is none of {', '.join(RetryOn)}, nor exit:CODE"))
    try:
        epoch_s(wire.not_before or 0.0)
    except ValueError as error:
        faults.append(("not_before", str(error)))
    if wire.parameters and any(one.path.strip("./") == job_parameters.FILE for one in wire.inputs):
        faults.append(("inputs", f"has a {job_parameters.FILE}, which is where the parameters are written"))
    faults += [(fault.field, fault.message) for fault in job_parameters.faults(wire.parameters)]
    return faults + _environment_faults(wire)


def _bytes(wire: JobSpecWire) -> int:
    try:
        return len(msgspec.json.encode(wire))
    except UnicodeEncodeError:  # half a character, which other dialects may bring
        return len(json.dumps(msgspec.to_builtins(wire), ensure_ascii=False).encode("utf-8", "replace"))


def _environment_faults(wire: JobSpecWire) -> list[tuple[str, str]]:
    faults = []
    if sum(len(name) + len(value) for name, value in wire.environment.items()) > ENVIRONMENT_CHARS_MAX:
        faults.append(("environment", f"has more than {ENVIRONMENT_CHARS_MAX} characters in its names and values"))
    for name, value in wire.environment.items():
        if not _VARIABLE.match(name):
            faults.append((f"environment.{name}", "is not a name of an environment variable"))
        elif "\0" in value:
            faults.append((f"environment.{name}", "has a NUL character, which no environment can hold"))
    for name in wire.secrets:
        if not _VARIABLE.match(name):
            faults.append((f"secrets.{name}", "is not a name of an environment variable"))
        elif name in wire.environment:
            faults.append((f"secrets.{name}", "is in `environment` too"))
    return faults


def _leaves(path: str) -> bool:
    return path.startswith(("/", "~")) or "\\" in path or "\0" in path or ".." in path.split("/")
