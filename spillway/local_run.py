"""A job on this machine: what a family, a grader's folder and files of one's own say, as the assignment that a host would get.

The agent takes it from there (agent/local.py): the same sandbox, limits, adapters and report as on a host, and no cloud.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spillway.bundle import bundle
from spillway.errors import BadInput

HANDED = [
    "command",
    "environment",
    "inputs",
    "outputs",
    "result",
    "folder",
    "archive",
    "network",
    "untrusted",
    "cpu",
    "memory_mib",
    "slots",
    "disk_mib",
    "timeout_s",
    "parameters",
    "cpu_s",
    "output_mib",
    "file_mib",
    "processes_max",
    "adapter",
    "checkpoint",
    "stall_s",
]
ELSEWHERE = frozenset(  # what has no meaning where there is one machine, one attempt and nobody else
    """pool family family_version name owner priority queue_ttl_s not_before after after_on max_attempts retry_on instance_types market
    image labels notify idempotency_key hosts install""".split()  # noqa: SIM905
)
TIMEOUT_S = 300
MARK = ".spillway-run"  # in a folder that a run has made
LEFT = ("result.json", "log.txt", "install.txt", "outputs", "checkpoint")


@dataclass(frozen=True)
class Local:
    """What is to run: an ASSIGNMENT (docs/contracts.md §4), and SHA-256 → content of its inputs. `install` is what a host would run before
    it, once; here only who asks for it gets it: it changes the machine."""

    assignment: Mapping[str, Any]
    contents: Mapping[str, bytes] = field(default_factory=dict)
    install: Mapping[str, Any] | None = None

    @property
    def installing(self) -> Local:
        """The same with its install."""
        return replace(self, assignment={**self.assignment, "install": self.install}) if self.install else self


@dataclass(frozen=True)
class Ended:
    """How it ended, in the words of a Job; `folder` has result.json, log.txt and outputs/."""

    state: str
    reason: str
    exit_code: int | None
    result: Any
    cpu_s: float
    memory_peak_mib: int
    outputs: list[dict[str, Any]]
    log: str
    folder: Path

    @property
    def succeeded(self) -> bool:
        return self.state == "succeeded"


def of_family(family: Mapping[str, Any], parameters: Mapping[str, Any], files: Sequence[tuple[str, Path]]) -> Local:
    """The job of a family (its document, as `spillway family put` takes it) with these parameters.

    `files`: (path in the work folder, file or folder), which replace inputs of the same path. Raises BadInput."""
    if misplaced := sorted(family.keys() & {*HANDED, "secrets"}):
        raise BadInput(f"{misplaced[0]} is a field of a job, and belongs into the family's defaults.")
    defaults = _object(family.get("defaults"), "defaults")
    document = {**defaults, "parameters": {**_object(defaults.get("parameters"), "parameters"), **parameters}}
    if schema := _object(family.get("schema"), "schema"):
        document["parameters"] = _checked(schema, document["parameters"])
    if source := _object(family.get("source"), "source"):
        git = {name: source[name] for name in ("url", "branch", "token") if source.get(name)}
        document["inputs"] = [{"path": source.get("path") or "source", "git": git}, *(document.get("inputs") or [])]
    return of_document(document, files)


def of_document(document: Mapping[str, Any], files: Sequence[tuple[str, Path]]) -> Local:
    """The job of a JobSpec. Raises BadInput."""
    if unknown := sorted(document.keys() - {*HANDED, *ELSEWHERE, "secrets"}):
        raise BadInput(f"{unknown[0]} is no field of a job; docs/jobs.md lists them.")
    document = _completed(document)
    if not document.get("command"):
        raise BadInput("It says no command: neither the job, nor its family, nor --command.")
    assignment = {name: document[name] for name in HANDED if document.get(name) is not None}
    if document.get("adapter") == "gradescope" and document.get("labels"):
        assignment["labels"] = document["labels"]
    given = {path for path, _ in files}
    contents: dict[str, bytes] = {}
    inputs = []
    for number, one in enumerate(document.get("inputs") or []):
        if not isinstance(one, dict) or not isinstance(one.get("path"), str):
            raise BadInput(f"inputs[{number}] should be an object with a path.")
        if one["path"] in given:
            continue
        if one.get("text") is None and one.get("git") is None:
            if not (one.get("s3") or one.get("sha256")):
                raise BadInput(f"Input {one['path']} says none of text, git, s3 and sha256.")
            what = one.get("s3") or f"the upload {str(one['sha256'])[:12]}"
            raise BadInput(
                f"Input {one['path']} is {what}, which is not on this machine: say --input FILE:{one['path']}."
            )
        inputs.append(one)
    for path, source in files:
        packed = bundle(source)
        contents[packed.sha256] = packed.content
        unpack = packed.unpack or path.endswith("/")
        inputs.append({"path": path.rstrip("/") or ".", "sha256": packed.sha256, "unpack": unpack})
    secrets = _object(document.get("secrets"), "secrets")
    if absent := [variable for variable in secrets if variable not in os.environ]:
        raise BadInput(
            f"Secret {secrets[absent[0]]} stays in AWS: for a run on this machine set the variable {absent[0]} in your environment."
        )
    values = {name: os.environ[variable] for variable, name in secrets.items()}
    assignment |= {"job": "local", "attempt": 1, "inputs": inputs, "secrets": secrets, "values": values}
    assignment.setdefault("timeout_s", TIMEOUT_S)
    setup = "source/setup.sh"  # of Gradescope's graders
    graded = document.get("adapter") == "gradescope"
    return Local(assignment, contents, document.get("install") or ({"path": setup} if graded else None))


def _completed(document: Mapping[str, Any]) -> dict[str, Any]:
    """With what its adapter says, as the service would fill it in. Raises BadInput."""
    from agent.adapters import completed
    from agent.manifest import Wrong

    try:
        return completed(document)
    except Wrong as error:
        raise BadInput(f"adapter: {error}.") from None


def run(local: Local, into: Path, *, sandbox: str = "auto", told: Callable[[str], None] = lambda line: None) -> Ended:
    """Run it to its end; `told` hears of what happens in the meantime. Raises BadInput where it cannot run here, with the reason."""
    from agent.local import run as run_attempt
    from agent.manifest import Wrong

    _begin(into)
    with tempfile.TemporaryDirectory(prefix="spillway-inputs-") as kept:
        contents = {sha256: str(Path(kept) / sha256) for sha256 in local.contents}
        for sha256, content in local.contents.items():
            Path(contents[sha256]).write_bytes(content)
        try:
            done = run_attempt(
                local.assignment, contents, str(into), {"sandbox": sandbox}, lambda ping: _tell(ping, told)
            )
        except Wrong as error:
            raise BadInput(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
    if done.finish is None:
        anywhere = local.assignment.get("folder", "/job") == "/job"  # another one can be shown in a sandbox only
        helps = done.why == "no_sandbox" and sandbox != "none" and anywhere
        hint = " With --trusted it runs without a sandbox, as you." if helps else ""
        raise BadInput(f"It cannot run on this machine: {done.refused or 'its agent said nothing'}.{hint}")
    ended = _ended(done.finish, into)
    (into / "result.json").write_text(json.dumps(ended.result, indent=2) + "\n")
    return ended


def _begin(into: Path) -> None:
    """Make the folder. What an earlier run has left in it would be taken for this one's; a folder that no run has made is let be.
    Raises BadInput."""
    try:
        into.mkdir(parents=True, exist_ok=True)
        if not any(into.iterdir()):
            (into / MARK).touch()
        elif (into / MARK).exists():
            for left in (into / name for name in LEFT):
                if left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left)
                else:
                    left.unlink(missing_ok=True)
        elif not os.access(into, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise BadInput(f"Nothing can be kept in {into}: {error.strerror}. Say --into FOLDER.") from None


def _object(value: Any, name: str) -> dict[str, Any]:
    """Of JSON; empty where nothing is said. Raises BadInput."""
    if value is not None and not isinstance(value, dict):
        raise BadInput(f"{name} should be a JSON object.")
    return dict(value or {})


def _ended(finish: Mapping[str, Any], into: Path) -> Ended:
    log = finish["log"]["text"]
    if log is None:
        log = (into / "log.txt").read_text(errors="replace")
    else:
        (into / "log.txt").write_text(log)
    return Ended(
        state=finish["outcome"],
        reason=finish["reason"],
        exit_code=finish["exit_code"],
        result=finish["result"],
        cpu_s=finish["cpu_s"],
        memory_peak_mib=finish["memory_peak_mib"],
        outputs=list(finish["outputs"]),
        log=log,
        folder=into,
    )


def _tell(ping: Mapping[str, Any], told: Callable[[str], None]) -> None:
    if ping["kind"] == "installs":
        for one in ping["installs"]:
            told(
                f"Its install {one['name']}: {one['state']}{', try ' + str(one['tries']) if one['tries'] > 1 else ''}."
            )
    elif ping["kind"] == "start":
        told("It has begun.")
    elif ping["kind"] == "progress" and (ping.get("percent") is not None or ping.get("note")):
        percent = "" if ping.get("percent") is None else f"{ping['percent']:g} % "
        told(f"{percent}{ping.get('note') or ''}".strip())


def _checked(schema: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the schema's defaults. Raises BadInput for what the schema does not take."""
    import fastjsonschema

    try:
        filled = fastjsonschema.validate({"type": "object", **schema}, json.loads(json.dumps(parameters)))
    except fastjsonschema.JsonSchemaValueException as error:
        raise BadInput(
            f"The family does not take these parameters: {error.message.replace('data', 'parameters', 1)}."
        ) from None
    except fastjsonschema.JsonSchemaDefinitionException as error:
        raise BadInput(f"The family's schema cannot be used: {error}.") from None
    return dict(filled)
