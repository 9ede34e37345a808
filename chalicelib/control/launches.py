"""Cold start: n hosts, each with its jobs, in one RunInstances call that may crash anywhere.

Order: host rows with their assignments → jobs → backlog → launch row (the exact request) → EC2 → instance ids on the host
rows → inboxes → launch row recorded. Whatever the crash leaves, a later pass finds: hosts without launch row were never asked
for and vanish; a launch row that is not recorded is sent again, byte for byte, under the same ClientToken, and gives the same instances.

The launch row is the only leave to launch a host: one that an unrecorded row names may come at any time and keeps its jobs; one that none
names never comes. So every change of mind is one write to that row, before anything is given back: it is settled when EC2 refused
it, and narrowed to its first hosts, under another token, when EC2 would not launch so many. There is no moment at which two
requests for the same host could be sent, nor one at which a host that may still come is taken for one that never will.

A refusal says that *this* request launched nothing. Where an earlier one under the same token was not answered (`Launch.doubt_at`), it says
nothing about that: EC2 looks at permissions, images and templates before it looks at tokens. Then, and where EC2 has not answered for
`RESENT_S`, its list says what there is (`launch_answers.looked_up`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from chalicelib.cloud.user_data import ManifestTooLarge, user_data
from chalicelib.control import handover
from chalicelib.control.elements import Elements
from chalicelib.control.launch_answers import MISMATCH, ROW_TTL_S, Launched, give_back, looked_up, recorded, refused
from chalicelib.control.tokens import Tokens
from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import capacity
from chalicelib.core.host import Assignment, Host, HostEvent, HostState, Launch, Offering
from chalicelib.core.job import Job, JobEvent
from chalicelib.core.plan import Gather, Start
from chalicelib.core.pool import Pool
from chalicelib.errors import CapacityRefused, LaunchImpossible, Throttled
from chalicelib.wiring import Plane

UNWRITTEN_S = 30.0  # a submission writes job and entry in one request and no order, and its function has ended by then
RESENT_S = 600.0  # so long a launch is sent again; what EC2 has not answered by then is looked up
NO_ANSWER = f"EC2 did not say for {RESENT_S / 60:.0f} min whether it launches"
HALVED = frozenset(  # refusals of so many at once, which say nothing about fewer
    {
        "VcpuLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "InstanceLimitExceeded",
        "RequestResourceCountExceeded",
        "InsufficientFreeAddressesInSubnet",
    }
)


def start(plane: Plane, pool: Pool, action: Start, pass_no: int, tokens: Tokens, elements: Elements) -> Launched:
    """Perform a Start, if there is a token when it is to be sent.

    Raises CloudUnavailable where nobody knows whether EC2 got it: the launch row then resumes it.
    """
    now = plane.clock()
    launch_id = plane.new_id("launch")
    owner = _main_owner(action)
    hosts = [
        _host(
            pool,
            launch_id,
            index,
            action,
            [assignment_of(entry, now, inline=entry.owner == owner) for entry in load],
            now,
        )
        for index, load in enumerate(action.loads)
    ]
    handover.boot_script(plane)  # before anything is written: without it nothing can be launched
    plane.stores.hosts.create(hosts)
    carried = [
        (host, _assign(plane, host, load, now, elements)) for host, load in zip(hosts, action.loads, strict=True)
    ]
    wanted = [entry for load in action.loads for entry in load]
    moved = {job.id for _, jobs in carried for job in jobs}
    elements.advance()
    gone = written(plane, [entry for entry in wanted if entry.of is None], moved, now)
    plane.stores.backlog.remove(gone)
    if wanted and not any(jobs for _, jobs in carried):  # all cancelled meanwhile, or entries that a crash left behind
        for host in hosts:
            plane.stores.hosts.move(
                pool.name,
                host.id,
                HostEvent.VANISH,
                at=now,
                reason="nobody needs it any more",
                expires_at=now + ROW_TTL_S,
            )
        unwritten = len(gone) < sum(entry.of is None for entry in wanted)
        return Launched(0, 0, retry_at=now + 1.0 if unwritten else None)
    return launch(plane, pool, launch_id, action.offering, carried, owner, pass_no, tokens)


def launch(
    plane: Plane,
    pool: Pool,
    launch_id: str,
    offering: Offering,
    carried: Sequence[tuple[Host, Sequence[Job]]],
    owner: str,
    pass_no: int,
    tokens: Tokens,
    *,
    whole: bool = False,
) -> Launched:
    """Write down the request for these hosts, whose rows and jobs say so already, and send it. `whole`: all of them or none."""
    script, now = handover.boot_script(plane), plane.clock()
    document = handover.manifest(
        plane, pool, launch_id, offering, carried[0][0].slots, [(host.id, jobs) for host, jobs in carried], owner
    )
    try:
        data = user_data(document, script)
    except ManifestTooLarge:
        document = handover.through_inbox(document)
        data = user_data(document, script)
    request = Launch(
        id=launch_id,
        pool=pool.name,
        offering=offering,
        hosts=tuple(host.id for host, _ in carried),
        user_data=data,
        image=pool.spec.image,
        template=pool.spec.launch_template,
        created_at=now,
        sent_at=now,
        whole=whole,
    )
    plane.stores.hosts.put_launch(request)
    return _send(plane, request, pass_no, tokens, inbox=any(entry["inbox"] for entry in document["hosts"]))


def resume(plane: Plane, launch: Launch, pass_no: int, tokens: Tokens) -> Launched | None:
    """Ask EC2 again where its answer was not recorded; None if another function does so already."""
    now = plane.clock()
    again = replace(launch, sent_at=now, doubt_at=launch.sent_at or launch.doubt_at)
    if not plane.stores.hosts.resend_launch(launch, again):
        return None
    if now - launch.created_at > RESENT_S:
        return looked_up(plane, again, pass_no, len(again.hosts), CapacityRefused("NoAnswer", NO_ANSWER))
    return _send(plane, again, pass_no, tokens)


def _send(plane: Plane, launch: Launch, pass_no: int, tokens: Tokens, *, inbox: bool = True) -> Launched:
    """Ask EC2, for fewer hosts where it will not launch so many at once, and record its answer on the rows.

    `inbox`: whether its manifest leaves anything to the inboxes.
    """
    asked = len(launch.hosts)
    while True:
        retry_at = tokens.spend(launch.offering.region, len(launch.hosts))
        if retry_at is not None:
            plane.stores.hosts.release_launch(launch)
            return Launched(asked, 0, retry_at=retry_at)
        try:
            instances = plane.cloud.compute.launch(launch)
        except Throttled as error:
            plane.stores.hosts.release_launch(launch)
            return Launched(asked, 0, refusal=str(error), retry_at=plane.clock(), throttled=True)
        except (CapacityRefused, LaunchImpossible) as error:
            if launch.doubt_at or error.code == MISMATCH:
                return looked_up(plane, launch, pass_no, asked, error)
            if error.code not in HALVED or len(launch.hosts) == 1 or launch.whole:
                return refused(plane, launch, asked, error)
            narrower = _narrowed(plane, launch, error)
            if narrower is None:
                return Launched(asked, 0)
            launch = narrower
        else:
            return recorded(plane, launch, instances, pass_no, asked, inbox=inbox)


def _narrowed(plane: Plane, launch: Launch, error: CapacityRefused | LaunchImpossible) -> Launch | None:
    """The launch for the first half of its hosts; the jobs of the others wait again. None if another function sends it meanwhile.

    The user data stays: a host takes the entry at its launch index, and the first half keeps its indices.
    """
    half = len(launch.hosts) // 2
    narrower = replace(launch, hosts=launch.hosts[:half], tries=launch.tries + 1, sent_at=plane.clock(), doubt_at=0.0)
    if not plane.stores.hosts.narrow_launch(launch, narrower):
        return None
    give_back(plane, launch, launch.hosts[half:], f"EC2 would not launch {len(launch.hosts)} at once: {error}")
    return narrower


def written(plane: Plane, entries: Sequence[Entry], moved: set[str], now: float) -> list[Entry]:
    """The entries to take out of the backlog: all but those whose jobs are not there yet, as they were seen before their jobs were."""
    young = [e for e in entries if e.job not in moved and now - e.queued_at < UNWRITTEN_S]
    if not young:
        return list(entries)
    there = plane.stores.jobs.get_many(entry.job for entry in young)
    return [entry for entry in entries if entry not in young or entry.job in there]


def _main_owner(action: Start) -> str:
    """Whose jobs go along in the user data, which everything on all of these hosts can read: one owner's, and no other's."""
    counts = Counter(entry.owner for load in action.loads for entry in load)
    return min(counts, key=lambda owner: (-counts[owner], owner)) if counts else ""


def hosts_of_gang(pool: Pool, launch: str, action: Gather, now: float) -> list[Host]:
    """The rows of those of a gang's hosts that are launched for it; its ranks on hosts that are there come first."""
    ranks = range(len(action.hosts), action.entry.hosts)
    given = [assignment_of(action.entry, now, inline=True, rank=rank) for rank in ranks]
    return [_host(pool, launch, index, action, [one], now) for index, one in enumerate(given)]


