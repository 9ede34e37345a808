"""`agent.pyz run`: put the parts together, say hello at once, then load what running attempts needs."""

from __future__ import annotations

import hashlib
import os
import queue
import signal
import sys
import time
from typing import Any, Callable, Optional, Sequence

from agent import wire
from agent.aws import Aws, Refused
from agent.journal import Journal
from agent.manifest import Manifest, Wrong, read
from agent.metadata import Metadata
from agent.paths import Paths, from_environment
from agent.pings import Pings

FIRST_UID = 200000  # of the attempts' own users; each host folder has a range of its own below
UIDS_EACH = 64


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    if list(arguments) != ["run"]:
        sys.stderr.write("usage: agent.pyz run | ring\n")
        return 2
    paths = from_environment()
    try:
        with open(paths.manifest, encoding="utf-8") as file:
            text = file.read()
        with open(paths.index) as file:
            index = int(file.read())
        manifest, problems = read(text, index)
    except (OSError, ValueError, Wrong) as error:
        sys.stderr.write("spillway-agent: %s cannot be used: %s\n" % (paths.manifest, error))
        return 3
    return _run(paths, manifest, problems)


def _userid(manifest: Manifest, metadata: Metadata, aws: Aws) -> str:
    """`<role id>:<instance id>`; waits for as long as it takes, because nothing can be done without it."""
    while True:
        try:
            if manifest.role_id:
                return "%s:%s" % (manifest.role_id, metadata.get("meta-data/instance-id"))
            return aws.caller_userid()
        except (wire.Unreachable, Refused) as error:
            sys.stderr.write("spillway-agent: the host does not know its own name yet: %s\n" % error)
            time.sleep(5)


def _run(paths: Paths, manifest: Manifest, problems: Sequence[str]) -> int:
    for folder in (paths.state, paths.inputs, paths.work):
        os.makedirs(folder, exist_ok=True)
    os.chmod(paths.state, 0o711)
    os.chmod(paths.inputs, 0o700)
    metadata = Metadata()
    events: "queue.SimpleQueue[Callable[[], None]]" = queue.SimpleQueue()
    journal = Journal(paths.journal)
    loop_heard: list[Callable[[], None]] = [lambda: None]
    aws = Aws(metadata.credentials, manifest.home_region, manifest.bucket, lambda: loop_heard[0]())
    userid = _userid(manifest, metadata, aws)

    def delivered(ping: dict[str, Any]) -> None:
        if ping["kind"] == "finish":
            try:
                journal.append("settled", "%s#%s" % (ping["job"], ping["attempt"]))
            except OSError as error:
                sys.stderr.write("spillway-agent: %s\n" % error)

    def send(text: str) -> None:
        aws.send_message(manifest.heartbeats_url, text)

    pings = Pings(manifest.pool, manifest.host, send, delivered)

    from agent.loop import Loop, capacity, shut_down
    from agent.sandbox import choose

    offset = int(hashlib.sha256(paths.state.encode()).hexdigest()[:8], 16) % 10000
    first_uid = FIRST_UID + offset * UIDS_EACH
    choice = choose(manifest.settings.sandbox, paths.work + "/.probe", first_uid)
    has = capacity(manifest.settings.slots)

    from agent import cgroups
    from agent.attempt import Host

    prefix = "spillway-%08x-" % (int(hashlib.sha256(paths.state.encode()).hexdigest()[8:16], 16))
    groups = cgroups.find()
    host = Host(manifest, userid, paths, aws, pings, journal, choice, groups, prefix)
    loop = Loop(host, has, first_uid, events)

    def heard() -> None:
        loop.heard_at = time.monotonic()

    loop_heard[0] = heard
    pings.post(
        "hello",
        agent_sha256=manifest.agent_sha256,
        cpus=int(has.cpu),
        memory_mib=has.memory_mib,
        sandbox="bwrap" if choice.default is not None and choice.default.name == "bwrap" else "none",
        running=[],
    )
    pings.start()
    cgroups.sweep(groups, prefix)
    for problem in problems:
        loop.problem("manifest", problem)
    loop.resume()
    _clear(paths.work)
    return _serve(loop, metadata, events, userid, shut_down)


def _clear(work: str) -> None:
    """Work folders of attempts that an earlier agent ran."""
    import shutil

    for name in os.listdir(work):
        if name != ".probe":
            shutil.rmtree(os.path.join(work, name), ignore_errors=True)


def _serve(loop: Any, metadata: Metadata, events: Any, userid: str, shut_down: Callable[[Any, str], None]) -> int:
    from agent.doorbell import Doorbell
    from agent.watch import InboxWatch, InterruptionWatch

    host = loop.host
    key = "inbox/%s/inbox.json" % userid

    def look() -> Optional[bytes]:
        found: Optional[bytes] = host.aws.get_object(key)
        return found

    loop.inbox = InboxWatch(look, lambda found, problem: events.put(lambda: loop.on_inbox(found, problem)))
    loop.inbox.start()
    interruption = InterruptionWatch(
        metadata, lambda at, action: host.pings.post("interrupted", interrupt_at=at, action=action)
    )
    interruption.start()
    Doorbell(host.paths.run, loop.inbox.look).start()
    signal.signal(signal.SIGTERM, lambda *_: events.put(loop.on_terminate))
    signal.signal(signal.SIGINT, lambda *_: events.put(loop.on_terminate))
    loop.take_manifest()
    loop.inbox.look()
    reason = loop.run()
    if reason is not None:
        shut_down(host, reason)
    host.pings.close()
    return 0
