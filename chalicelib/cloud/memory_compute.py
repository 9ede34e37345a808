"""EC2 and Run Command in memory: close enough for tests and the simulator to run on.

A machine's EC2 state is a function of a few times (launched, ended) and the moment one asks about, so nothing has to be advanced by
hand: move the clock and `pending` becomes `running`, an interrupted machine dies two minutes later, and a list that lags
(`list_lag_s`) is simply the list of that many seconds ago.

Kept like EC2: ClientToken (the same request gives the same instances, a changed one is refused; a refused launch uses no token),
fewer instances than asked, capacity by offering, the 16 KiB of user data, Run Command refusing a whole call for one id that it does
not know, a quota, and (`throttles`) the token buckets of RunInstances. Not modelled: expiry of tokens (AWS keeps them for a day and more).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chalicelib.cloud.doorbell import ring_in_halves
from chalicelib.cloud.memory_calls import Calls
from chalicelib.cloud.ports import Instance
from chalicelib.cloud.tags import launch_tags
from chalicelib.core.bucket import EC2_INSTANCES, EC2_REQUESTS, GRAIN
from chalicelib.core.host import Launch, Offering
from chalicelib.errors import CapacityRefused, LaunchImpossible, Throttled

USER_DATA_BYTES_MAX = 16_384
INTERRUPTION_NOTICE_S = 120.0
TERMINATE_IDS_MAX = 1000
ENDED_LISTED_S = 3600.0  # EC2 lists what has ended for about an hour


@dataclass(slots=True)
class Machine:
    """One instance as only EC2 knows it. `ended_at`: when its shutdown began."""

    id: str
    launch: Launch
    index: int
    launched_at: float
    ended_at: float | None = None
    interrupt_at: float | None = None
    registered: bool = True  # its SSM agent has reported

    @property
    def offering(self) -> Offering:
        return self.launch.offering


@dataclass(frozen=True, slots=True)
class Ring:
    """One doorbell that reached one machine."""

    at: float
    region: str
    instance_id: str


@dataclass(slots=True)
class MemoryCompute:
    """The fake behind `ports.Compute`; what tests set and look at are its public fields and the methods below `ring`."""

    clock: Callable[[], float]
    calls: Calls
    stage: str = "test"
    pending_s: float = 0.0  # how long a new machine is `pending`
    shutdown_s: float = 0.0  # how long it is `shutting-down`
    throttles: bool = False  # RequestLimitExceeded for launches beyond EC2's rate
    list_lag_s: float = 0.0  # lists show EC2 as it was this long ago
    machines: dict[str, Machine] = field(default_factory=dict)
    rings: list[Ring] = field(default_factory=list)
    _kept: dict[str, Machine] = field(
        default_factory=dict
    )  # those that a list may still show: years of simulation end many
    _capacity: dict[str, int] = field(default_factory=dict)
    _quotas: dict[str, int] = field(default_factory=dict)
    _used: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # region → when, requests, instances
    _refusals: dict[str, str] = field(default_factory=dict)
    _tokens: dict[str, tuple[tuple[object, ...], list[str]]] = field(default_factory=dict)

    # ---- ports.Compute

    def launch(self, launch: Launch) -> list[Instance]:
        with self.calls.call("ec2.RunInstances", launch=launch):
            self._throttle(launch)
            request = (
                launch.pool,
                launch.offering,
                len(launch.hosts),
                launch.user_data,
                launch.image,
                launch.template,
                launch.whole,
            )
            if launch.token in self._tokens:
                first, ids = self._tokens[launch.token]
                if first != request:
                    raise LaunchImpossible(
                        "IdempotentParameterMismatch", f"launch {launch.id} was sent before with other parameters"
                    )
                return [self._instance(self.machines[i], self.clock()) for i in ids]
            if len(launch.user_data) > USER_DATA_BYTES_MAX:
                raise LaunchImpossible("InvalidParameterValue", "user data is limited to 16384 bytes")
            given = min(len(launch.hosts), self._free(launch.offering, len(launch.hosts)))
            if launch.whole and given < len(launch.hosts):
                raise CapacityRefused("InsufficientInstanceCapacity", f"no capacity for {len(launch.hosts)} at once")
            made = [self._make(launch, index) for index in range(given)]
            self._tokens[launch.token] = (request, [machine.id for machine in made])
            return [self._instance(machine, self.clock()) for machine in made]

    def instances(self, pool: str, regions: Sequence[str]) -> list[Instance]:
        found = []
        for region in regions:
            with self.calls.call("ec2.DescribeInstances", pool=pool, region=region):
                then = self.clock() - self.list_lag_s
                self._prune(then)
                found += [
                    self._instance(machine, then)
                    for machine in self._kept.values()
                    if machine.launch.pool == pool
                    and machine.offering.region == region
                    and machine.launched_at <= then
                    and self.state_of(machine, then) != "terminated"
                ]
        return found

    def launched(self, launch: Launch) -> list[Instance]:
        with self.calls.call("ec2.DescribeInstances", launch=launch):
            then = self.clock() - self.list_lag_s
            return [
                self._instance(machine, then)
                for machine in self.machines.values()
                if machine.launch.id == launch.id
                and machine.launched_at <= then
                and (machine.ended_at is None or machine.ended_at > then - ENDED_LISTED_S)
            ]

    def terminate(self, region: str, instance_ids: Sequence[str]) -> None:
        for i in range(0, len(instance_ids), TERMINATE_IDS_MAX):
            batch = instance_ids[i : i + TERMINATE_IDS_MAX]
            with self.calls.call("ec2.TerminateInstances", region=region, instance_ids=tuple(batch)):
                for instance_id in batch:
                    machine = self.machines.get(instance_id)
                    if machine is not None and machine.offering.region == region:
                        self.lose(instance_id)

    def ring(self, region: str, instance_ids: Sequence[str]) -> list[str]:
        def send(batch: list[str]) -> bool:
            with self.calls.call("ssm.SendCommand", region=region, instance_ids=tuple(batch)):
                if not all(self._reachable(region, instance_id) for instance_id in batch):
                    return False
                self.rings += [Ring(self.clock(), region, instance_id) for instance_id in batch]
                return True

        return ring_in_halves(instance_ids, send)

    # ---- what tests and the simulator do to it

    def limit(self, offering: Offering | str, most: int | None) -> None:
        """At most this many machines of an offering live at once; None lifts the limit. 0 refuses with InsufficientInstanceCapacity."""
        key = _key(offering)
        self._capacity.pop(key, None)
        if most is not None:
            self._capacity[key] = most

    def quota(self, offering: Offering | str, most: int | None) -> None:
        """Refuse with VcpuLimitExceeded what would make more than this many of an offering live at once; None lifts the quota."""
        key = _key(offering)
        self._quotas.pop(key, None)
        if most is not None:
            self._quotas[key] = most

    def refuse(self, offering: Offering | str, code: str) -> None:
        """Refuse every launch of an offering with this code, until `allow`."""
        self._refusals[_key(offering)] = code

    def allow(self, offering: Offering | str) -> None:
        self._refusals.pop(_key(offering), None)

    def interrupt(self, instance_id: str) -> float:
        """EC2 takes a spot machine back; returns when it will end (in two minutes)."""
        machine = self.machines[instance_id]
        ends_at = self.clock() + INTERRUPTION_NOTICE_S
        machine.interrupt_at = ends_at
        machine.ended_at = min(ends_at, machine.ended_at) if machine.ended_at is not None else ends_at
        return ends_at

    def lose(self, instance_id: str) -> None:
        """The machine ends now: it failed, or shut itself down."""
        machine, now = self.machines[instance_id], self.clock()
        if machine.ended_at is None or machine.ended_at > now:
            machine.ended_at = now

    def alive(self) -> list[Machine]:
        """Every machine that still costs money, oldest first."""
        now = self.clock()
        return [m for m in self._kept.values() if m.ended_at is None or m.ended_at > now]

    def state_of(self, machine: Machine, at: float) -> str:
        """EC2's word for its state at a time."""
        if machine.ended_at is not None and at >= machine.ended_at:
            return "terminated" if at >= machine.ended_at + self.shutdown_s else "shutting-down"
        return "pending" if at < machine.launched_at + self.pending_s else "running"

    def give(self, launch: Launch, index: int) -> Machine | None:
        """One machine for an Auto Scaling group, which asks again where there is none now."""
        try:
            self._free(launch.offering, 1)
        except CapacityRefused:
            return None
        return self._make(launch, index)

    # ---- inside

    def _make(self, launch: Launch, index: int) -> Machine:
        machine = Machine(f"i-{len(self.machines) + 1:017x}", launch, index, self.clock())
        self.machines[machine.id] = self._kept[machine.id] = machine
        return machine

    def _prune(self, at: float) -> None:
        for machine in [m for m in self._kept.values() if self.state_of(m, at) == "terminated"]:
            del self._kept[machine.id]

    def _throttle(self, launch: Launch) -> None:
        """What EC2's buckets do: a call that finds none in them does nothing and costs nothing."""
        if not self.throttles:
            return
        now, region = self.clock(), launch.offering.region
        at, requests, instances = self._used.get(region, (now, 0.0, 0.0))
        requests = max(0.0, requests - EC2_REQUESTS.per_s * (now - at)) + 1
        instances = max(0.0, instances - EC2_INSTANCES.per_s * (now - at)) + len(launch.hosts)
        if requests > EC2_REQUESTS.burst + GRAIN or instances > EC2_INSTANCES.burst + GRAIN:
            raise Throttled("RequestLimitExceeded: EC2 gets too many requests")
        self._used[region] = (now, requests, instances)

    def _free(self, offering: Offering, wanted: int) -> int:
        """How many more may be launched; raises CapacityRefused when that is none, or fewer than wanted by the quota."""
        code = self._refusals.get(offering.key)
        if code is not None:
            raise CapacityRefused(code, f"{offering.key} is not to be had now")
        there = sum(machine.offering == offering for machine in self.alive())
        if there + wanted > self._quotas.get(offering.key, 1_000_000):
            raise CapacityRefused("VcpuLimitExceeded", f"{wanted} more {offering.key} are over this account's quota")
        most = self._capacity.get(offering.key)
        if most is None:
            return 1_000_000
        free = most - there
        if free <= 0:
            raise CapacityRefused("InsufficientInstanceCapacity", f"no {offering.key} is to be had now")
        return free

    def _instance(self, machine: Machine, at: float) -> Instance:
        return Instance(
            id=machine.id,
            region=machine.offering.region,
            state=self.state_of(machine, at),
            launched_at=machine.launched_at,
            launch_index=machine.index,
            instance_type=machine.offering.instance_type,
            tags=launch_tags(self.stage, machine.launch),
        )

    def _reachable(self, region: str, instance_id: str) -> bool:
        machine = self.machines.get(instance_id)
        if machine is None or machine.offering.region != region or not machine.registered:
            return False
        return machine.ended_at is None or self.clock() < machine.ended_at


def _key(offering: Offering | str) -> str:
    return offering if isinstance(offering, str) else offering.key
