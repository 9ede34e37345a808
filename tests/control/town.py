"""A small world around the real control code: memory tables, memory AWS, and agents that keep the protocol.

Nothing here decides anything for the control plane: the town delivers messages, boots machines, lets their agents run jobs, and
moves the clock to whatever comes next. Messages may be duplicated, and any function may crash at any AWS call.
"""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from chalicelib.cloud.memory import Machine, MemoryCloud, memory_cloud
from chalicelib.cloud.user_data import user_data
from chalicelib.config import Settings
from chalicelib.control import ec2_events, intake, passes, pings, story, tick, timers
from chalicelib.control.handover import group_manifest
from chalicelib.control.submit import submit
from chalicelib.core import invariants
from chalicelib.core.groups import group_name
from chalicelib.core.host import HostState, Offering
from chalicelib.core.job import Job
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.store.memory import memory_stores
from chalicelib.store.told import told
from chalicelib.wiring import Plane

AGENT = "f" * 64
ROLE = "AROATOWN"
SCRIPT = "#!/usr/bin/python3\nMANIFEST = r'''{}'''\n"
OFFERING = Offering(region="us-east-1", instance_type="c7i.large")


class Crash(BaseException):
    """A function that dies between two AWS calls; no handler may catch it."""


@dataclass
class Agent:
    """What the real agent does, as far as the control plane can see."""

    machine: Machine
    userid: str
    manifest: dict[str, Any]
    entry: dict[str, Any]
    boot_at: float
    said_hello: bool = False
    known: set[tuple[str, int]] = field(default_factory=set)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    running: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)  # attempt → started, ends
    domain: str = ""
    pass_no: int = -1
    gathered: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)  # claimed, and waits for its gang


def _lacks(a: dict[str, Any]) -> bool:
    """Whether what user data must not hold is still to come: the real agent holds such an assignment until it is in the inbox."""
    named = {one.get("s3") or one.get("sha256") for one in a["inputs"]} - {None}
    tokens = {one["git"]["token"] for one in a["inputs"] if one.get("git", {}).get("token")}
    return (
        not named <= a.get("urls", {}).keys()
        or not {*a.get("secrets", {}).values(), *tokens} <= a.get("values", {}).keys()
    )


