"""What EC2's answer to a launch does to the rows of its hosts, and what does where there is no answer that could be believed.

Every step may be done twice: whoever dies in between leaves a launch row that is not recorded, and the next one begins again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chalicelib.control import handover, settle
from chalicelib.core.consistency import LIST_LAG_S
from chalicelib.core.host import Host, HostEvent, Launch
from chalicelib.core.instance import Instance
from chalicelib.errors import CapacityRefused, LaunchImpossible
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

MISMATCH = "IdempotentParameterMismatch"  # EC2 knows the token, with other parameters: a deploy may have changed them
CAPACITY_SKIP_S = 180.0  # Karpenter's figure for an offering that was refused
IMPOSSIBLE_SKIP_S = 600.0
ENDED_LISTED_S = 3000.0  # EC2 lists instances that have ended for about an hour
ROW_TTL_S = 3600.0  # every pass reads all rows of its pool: what is over is remembered by the story


@dataclass(frozen=True, slots=True)
class Launched:
    """How a launch went: hosts asked for and given; the offering is skipped until then, with EC2's words, if it refused.

    `retry_at`: the row is as it was and nobody sends it: it may be sent from then on; `throttled`: because EC2 gets too many requests.
    """

    asked: int
    given: int
    skip_until: float | None = None
    refusal: str = ""
    impossible: bool = False
    refused: str = ""  # what is skipped, a key of `Supply.skips`
    retry_at: float | None = None
    throttled: bool = False


def recorded(
    plane: Plane, launch: Launch, instances: Sequence[Instance], pass_no: int, asked: int, *, inbox: bool = True
) -> Launched:
    """Write down what EC2 gave; the jobs of hosts that it did not give wait again.

    `inbox`: whether the manifest leaves anything to the inboxes.
    """
    given, strangers = [], []
    for instance in instances:
        host_id = launch.hosts[instance.launch_index] if instance.launch_index < len(launch.hosts) else ""
        userid = f"{plane.settings.host_role_id}:{instance.id}"
        if host_id and plane.stores.hosts.record(launch.pool, host_id, instance.id, userid, plane.clock()):
            given.append(host_id)
        else:
            strangers.append(instance.id)
    if strangers:  # two that believe to be one host would run its jobs twice; before they have booted they cannot
        log.error("instances without a place in their launch", extra={"launch": launch.id, "instances": strangers})
        plane.cloud.compute.terminate(launch.offering.region, strangers)
    give_back(plane, launch, _missing(launch, instances), f"EC2 gave {len(given)} of {len(launch.hosts)} hosts")
    if inbox:
        _write_inboxes(plane, launch, given, pass_no)
    plane.stores.hosts.settle_launch(launch, plane.clock() + ROW_TTL_S)
    log.info("launched hosts", extra={"launch": launch.id, "asked": asked, "given": len(given)})
    return Launched(asked, len(given))


def refused(plane: Plane, launch: Launch, asked: int, error: CapacityRefused | LaunchImpossible) -> Launched:
    """First that nobody sends it again, then the jobs: whoever dies in between leaves hosts that were never launched."""
    if plane.stores.hosts.settle_launch(launch, plane.clock() + ROW_TTL_S):
        give_back(plane, launch, launch.hosts, f"EC2 refused the launch: {error}")
    return _skipped(plane, launch, asked, error)


def looked_up(
    plane: Plane, launch: Launch, pass_no: int, asked: int, error: CapacityRefused | LaunchImpossible
) -> Launched:
    """Ask EC2's list what became of a launch of which nobody knows whether a request for it was heard. Raises CloudUnavailable.

    The list is late: that a host is missing is believed only `LIST_LAG_S` after the last request that may have brought it. And it forgets:
    `ENDED_LISTED_S` after the first request what is missing may have come, worked and gone; and so it has where EC2 knows the token and
    lists nothing. `error`: what EC2 said last.
    """
    doubt_at = launch.doubt_at or launch.created_at
    instances = plane.cloud.compute.launched(launch)
    now = plane.clock()
    missing = _missing(launch, instances)
    if missing and now - doubt_at <= LIST_LAG_S:
        plane.stores.hosts.release_launch(launch)
        return Launched(asked, 0, retry_at=doubt_at + LIST_LAG_S + 1.0)
    forgotten = launch.doubt_at and now - launch.created_at > ENDED_LISTED_S
    if forgotten or (error.code == MISMATCH and not instances):
        give_back(plane, launch, missing, "EC2 does not list its instance any more", begun=True)
    if instances:
        return recorded(plane, launch, instances, pass_no, asked)
    return refused(plane, launch, asked, error)


def give_back(plane: Plane, launch: Launch, host_ids: Sequence[str], reason: str, *, begun: bool = False) -> None:
    """Hosts that EC2 did not give: their rows end, their jobs wait again.

    `begun`: they may have come and gone. Then the jobs are first: a row that has ended without an instance never had one.
    """
    for host_id in host_ids:
        if begun:
            _settle(plane, plane.stores.hosts.get(launch.pool, host_id), reason, begun=True)
        now = plane.clock()
        host = plane.stores.hosts.move(
            launch.pool, host_id, HostEvent.VANISH, at=now, reason=reason, expires_at=now + ROW_TTL_S
        ) or plane.stores.hosts.get(launch.pool, host_id)
        _settle(plane, host, reason, begun=begun)


def _settle(plane: Plane, host: Host | None, reason: str, *, begun: bool) -> None:
    if host is None:
        return
    for assignment in host.assignments:
        settle.gone(plane, replace(host, userid=None), assignment, reason, begun=begun)


def _missing(launch: Launch, instances: Sequence[Instance]) -> list[str]:
    there = {instance.launch_index for instance in instances}
    return [host_id for index, host_id in enumerate(launch.hosts) if index not in there]


def _skipped(plane: Plane, launch: Launch, asked: int, error: CapacityRefused | LaunchImpossible) -> Launched:
    impossible = isinstance(error, LaunchImpossible)
    skip_s = IMPOSSIBLE_SKIP_S if impossible else CAPACITY_SKIP_S
    what = launch.offering.asked_with(launch.image, launch.template)
    return Launched(asked, 0, plane.clock() + skip_s, str(error), impossible, what)


def _write_inboxes(plane: Plane, launch: Launch, host_ids: Sequence[str], pass_no: int) -> None:
    """Signed URLs, and what the user data could not hold."""
    hosts = [host for host_id in host_ids if (host := plane.stores.hosts.get(launch.pool, host_id)) is not None]
    jobs = plane.stores.jobs.get_many({a.job for host in hosts for a in host.assignments})
    with_work = [host for host in hosts if host.assignments]
    for host, written in handover.write_inboxes(plane, with_work, jobs, pass_no):
        settle.unfit(plane, host, written.refused)
