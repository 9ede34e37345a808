"""The manifest and assignments as records (docs/contracts.md §4). Unknown fields are ignored, wrong ones refused."""

from __future__ import annotations

import json
import re
from typing import Any, Mapping, NamedTuple, Optional

ENVIRONMENT_MAX_BYTES = 64 * 1024
ADAPTERS = ("command", "gradescope", "prairielearn", "coursera")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Wrong(ValueError):
    """A document of ours does not say what it must. The message is a sentence that names the field."""


class Git(NamedTuple):
    """A repository to clone; `token` is the name of the secret that opens it."""

    url: str
    branch: str = ""
    token: str = ""


class Input(NamedTuple):
    """A file (or with `unpack` an archive) at `path` in the work folder: by `sha256`, the object `s3`, `text` itself; or a repository."""

    path: str
    sha256: str
    text: Optional[str]
    unpack: bool
    s3: str = ""
    git: Optional[Git] = None

    @property
    def address(self) -> str:
        """The name under which a signed URL comes for it; "" where it needs none."""
        return self.s3 or (self.sha256 if self.text is None else "")


def short(address: str) -> str:
    """How sentences call an input: the beginning of a hash, the whole of an S3 address."""
    return address if address.startswith("s3://") else address[:12]


class Wanted(NamedTuple):
    """Files to keep: those that match `glob`, told under `name` if it has one."""

    glob: str
    name: str = ""


class Install(NamedTuple):
    """What is run once on this host before the first attempt that names it: the text `script`, or the script at `path` among the inputs."""

    script: str
    path: str
    timeout_s: float


class Checkpoint(NamedTuple):
    """What is kept for the next attempt, each `interval_s`. `by`: "files" of the checkpoint folder, or "criu"."""

    interval_s: float
    by: str
    mib_max: int


class Kept(NamedTuple):
    """A checkpoint of an earlier attempt: the object `key`, made at `at`."""

    key: str
    at: float


class Assignment(NamedTuple):
    """One attempt that is to be run here. `document` is the JSON that it came as."""

    job: str
    attempt: int
    command: str
    cpu: float
    memory_mib: int
    slots: int
    timeout_s: float
    network: bool
    untrusted: bool
    environment: Mapping[str, str]
    inputs: tuple[Input, ...]
    outputs: tuple[Wanted, ...]
    result: str
    folder: str
    archive: bool
    urls: Mapping[str, str]
    document: Mapping[str, Any]
    parameters: Mapping[str, Any] = {}
    secrets: Mapping[str, str] = {}  # variable → the secret's name
    values: Mapping[str, str] = {}  # the secret's name → its value; only ever in memory
    disk_mib: int = 0  # of its work folder; 0: as much as the pool lets every one have
    cpu_s: float = 0.0  # of processor time; 0: as much as fits into its time
    output_mib: int = 1024  # of what it prints
    file_mib: int = 0  # of any one file; 0: as much as its work folder
    processes_max: int = 0  # at a time; 0: as the host's settings have it
    adapter: str = "command"
    labels: Mapping[str, str] = {}  # where its adapter tells the grader of them
    install: Optional[Install] = None
    checkpoint: Optional[Checkpoint] = None
    restore: tuple[Kept, ...] = ()  # what may be put back, the newest first
    stall_s: float = 0.0  # told as stalled after so long without progress; 0: never
    image: str = ""  # of the container that it runs in
    rank: int = 0  # its number among the hosts of its gang
    hosts: int = 1  # how many these are
    domain: str = ""  # whose job it is: a host has one owner's at a time
    share: bool = False  # whether it may follow another owner's here, once the host is scrubbed
    fault: str = ""  # why it can only be refused

    @property
    def key(self) -> str:
        """`<job>#<attempt>`, the name of an attempt everywhere in the agent and in the claims table."""
        return "%s#%d" % (self.job, self.attempt)

    @property
    def lacks(self) -> str:
        """What has not come yet of that which user data must not hold, as a sentence; "" when it can begin."""
        for address in self.missing_urls:
            return "no signed address came for input %s" % short(address)
        for name in (*self.secrets.values(), *(i.git.token for i in self.inputs if i.git is not None and i.git.token)):
            if name not in self.values:
                return "no value came for the secret %s" % name
        return ""

    @property
    def kept(self) -> dict[str, Any]:
        """The document as it may be written down: without values of secrets."""
        return {name: value for name, value in self.document.items() if name != "values"}

    @property
    def missing_urls(self) -> tuple[str, ...]:
        """Addresses of inputs that no signed URL has come for yet."""
        wanted = [i.address for i in self.inputs if i.address] + [one.key for one in self.restore]
        return tuple(address for address in wanted if address not in self.urls)


