"""One attempt on this machine without any cloud: the preparation, sandbox, limits, verdict and report are those of a host.

Where a host asks AWS, a folder answers: what would be stored becomes a file in it, and the claim is always won, since nobody else
knows of the attempt. Everything else of the machine is a host's, below a root folder that is removed afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from typing import Any, Callable, Mapping, NamedTuple, Optional

from agent import cgroups, folder
from agent.admission import capacity
from agent.attempt import Attempt, Host
from agent.aws import Aws, ClaimAnswer
from agent.cache import Cache
from agent.checkpoints import Saver
from agent.firewall import fence_of
from agent.health import Health
from agent.install_run import Runner
from agent.installs import Installs
from agent.job_socket import Doors
from agent.journal import Journal
from agent.keeping import Keepers, Users
from agent.manifest import Assignment, Manifest, Wrong, assignment, settings
from agent.paths import Paths
from agent.pings import Pings
from agent.sandbox import choose, working
from agent.sigv4 import Credentials
from agent.users import LOCAL_FIRST_UID, LOCAL_UIDS
from agent.wire import Unreachable

TELL_EVERY_S = 1.0
CANCELLING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CACHE_BYTES = 1 << 40  # what was given is here already, and is wanted


class Run(NamedTuple):
    """`finish` is the finish ping; or, where the attempt was not begun, it is None and `refused` says why, `why` in one word."""

    finish: Optional[Mapping[str, Any]]
    refused: str
    why: str


class Files(Aws):
    """What a host stores, in a folder: its log as `log.txt`, its outputs below `outputs`."""

    def __init__(self, into: str, prefix: str) -> None:
        super().__init__(_no_credentials, "local")
        self._into, self._prefix = into, prefix

    def claim(self, table: str, host: str, attempt: str, at: float, expires_at: int) -> ClaimAnswer:
        return ClaimAnswer(True, "", True)

    def put_object(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> None:
        path, offset = self._place(key)
        with open(path, "r+b" if offset else "wb") as file:
            file.seek(offset)
            file.write(body)

    def put_file(self, key: str, path: str, size: int) -> None:
        shutil.copyfile(path, self._place(key)[0], follow_symlinks=False)

    def put_install_log(self, version: str, data: bytes) -> None:
        """What an install has printed, as `install.txt`."""
        with open(os.path.join(self._into, "install.txt"), "wb") as file:
            file.write(data)

    def _place(self, key: str) -> tuple[str, int]:
        kind, _, name = key[len(self._prefix) :].partition("/")
        parts = ("log.txt",) if kind == "log" else ("outputs", name) if kind == "out" else (kind, name)
        path = os.path.join(self._into, *parts)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path, int(name) if kind == "log" else 0


def run(
    document: Mapping[str, Any],
    contents: Mapping[str, str],
    into: str,
    asked: Mapping[str, Any],
    told: Callable[[Mapping[str, Any]], None],
) -> Run:
    """Run the ASSIGNMENT `document` to its end. `contents`: SHA-256 → the file with that content; `into`: a folder for its log
    and outputs; `asked`: settings of a manifest (`sandbox`, `log_limit_bytes` …); `told` gets every ping. SIGINT, SIGTERM
    and SIGHUP cancel it (so this is called in the main thread).

    Raises Wrong for a document that no host could take, OSError.
    """
    one = assignment(
        {**document, "urls": {**(document.get("urls") or {}), **dict.fromkeys(contents, "http://127.0.0.1/")}}
    )
    lacking = [i.path for i in one.inputs if i.address and i.address not in contents]
    if lacking:
        raise Wrong("input %s is not on this machine" % lacking[0])
    root = tempfile.mkdtemp(prefix="spillway-")
    try:
        return _run(one, contents, into, root, asked, told)
    finally:
        folder.remove(root)


def _run(
    one: Assignment,
    contents: Mapping[str, str],
    into: str,
    root: str,
    asked: Mapping[str, Any],
    told: Callable[[Mapping[str, Any]], None],
) -> Run:
    paths = Paths(root)
    for made in (paths.state, paths.cache, paths.work, paths.run):
        os.makedirs(made)
    os.chmod(root, 0o711)
    os.chmod(paths.state, 0o711)
    cache = Cache(paths.cache, CACHE_BYTES)
    for sha256, path in contents.items():
        with cache.hold(sha256, lambda part, path=path: _copy(path, part)):  # type: ignore[misc]
            pass
    manifest = Manifest(
        pool="local", host="local", region="local", home_region="local", role_id="", bucket="", heartbeats_url="",
        claims_table="", agent_sha256="", settings=settings(asked), assignments=(), inbox=False,
    )  # fmt: skip
    uid = LOCAL_FIRST_UID + os.getpid() % LOCAL_UIDS
    probe = paths.work + "/.probe"
    choice = choose(manifest.settings.sandbox, probe, uid)
    journal = Journal(paths.journal)
    store = Files(into, "hosts/local/%s/%d/" % (one.job, one.attempt))
    heard: list[Mapping[str, Any]] = []

    def take(text: str) -> None:
        for ping in json.loads(text)["pings"]:
            heard.append(ping)
            told(ping)

    pings = Pings("local", "local", take, lambda ping: None)
    pings.start()
    health = Health(paths.state, journal, cache, lambda: working(choice, probe, uid), lambda: 0.0)
    groups, prefix = cgroups.find(), "spillway-local%d-" % os.getpid()
    keepers = Keepers(Doors(), Saver(paths.saving), Users())
    installs = Installs(
        paths.installs,
        cache.keep,
        Runner(groups, prefix, capacity(1).memory_mib, manifest.settings.log_limit_bytes, store.put_install_log),
        manifest.settings.install_backoff_s,
        lambda said: pings.post("installs", installs=said),
        lambda sentence: health.note("install", sentence),
    )
    fence = fence_of(choice.default and choice.default.helper(), probe, uid, "")
    host = Host(
        manifest, "local", paths, store, pings, journal, choice, groups, prefix, cache, health, keepers, fence, installs
    )
    attempt = Attempt(host, one, uid, lambda key, why: None)
    former = {number: signal.signal(number, lambda *_: attempt.stop("cancel")) for number in CANCELLING}
    try:
        attempt.start()
        while attempt.is_alive():
            attempt.join(TELL_EVERY_S)
            attempt.keeping.tell(regular=False)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    pings.flush(10.0)
    pings.close()
    journal.close()
    cgroups.sweep(groups, prefix)
    finish = next((ping for ping in heard if ping["kind"] == "finish"), None)
    refused: Mapping[str, Any] = next((ping for ping in heard if ping["kind"] == "refused"), {})
    return Run(finish, str(refused.get("reason", "")), str(refused.get("why", "")))


def _no_credentials() -> Credentials:
    raise Unreachable("there is no AWS in a local run")


def _copy(source: str, part: str) -> None:
    shutil.copyfile(source, part)