class Town:
    def __init__(self, spec: PoolSpec | None = None, seed: int = 0) -> None:
        self.now = 1_000_000.0
        self.chance = random.Random(seed)
        self.cloud: MemoryCloud = memory_cloud(lambda: self.now, stage="town")
        self.cloud.compute.throttles = True
        self.stores = memory_stores()
        self._ids = 0
        self.plane = Plane(
            settings=Settings(stage="town", host_role_id=ROLE, agent_sha256=AGENT, bucket="town"),
            stores=told(self.stores),
            cloud=self.cloud,
            clock=lambda: self.now,
            new_id=self.new_id,
        )
        self.cloud.blobs.put(f"agent/{AGENT}.boot.py", SCRIPT.encode())
        self.stores.registry.put_pool("default", spec or PoolSpec(offerings=(OFFERING,)), version=None)
        self.agents: dict[str, Agent] = {}
        self.boot_s = 20.0
        self.began: Counter[tuple[str, int]] = Counter()  # attempts whose command was really started, anywhere
        self.served: dict[str, list[str]] = {}  # host → owners of what began there
        self.shared = False  # whether hosts ever had leave to serve another owner
        self.members_began: Counter[tuple[str, int, int]] = Counter()  # the same of gangs, by rank
        self.told_peers: dict[tuple[str, int, int], tuple[str, ...]] = {}  # … with whom
        self.deaf: set[str] = set()  # instances whose pings are lost
        self.unannounced: set[str] = set()  # instances of whose end EventBridge does not tell
        self.unmanned: set[str] = set()  # instances on which no agent of ours ever starts
        self.duplicate = 0.0  # share of messages that are delivered twice
        self.crash_after: int | None = None  # AWS calls until the running function dies
        self.cpu_max: dict[str, float] = {}  # owner → what its quota allows from the first moment on
        self.watched = True  # look at everything at every moment: takes minutes where there are a thousand hosts
        self._next_tick = self.now + 60
        self._rings = 0
        self._ended: set[str] = set()

    def make_groups(self) -> None:
        """An Auto Scaling group for each market that the pool offers, as `spillway pool groups` makes them."""
        pool = self.stores.registry.pool("default")
        assert pool is not None
        for offering in pool.spec.offerings:
            name = group_name("town", "default", offering.market)
            document = group_manifest(self.plane.settings, pool, name, offering.region, slots=2)
            self.cloud.groups.make("default", offering, user_data(document, SCRIPT))

    def new_id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}-{self._ids:026d}"

    # -- what users do

    def submit(self, command: str = "run 5", **spec: Any) -> Job:
        """Submit `run SECONDS`, `fail SECONDS` or, with a broken grader, `broken SECONDS`."""
        return submit(self.plane, JobSpec(command=command, timeout_s=600, **spec), "alice").job

    def job(self, job_id: str) -> Job:
        job = self.stores.jobs.get(job_id)
        assert job is not None
        return job

    def hosts(self) -> list[Any]:
        return self.stores.hosts.of_pool("default")[0]

    # -- time

    def run(self, seconds: float) -> None:
        """Let the world go on for so long, event by event."""
        end = self.now + seconds
        while True:
            self.settle()
            following = min(self._coming(), default=end)
            if following > end:
                self.now = max(self.now, end)  # a slow function may have taken longer
                self.settle()
                return
            self.now = max(self.now, following)

    def run_until_quiet(self, limit_s: float = 90_000) -> None:
        """Until every job has ended and no machine costs money."""
        end = self.now + limit_s
        while self.now < end:
            self.run(30)
            jobs = self.stores.jobs.active("default")[0] + self.stores.jobs.untold()[0]
            jobs += self.stores.arrays.active("default")[0] + self.stores.arrays.untold()[0]
            if not self.cloud.compute.alive() and not jobs and self._rows_ended():
                self.run(130)
                return
        raise AssertionError(f"not quiet after {limit_s} s: {self.describe()}")

    def world(self) -> invariants.World:
        """Everything, for the invariants."""
        ids = self.stores.jobs.of_pool("default", limit=10_000)[0]
        pool = self.stores.registry.pool("default")
        assert pool is not None
        return invariants.World(
            jobs=tuple(self.stores.jobs.get_many(ids).values()),
            arrays=tuple(
                (array, self.stores.arrays.tally(array.id))
                for array in self.stores.arrays.get_many(
                    self.stores.arrays.of_pool("default", limit=10_000)[0]
                ).values()
            ),
            hosts=tuple(self.hosts()),
            backlog=tuple(self.stores.backlog.head("default", 10_000)),
            instances=frozenset(machine.id for machine in self.cloud.compute.alive()),
            began=dict(self.began),
            served={host: tuple(owners) for host, owners in self.served.items()},
            share_hosts=self.shared,
            members_began=dict(self.members_began),
            hosts_max=pool.spec.hosts_max,
            cpu_max=self.cpu_max,
            calls=self.launch_calls(),
        )

    def launch_calls(self) -> dict[str, list[tuple[float, int]]]:
        """Region → when EC2 was asked to launch, and how many hosts."""
        calls: dict[str, list[tuple[float, int]]] = {}
        for call in self.cloud.calls.of("ec2.RunInstances"):
            launch = call.detail["launch"]
            calls.setdefault(launch.offering.region, []).append((call.at, len(launch.hosts)))
        return calls

    def _rows_ended(self) -> bool:
        return all(host.state is HostState.TERMINATED and not host.assignments for host in self.hosts())

    def describe(self) -> str:
        jobs = [self.job(i) for i in self.stores.jobs.active("default")[0]]
        hosts = [(h.id, str(h.state), h.reason, h.assignments) for h in self.hosts()]
        return f"{[(j.id, str(j.state), j.attempt, j.reason) for j in jobs]} {hosts}"

    def settle(self) -> None:
        """Everything that is due at this moment."""
        busy = True
        while busy:
            busy = self._machines() | self._deliver() | self._tick()
        assert not self.watched or not (broken := invariants.always(self.world())), broken

    def _coming(self) -> list[float]:
        queues = self.cloud.queues
        times = [self._next_tick]
        times += [
            at
            for q in (queues.wakes, queues.timers, queues.heartbeats, queues.submissions)
            if (at := q.next_at()) is not None
        ]
        for agent in self.agents.values():
            if not agent.said_hello:
                times.append(agent.boot_at)
            times += [ends for _, ends in agent.running.values()]
        times += [m.ended_at for m in self.cloud.compute.machines.values() if m.ended_at and m.id not in self._ended]
        return [at for at in times if at > self.now]

    # -- functions

    def invoke(self, function: Any, *args: Any) -> bool:
        """Run a handler as Lambda would; False if it died or raised."""
        try:
            function(self.plane, *args)
            story.flush(self.plane)
        except Crash:
            self.plane.stores.teller.forget()  # the process is gone, and what it held with it
            return False
        return True

    def _tick(self) -> bool:
        if self.now < self._next_tick:
            return False
        self._next_tick += 60
        self.invoke(tick.run)
        return True

    def _deliver(self) -> bool:
        queues, busy = self.cloud.queues, False
        for queue, handle in (
            (queues.wakes, self._wake),
            (queues.timers, self._timer),
            (queues.heartbeats, self._heartbeat),
            (queues.submissions, self._submission),
        ):
            for message in queue.receive(self.now, 1 if queue.fifo else 10):
                busy = True
                if self._is_late(queue, message):
                    continue
                times = 2 if self._comes_twice(message) else 1
                if all([handle(message) for _ in range(times)]):  # noqa: C419  # both, even if the first one dies
                    queue.delete(message.receipt)
        return busy

    def _comes_twice(self, message: Any) -> bool:
        return self.chance.random() < self.duplicate

    def _is_late(self, queue: Any, message: Any) -> bool:
        """Whether the message is delivered at another time; by then others have overtaken it."""
        return False

    def _wake(self, message: Any) -> bool:
        return self.invoke(passes.receive, message.body)

    def _timer(self, message: Any) -> bool:
        return self.invoke(timers.receive, [(message.id, message.body)])

    def _submission(self, message: Any) -> bool:
        return self.invoke(intake.receive, [intake.Record(message.id, message.body, message.sent_at)])

    def _heartbeat(self, message: Any) -> bool:
        return self.invoke(pings.receive, [pings.Message(message.sender, message.body, message.id)])

    # -- machines

    def _machines(self) -> bool:
        busy = False
        for machine in list(self.cloud.compute.machines.values()):
            state = self.cloud.compute.state_of(machine, self.now)
            if state == "terminated" and machine.id not in self._ended:
                self._ended.add(machine.id)
                self.agents.pop(machine.id, None)
                if machine.id not in self.unannounced:
                    detail = {"instance-id": machine.id, "state": "terminated"}
                    event = {"detail-type": "EC2 Instance State-change Notification", "detail": detail}
                    self.invoke(ec2_events.receive, event)
                busy = True
            elif state == "running" and machine.id not in self.agents.keys() | self.unmanned | self._ended:
                self.agents[machine.id] = self._boot(machine)
                busy = True
        rung = self.cloud.compute.rings[self._rings :]
        self._rings += len(rung)
        for ring in rung:
            if (agent := self.agents.get(ring.instance_id)) is not None and agent.said_hello:
                self._read_inbox(agent)
                busy = True
        for agent in list(self.agents.values()):
            if agent.machine.id in self.agents:  # it may have ended meanwhile
                busy |= self._agent(agent)
        return busy

    def _boot(self, machine: Machine) -> Agent:
        script = gzip.decompress(machine.launch.user_data).decode()
        line = next(text for text in script.splitlines() if text.startswith("MANIFEST = r'''"))
        manifest = json.loads(line.removeprefix("MANIFEST = r'''").removesuffix("'''"))
        grouped = {"host": f"host-{machine.id}", "assignments": [], "inbox": False}
        entry = grouped if "group" in manifest else manifest["hosts"][machine.index]
        return Agent(machine, f"{ROLE}:{machine.id}", manifest, entry, boot_at=self.now + self.boot_s)

    def _agent(self, agent: Agent) -> bool:
        busy = False
        if not agent.said_hello and self.now >= agent.boot_at:
            agent.said_hello = busy = True
            self._say(agent, {"kind": "hello", "sandbox": "bwrap", "running": []})
            self._accept(agent, agent.entry["assignments"] or [])
            if agent.entry["inbox"]:
                self._read_inbox(agent)
        for key, (started, ends) in list(agent.running.items()):
            if self.now >= ends:
                busy = True
                del agent.running[key]
                self._finish(agent, key, started)
        while agent.waiting and len(agent.running) + len(agent.gathered) < agent.manifest["settings"]["slots"]:
            if agent.domain not in ("", agent.waiting[0]["domain"]) and (agent.running or agent.gathered):
                break
            busy = True
            self._begin(agent, agent.waiting.pop(0))
        return busy

    def _read_inbox(self, agent: Agent) -> None:
        body = self.cloud.blobs.get(f"inbox/{agent.userid}/inbox.json")
        if body is None:
            return
        inbox = json.loads(body)
        if inbox["pass_no"] < agent.pass_no:
            return
        agent.pass_no = inbox["pass_no"]
        self._accept(agent, inbox["assignments"])
        self._hear_of_gangs(agent, inbox)
        for cancel in inbox["cancel"]:
            key = (cancel["job"], cancel["attempt"])
            if key in agent.running:
                started, _ = agent.running.pop(key)
                self._finish(agent, key, started, outcome="cancelled")
            elif any((a["job"], a["attempt"]) == key for a in agent.waiting):  # of others it knows nothing
                agent.waiting = [a for a in agent.waiting if (a["job"], a["attempt"]) != key]
                if self._claims(agent, key):
                    self._finish(agent, key, self.now, outcome="cancelled")

    def _accept(self, agent: Agent, assignments: list[dict[str, Any]]) -> None:
        for a in assignments:
            key = (a["job"], a["attempt"])
            if key not in agent.known and not _lacks(a):
                agent.known.add(key)
                agent.waiting.append(a)
                self._say(agent, {"kind": "accepted", "job": a["job"], "attempt": a["attempt"]})

    def _begin(self, agent: Agent, a: dict[str, Any]) -> None:
        key = (a["job"], a["attempt"])
        assert not _lacks(a), f"{key} would begin without all that it needs"
        if agent.domain not in ("", a["domain"]) and not a.get("share"):
            refused = {"kind": "refused", "why": "other_domain", "reason": f"this host serves {agent.domain}"}
            self._say(agent, {**refused, "job": key[0], "attempt": key[1]})
            return
        if agent.domain not in ("", a["domain"]):
            found = {"files": 1, "processes": 0}
            self._say(
                agent, {"kind": "scrubbed", "before": agent.domain, "domain": a["domain"], "found": found, "holds": []}
            )
        agent.domain = a["domain"]
        self.served.setdefault(agent.entry["host"], []).append(agent.domain)
        self.shared |= bool(a.get("share"))
        if not self._claims(agent, key):
            return
        if a.get("hosts", 1) > 1:
            agent.gathered[key] = a
            number = list(self.cloud.compute.machines).index(agent.machine.id)
            self._say(agent, {"kind": "ready", "job": key[0], "attempt": key[1], "address": f"10.0.0.{number % 250}"})
            return
        self.began[key] += 1
        self._run(agent, key, a)

    def _hear_of_gangs(self, agent: Agent, inbox: dict[str, Any]) -> None:
        """Who is told to begin does; who is not named any more gives up; who is cancelled says so."""
        go = {(one["job"], one["attempt"]): one for one in inbox.get("go", ())}
        cancelled = {(one["job"], one["attempt"]) for one in inbox["cancel"]}
        named = {(one["job"], one["attempt"]) for one in inbox["assignments"]} | cancelled
        for key, a in list(agent.gathered.items()):
            if key in go:
                del agent.gathered[key]
                peers = tuple(go[key]["peers"])
                assert len(list(filter(None, peers))) == a["hosts"], f"{key} begins with {peers}"
                self.members_began[*key, a["rank"]] += 1
                self.told_peers[*key, a["rank"]] = peers
                self._run(agent, key, a)
            elif key in cancelled or key not in named:
                del agent.gathered[key]
                self._finish(agent, key, None, outcome="cancelled")

    def _run(self, agent: Agent, key: tuple[str, int], a: dict[str, Any]) -> None:
        seconds = float(a["command"].split()[1])
        agent.running[key] = (self.now, self.now + seconds)
        self._say(agent, {"kind": "start", "job": key[0], "attempt": key[1]})

    def _claims(self, agent: Agent, key: tuple[str, int]) -> bool:
        if self.stores.claims.take(agent.userid, *key, by="agent", at=self.now, expires_at=self.now + 1_000_000):
            return True
        refused = {"kind": "refused", "job": key[0], "attempt": key[1], "why": "claim_lost", "reason": "claim lost"}
        self._say(agent, refused)
        return False

    def _finish(self, agent: Agent, key: tuple[str, int], started: float | None, outcome: str | None = None) -> None:
        job = self.stores.jobs.get(key[0])
        failed = job is not None and job.spec.command.startswith("fail")
        broken = job is not None and job.spec.command.startswith("broken") and outcome is None
        told = {"outcome": "infrastructure", "cause": "grader", "reason": "its grader is broken: it wrote none"}
        self._say(
            agent,
            {
                "kind": "finish",
                "job": key[0],
                "attempt": key[1],
                "outcome": outcome or ("failed" if failed else "succeeded"),
                "reason": "exit 1" if failed else "exit 0",
                "exit_code": 1 if failed else 0,
                "started_at": started,
                "finished_at": self.now,
                "log": {"bytes": 0, "cut": False, "text": ""},
                "outputs": [],
                **(told if broken else {}),
            },
        )

    def _say(self, agent: Agent, ping: dict[str, Any]) -> None:
        if agent.machine.id in self.deaf:
            return
        body = {
            "v": 1,
            "pool": agent.manifest["pool"],
            "host": agent.entry["host"],
            "boot": "b",
            "seq": 0,
            "sent_at": self.now,
            "pings": [{"at": self.now, **ping}],
        }
        self.cloud.queues.heartbeats.send(json.dumps(body), self.now, sender=agent.userid)