class Settings(NamedTuple):
    """What the pool says about its hosts' agents. Durations in seconds."""

    slots: int
    ping_every_s: float
    idle_max_s: float
    lifetime_max_s: float
    unreachable_max_s: float
    sandbox: str
    log_limit_bytes: int
    claim_ttl_s: float
    work_limit_bytes: int
    processes_max: int
    container_image: str = ""  # of containers, for who names none
    container_user: str = "job"  # whom containers run as: the attempt's own user, or what the image says
    images: str = "refuse"  # what is done with a job that names one where there are no containers: refuse | ignore
    install_backoff_s: float = 5.0  # before the second try of an install; four times as long before the third


class Manifest(NamedTuple):
    """This host's part of the manifest."""

    pool: str
    host: str
    region: str
    home_region: str
    role_id: str
    bucket: str
    heartbeats_url: str
    claims_table: str
    agent_sha256: str
    settings: Settings
    assignments: tuple[Assignment, ...]
    inbox: bool
    group: str = ""  # the Auto Scaling group that launched it; its hosts are called by their instances' ids


def _number(document: Mapping[str, Any], name: str, default: float, least: float) -> float:
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < least:
        raise Wrong("%s must be a number of at least %g, not %r" % (name, least, value))
    return value


def _text(document: Mapping[str, Any], name: str, default: Optional[str] = None) -> str:
    value = document.get(name, default)
    if value is None and default is not None:
        value = default
    if not isinstance(value, str) or "\0" in value:
        raise Wrong("%s must be text, not %r" % (name, value))
    return value


def _input(document: Mapping[str, Any]) -> Input:
    sha256 = _text(document, "sha256", "")
    text = document.get("text")
    if text is not None and not isinstance(text, str):
        raise Wrong("inputs: text must be text, not %r" % (text,))
    git = document.get("git")
    if git is not None:
        found = Git(_text(git, "url"), _text(git, "branch", ""), _text(git, "token", ""))
        if not found.url.startswith(("https://", "http://")) or found.branch.startswith("-"):
            raise Wrong("inputs: %r is no repository that can be cloned" % (document.get("path"),))
        return Input(_text(document, "path"), "", None, False, git=found)
    s3 = _text(document, "s3", "")
    if s3 and text is None and not sha256:
        return Input(_text(document, "path"), "", None, bool(document.get("unpack", False)), s3)
    if text is None and (len(sha256) != 64 or set(sha256) - set("0123456789abcdef")):
        raise Wrong("inputs: %r has no text, no S3 address and no SHA-256 in hex" % (document.get("path"),))
    return Input(_text(document, "path"), sha256, text, bool(document.get("unpack", False)))


def _wanted(document: Any) -> Wanted:
    if isinstance(document, dict):
        return Wanted(_text(document, "glob"), _text(document, "name", ""))
    return Wanted(str(document))


def _folder(document: Mapping[str, Any]) -> str:
    folder = _text(document, "folder", "/job")
    if re.match(r"/[a-z][a-z0-9_-]{0,31}\Z", folder) is None:
        raise Wrong("folder must be a name below /, not %r" % folder)
    return folder