def _host(
    pool: Pool, launch: str, index: int, action: Start | Gather, assignments: Sequence[Assignment], now: float
) -> Host:
    offering = cast(Offering, action.offering)  # a Gather that launches has one
    size = capacity(offering, pool.spec)
    return Host(
        id=f"host-{launch.removeprefix('launch-')}-{index}",
        pool=pool.name,
        state=HostState.LAUNCHING,
        offering=offering,
        launch=launch,
        launch_index=index,
        cpu=size.cpu,
        memory_mib=size.memory_mib,
        slots=size.slots,
        launched_at=now,
        entered_at=now,
        generation=pool.spec.generation,
        reason=action.reason,
        domain=assignments[0].owner if assignments else None,
        assignments=tuple(assignments),
    )


def assignment_of(entry: Entry, now: float, *, inline: bool, rank: int | None = None) -> Assignment:
    """The assignment that a backlog entry becomes; `rank`: of a gang's member."""
    return Assignment(
        job=entry.job,
        attempt=entry.attempt,
        cpu=entry.cpu,
        memory_mib=entry.memory_mib,
        slots=entry.slots,
        timeout_s=entry.timeout_s,
        assigned_at=now,
        inline=inline,
        family=entry.family,
        owner=entry.owner,
        rank=rank,
    )


def _assign(plane: Plane, host: Host, load: Sequence[Entry], now: float, elements: Elements) -> list[Job]:
    """Move, or make, a new host's jobs; those that lost the race (cancelled meanwhile) leave it again."""
    jobs = []
    for entry in load:
        reason = f"assigned to {host.id}, which is launched for it"
        if entry.of is not None:
            job = elements.make(entry, host.id, now, reason)
        else:
            job = plane.stores.jobs.move(
                entry.job, JobEvent.ASSIGN, attempt=entry.attempt, at=now, reason=reason, host=host.id
            )
        if job is None:
            plane.stores.hosts.unassign(host.pool, host.id, f"{entry.job}#{entry.attempt}", now)
        else:
            jobs.append(job)
    return jobs
