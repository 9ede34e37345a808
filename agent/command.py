"""`agent.pyz run`: put the parts together, say hello at once, then load what running attempts needs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Collection, Sequence

from agent import wire
from agent.admission import capacity
from agent.aws import Aws, Refused
from agent.cache import Cache
from agent.health import Health
from agent.journal import Journal
from agent.manifest import Manifest, Wrong, read
from agent.metadata import ENDPOINT, Metadata
from agent.paths import Paths, from_environment
from agent.pings import Pings
from agent.sandbox import choose, working
from agent.users import first_of

REPLACE_WAIT_S = 2.0

if TYPE_CHECKING:
    from agent.loop import Loop

ENGINE_WAIT_S = 45.0  # at boot it may start after us


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


class _Heard:
    """When AWS last answered, on the monotonic clock."""

    def __init__(self) -> None:
        self.at = time.monotonic()

    def now(self) -> None:
        self.at = time.monotonic()


def _run(paths: Paths, manifest: Manifest, problems: Sequence[str]) -> int:
    with contextlib.suppress(OSError):  # told as this host's problem, once it can speak
        for folder in (paths.state, paths.cache, paths.work):
            os.makedirs(folder, exist_ok=True)
        os.chmod(paths.state, 0o711)
        os.chmod(paths.cache, 0o700)
    metadata = Metadata()
    journal, cache = Journal(paths.journal), Cache(paths.cache)
    heard = _Heard()
    aws = Aws(metadata.credentials, manifest.home_region, manifest.bucket, heard.now)
    userid = _userid(manifest, metadata, aws)
    if manifest.group:
        manifest = manifest._replace(host="host-" + userid.partition(":")[2])

    def delivered(ping: dict[str, Any]) -> None:
        if ping["kind"] == "finish":
            try:
                journal.append("settled", "%s#%s" % (ping["job"], ping["attempt"]))
            except OSError as error:
                sys.stderr.write("spillway-agent: %s\n" % error)

    pings = Pings(manifest.pool, manifest.host, lambda text: aws.send_message(manifest.heartbeats_url, text), delivered)
    digest = hashlib.sha256(paths.state.encode()).hexdigest()
    first_uid = first_of(digest)
    probe = paths.work + "/.probe"
    choice = choose(manifest.settings.sandbox, probe, first_uid, ENGINE_WAIT_S)
    health = Health(paths.state, journal, cache, lambda: working(choice, probe, first_uid), lambda: aws.clock_off_s)
    has = capacity(manifest.settings.slots)
    pings.post(
        "hello",
        agent_sha256=manifest.agent_sha256,
        cpus=int(has.cpu),
        memory_mib=has.memory_mib,
        sandbox=choice.default.name if choice.default is not None else "none",
        running=journal.at_start.begun(),
        holds=cache.holds(),
    )
    pings.start()
    health.look()
    health.note("sandbox", "" if choice.default is not None else choice.reason)

    # The first ping is on its way; what follows takes the time that it takes to compile the rest of the agent.
    from agent import cgroups
    from agent.attempt import Host
    from agent.checkpoints import Saver
    from agent.execution import group_name
    from agent.firewall import fence_of
    from agent.install_run import Runner
    from agent.installs import Installs
    from agent.job_socket import Doors
    from agent.keeping import Keepers, Users
    from agent.loop import Loop, adoptable

    prefix = "spillway-%s-" % digest[8:16]
    groups = cgroups.find()
    goes_on = [key for key, entry in journal.at_start.entries.items() if adoptable(entry)]
    cgroups.sweep(groups, prefix, {group_name(prefix, key) for key in goes_on})
    _clear(paths.work, {key.replace("#", ".") for key in goes_on})
    keepers = Keepers(Doors(), Saver(paths.saving), Users())
    if choice.default is not None:
        choice.default.sweep(goes_on)
    runner = Runner(
        groups,
        prefix,
        has.memory_mib,
        manifest.settings.log_limit_bytes,
        lambda version, data: aws.put_object("hosts/%s/install/%s/log" % (userid, version), data, "text/plain"),
    )
    installs = Installs(
        paths.installs,
        cache.keep,
        runner,
        manifest.settings.install_backoff_s,
        lambda told: pings.post("installs", installs=told),
        lambda sentence: health.note("install", sentence),
    )
    fence = fence_of(choice.default and choice.default.helper(), probe, first_uid, os.environ.get(ENDPOINT, ""))
    host = Host(
        manifest, userid, paths, aws, pings, journal, choice, groups, prefix, cache, health, keepers, fence, installs
    )
    health.keep = fence.keep
    events: "queue.SimpleQueue[Callable[[], None]]" = queue.SimpleQueue()
    loop = Loop(host, has, first_uid, events, lambda: heard.at)
    for problem in problems:
        loop.trouble("manifest", problem)
    if choice.default is not None and choice.default.name == "bwrap" and not choice.default.filters:
        loop.trouble("filters", "this host's kernel or architecture has no filter of system calls that the agent knows")
    loop.resume()
    return _serve(loop, metadata, events)


def _clear(work: str, spared: Collection[str]) -> None:
    """Work folders of attempts that an earlier agent ran, but for those that go on."""
    from agent import folder

    for name in os.listdir(work) if os.path.isdir(work) else ():
        if name != ".probe" and name not in spared:
            folder.remove(os.path.join(work, name))


def _serve(loop: "Loop", metadata: Metadata, events: "queue.SimpleQueue[Callable[[], None]]") -> int:
    from agent.doorbell import Doorbell
    from agent.shutdown import LAST_WORDS_MAX_S, shut_down
    from agent.watch import InboxWatch, InterruptionWatch

    host = loop.host
    key = "inbox/%s/inbox.json" % host.userid
    watch = InboxWatch(
        lambda: host.aws.get_object(key), lambda found, problem: events.put(lambda: loop.on_inbox(found, problem))
    )
    loop.look = watch.look
    watch.start()
    InterruptionWatch(
        metadata,
        lambda at, action: events.put(lambda: loop.on_interruption(at, action)),
        lambda at: events.put(lambda: loop.on_rebalance(at)),
    ).start()
    Doorbell(host.paths.run, watch.look).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: events.put(loop.on_terminate))
    signal.signal(signal.SIGHUP, lambda *_: events.put(loop.on_replace))
    host.health.start(lambda: events.put(lambda: None))
    loop.take_manifest()
    watch.look()
    reason = loop.run()
    if reason is not None:
        # A host that hears nothing waits no longer for an answer to its last words than it waited for any.
        shut_down(host.pings, reason, min(LAST_WORDS_MAX_S, host.manifest.settings.unreachable_max_s))
    if loop.replaced:
        host.pings.flush(REPLACE_WAIT_S)  # what is left unsaid is in the journal, or said again
        os.execv(sys.executable, [sys.executable, sys.argv[0], "run"])
    host.pings.close()
    return 0