def _install(document: Any) -> Optional[Install]:
    if document is None:
        return None
    found = Install(_text(document, "script", ""), _text(document, "path", ""), _number(document, "timeout_s", 360, 1))
    if bool(found.script) == bool(found.path):
        raise Wrong("install must have a script or a path")
    return found


def _checkpoint(document: Any) -> Optional[Checkpoint]:
    if document is None:
        return None
    by = _text(document, "by", "files")
    if by not in ("files", "criu"):
        raise Wrong("checkpoint.by must be files or criu, not %r" % by)
    return Checkpoint(_number(document, "interval_s", 300, 1), by, int(_number(document, "mib_max", 1024, 1)))


def _adapter(document: Mapping[str, Any]) -> str:
    found = _text(document, "adapter", "command")
    if found not in ADAPTERS:
        raise Wrong("adapter must be one of %s, not %r" % (", ".join(ADAPTERS), found))
    return found


def _labels(document: Mapping[str, Any]) -> Mapping[str, str]:
    found = document.get("labels") or {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise Wrong("labels must be names and texts, not %r" % (found,))
    return found


def assignment(document: Mapping[str, Any]) -> Assignment:
    """One ASSIGNMENT. Raises Wrong."""
    environment = document.get("environment") or {}
    urls = document.get("urls") or {}
    parameters = document.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise Wrong("parameters must be names and values, not %r" % (parameters,))
    secrets = document.get("secrets") or {}
    values = document.get("values") or {}
    for name, mapping in (("environment", environment), ("urls", urls), ("secrets", secrets), ("values", values)):
        if not isinstance(mapping, dict) or not all(isinstance(v, str) and "\0" not in v for v in mapping.values()):
            raise Wrong("%s must be names and texts%s" % (name, "" if name == "values" else ", not %r" % (mapping,)))
    if any(not VARIABLE.match(key) for key in secrets):
        raise Wrong("secrets: one is no name of a variable")
    if any(not key or "=" in key or "\0" in key for key in environment):
        raise Wrong("environment: a name is empty or holds '='")
    if sum(len(k) + len(v) for k, v in environment.items()) > ENVIRONMENT_MAX_BYTES:
        raise Wrong("environment is larger than %d bytes" % ENVIRONMENT_MAX_BYTES)
    job = _text(document, "job")
    if not job or "/" in job or "#" in job or job.startswith("."):
        raise Wrong("job must be an id, not %r" % job)
    return Assignment(
        job=job,
        attempt=int(_number(document, "attempt", 1, 1)),
        command=_text(document, "command"),
        cpu=float(_number(document, "cpu", 1.0, 0)),
        memory_mib=int(_number(document, "memory_mib", 512, 1)),
        slots=int(_number(document, "slots", 1, 0)),
        timeout_s=float(_number(document, "timeout_s", 3600, 0)),
        network=bool(document.get("network", False)),
        untrusted=bool(document.get("untrusted", True)),
        environment=environment,
        inputs=tuple(_input(one) for one in document.get("inputs") or ()),
        outputs=tuple(_wanted(one) for one in document.get("outputs") or ()),
        result=_text(document, "result", ""),
        folder=_folder(document),
        archive=bool(document.get("archive", False)),
        urls=urls,
        document=document,
        parameters=parameters,
        secrets=secrets,
        values=values,
        disk_mib=int(_number(document, "disk_mib", 0, 0)),
        cpu_s=float(_number(document, "cpu_s", 0, 0)),
        output_mib=int(_number(document, "output_mib", 1024, 1)),
        file_mib=int(_number(document, "file_mib", 0, 0)),
        processes_max=int(_number(document, "processes_max", 0, 0)),
        adapter=_adapter(document),
        labels=_labels(document),
        install=_install(document.get("install")),
        checkpoint=_checkpoint(document.get("checkpoint")),
        restore=tuple(Kept(_text(one, "key"), _number(one, "at", 0, 0)) for one in document.get("restore") or ()),
        stall_s=float(_number(document, "stall_s", 0, 0)),
        image=_text(document, "image", ""),
        rank=int(_number(document, "rank", 0, 0)),
        hosts=int(_number(document, "hosts", 1, 1)),
        domain=_text(document, "domain", ""),
        share=bool(document.get("share", False)),
    )


def given(document: Any) -> Assignment:
    """One ASSIGNMENT, and one with a `fault` where it names its attempt but cannot be used: such a one is refused by name, or it
    would be handed to one host after the other. Raises Wrong for what names no attempt."""
    try:
        return assignment(document)
    except Wrong as error:
        job, attempt = document.get("job"), document.get("attempt")
        if isinstance(attempt, bool) or not isinstance(attempt, int):
            raise
        return assignment({"job": job, "attempt": attempt, "command": ""})._replace(
            document=document, fault="the assignment cannot be used: %s" % error
        )
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        raise Wrong("an assignment has another shape: %s" % error) from error


def settings(document: Mapping[str, Any]) -> Settings:
    """The manifest's `settings`. Raises Wrong."""
    sandbox = _text(document, "sandbox", "auto")
    if sandbox not in ("auto", "bwrap", "docker", "none"):
        raise Wrong("settings.sandbox must be auto, bwrap, docker or none, not %r" % sandbox)
    return Settings(
        slots=int(_number(document, "slots", 1, 1)),
        ping_every_s=_number(document, "ping_every_s", 30, 0.1),
        idle_max_s=_number(document, "idle_max_s", 900, 0),
        lifetime_max_s=_number(document, "lifetime_max_s", 86400, 0),
        unreachable_max_s=_number(document, "unreachable_max_s", 900, 1),
        sandbox=sandbox,
        log_limit_bytes=int(_number(document, "log_limit_bytes", 1 << 20, 0)),
        claim_ttl_s=_number(document, "claim_ttl_s", 1209600, 1),
        work_limit_bytes=int(_number(document, "work_limit_bytes", 2 << 30, 1)),
        processes_max=int(_number(document, "processes_max", 256, 8)),
        container_image=_text(document, "container_image", ""),
        container_user=_text(document, "container_user", "job"),
        images=_text(document, "images", "refuse"),
        install_backoff_s=_number(document, "install_backoff_s", 5, 0),
    )


def read(text: str, index: int) -> tuple[Manifest, list[str]]:
    """Entry `index` of the manifest, and a sentence for each of its assignments that cannot be understood.

    Raises Wrong when the manifest as a whole is unusable.
    """
    try:
        document = json.loads(text)
        hosts = document["hosts"]
        group = _text(document, "group", "")
        entry = {"host": ""} if group else hosts[index]
    except (ValueError, KeyError, TypeError) as error:
        raise Wrong("the manifest is no manifest: %r" % (error,)) from error
    except IndexError:
        raise Wrong("the manifest has %d hosts, and this is number %d" % (len(hosts), index)) from None
    assignments, problems = [], []
    for one in entry.get("assignments") or ():
        try:
            assignments.append(given(one))
        except Wrong as error:
            problems.append("an assignment of the manifest is unusable: %s" % error)
    region = _text(document, "region")
    found = Manifest(
        pool=_text(document, "pool"),
        host=_text(entry, "host"),
        region=region,
        home_region=_text(document, "home_region", region),
        role_id=_text(document, "role_id", ""),
        bucket=_text(document, "bucket"),
        heartbeats_url=_text(document, "heartbeats_url"),
        claims_table=_text(document, "claims_table"),
        agent_sha256=_text(document.get("agent") or {}, "sha256", ""),
        settings=settings(document.get("settings") or {}),
        assignments=tuple(assignments),
        inbox=bool(entry.get("inbox", False)),
        group=group,
    )
    return found, problems
