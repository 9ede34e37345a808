"""What is handed to a host: the manifest in its user data, and its inbox (docs/contracts.md §4, §5).

User data is readable by everything on the machine and the same on all machines of a launch: so a manifest holds one owner's jobs and
no signed URL and no secret. Those go into each host's own inbox, which only that host can read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib.config import Settings
from chalicelib.control import s3_inputs, secrets
from chalicelib.control.secrets import Handed
from chalicelib.core import s3_places
from chalicelib.core.host import Host, Offering
from chalicelib.core.job import Job, JobState
from chalicelib.core.job_spec import Adapter, Checkpoint, Input, Install
from chalicelib.core.pool import Pool
from chalicelib.errors import CloudUnavailable
from chalicelib.wiring import Plane

INPUT_URL_S = 3600  # Lambda's own credentials may end sooner: an agent that meets an expired URL says so
BOOT_SCRIPT_AGE_MAX_S = 3600.0
IDLE_GRACE_S = 300


def assignment(job: Job, attempt: int, host: str = "") -> dict[str, Any]:
    """An ASSIGNMENT document without URLs; `host`: of a gang, for which of its members."""
    spec = job.spec
    return {
        "job": job.id,
        "attempt": attempt,
        "domain": job.owner,
        "command": spec.command,
        "cpu": spec.cpu,
        "memory_mib": spec.memory_mib,
        "slots": spec.slots,
        "disk_mib": spec.disk_mib,
        "timeout_s": spec.timeout_s,
        "network": spec.network,
        "untrusted": spec.untrusted,
        "environment": dict(spec.environment),
        **({"parameters": dict(spec.parameters)} if spec.parameters else {}),
        **({"secrets": dict(spec.secrets)} if spec.secrets else {}),
        "inputs": [_input(one) for one in spec.inputs],
        "outputs": [{"glob": one.glob, "name": one.name} if one.name else one.glob for one in spec.outputs],
        "result": spec.result,
        "folder": spec.folder,
        "archive": spec.archive,
        "output_mib": spec.output_mib,
        **({"image": spec.image} if spec.image is not None else {}),
        **{
            name: value
            for name in ("cpu_s", "file_mib", "processes_max", "stall_s")
            if (value := getattr(spec, name)) is not None
        },
        **({"adapter": str(spec.adapter)} if spec.adapter != Adapter.COMMAND else {}),
        **({"labels": dict(spec.labels)} if spec.adapter == Adapter.GRADESCOPE and spec.labels else {}),
        **({"install": _install(spec.install)} if spec.install is not None else {}),
        **({"checkpoint": _checkpoint(spec.checkpoint)} if spec.checkpoint is not None else {}),
        **({"restore": [{"key": k.key, "at": k.at} for k in job.progress.kept]} if job.progress.kept else {}),
        **({"rank": job.members.index(host), "hosts": spec.hosts} if job.gang else {}),
    }


def _install(install: Install) -> dict[str, Any]:
    script = {"script": install.script} if install.script else {"path": install.path}
    return {**script, "timeout_s": install.timeout_s}


def _checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"interval_s": checkpoint.interval_s, "by": checkpoint.by, "mib_max": checkpoint.mib_max}


def _input(one: Input) -> dict[str, Any]:
    if one.text is not None:
        return {"path": one.path, "text": one.text}
    if one.git is not None:
        named = {"branch": one.git.branch, "token": one.git.token}
        return {"path": one.path, "git": {"url": one.git.url, **{key: value for key, value in named.items() if value}}}
    source = {"s3": one.s3} if one.s3 is not None else {"sha256": one.sha256}
    return {"path": one.path, **source, "unpack": one.unpack}


def manifest(
    plane: Plane,
    pool: Pool,
    launch: str,
    offering: Offering,
    slots: int,
    hosts: Sequence[tuple[str, Sequence[Job]]],
    owner: str,
) -> dict[str, Any]:
    """The manifest of a launch: what every host of it reads at boot, each at its own launch index. It shows `owner`'s jobs only."""
    return {
        **_manifest(plane.settings, pool, launch, offering.region, slots),
        "hosts": [
            {
                "host": host,
                "assignments": [assignment(job, job.attempt, host) for job in jobs if job.owner == owner],
                "inbox": any(job.needs_inbox or job.owner != owner for job in jobs),
            }
            for host, jobs in hosts
        ],
    }


def group_manifest(settings: Settings, pool: Pool, group: str, region: str, slots: int) -> dict[str, Any]:
    """The manifest of an Auto Scaling group: the same for all that it will ever launch, so each is called by its instance's id."""
    return {**_manifest(settings, pool, group, region, slots), "group": group, "hosts": []}


def _manifest(settings: Settings, pool: Pool, launch: str, region: str, slots: int) -> dict[str, Any]:
    return {
        "v": 1,
        "stage": settings.stage,
        "pool": pool.name,
        "launch": launch,
        "region": region,
        "home_region": settings.region,
        "role_id": settings.host_role_id,
        "generation": pool.spec.generation,
        "bucket": settings.bucket,
        "heartbeats_url": settings.heartbeats_url,
        "claims_table": settings.table("claims"),
        "agent": {"key": f"agent/{settings.agent_sha256}.pyz", "sha256": settings.agent_sha256},
        "settings": {
            "slots": slots,
            "ping_every_s": pool.spec.ping_every_s,
            # Its own end is the last resort: it must come after the linger by which a pass lets it go.
            "idle_max_s": max(pool.spec.idle_max_s, pool.spec.linger_s + IDLE_GRACE_S),
            "lifetime_max_s": pool.spec.lifetime_max_s,
            "unreachable_max_s": pool.spec.unreachable_max_s,
            "sandbox": pool.spec.sandbox,
            **({"container_image": pool.spec.container_image} if pool.spec.container_image else {}),
            **({"container_user": pool.spec.container_user} if pool.spec.container_user != "job" else {}),
            **({"images": pool.spec.images} if pool.spec.images != "refuse" else {}),
            "log_limit_bytes": pool.spec.log_limit_bytes,
            "claim_ttl_s": 1_209_600,
        },
    }


def through_inbox(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same manifest with every assignment left to the inboxes: for work that does not fit into user data."""
    return {**document, "hosts": [{"host": h["host"], "assignments": [], "inbox": True} for h in document["hosts"]]}


@dataclass(frozen=True, slots=True)
class Written:
    """What could not be put into a host's inbox. `stale`: keys of assignments that their jobs' rows do not confirm; `refused`: key → why it
    can never be handed over."""

    stale: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


def write_inboxes(
    plane: Plane, hosts: Iterable[Host], jobs: Mapping[str, Job], pass_no: int, *, share: bool = False
) -> Iterator[tuple[Host, Written]]:
    """Write each host's whole present state into its inbox, with the secrets of all read together before.

    `share`: the agents have leave to begin another owner's jobs once they have scrubbed their hosts.

    An assignment that its job's row does not confirm is the trace of a crash between two writes. It is never handed over: the job may be
    on another host. One whose secrets cannot be read at the moment is left out, and so never accepted: the doorbell rings again for it.
    """
    hosts = list(hosts)
    asking = {a.job for host in hosts for a in host.assignments if a.started_at is None}
    handed = secrets.of_jobs(plane, [jobs[job] for job in sorted(asking) if job in jobs and not jobs[job].ended])
    for host in hosts:
        yield host, _write_inbox(plane, host, jobs, handed, pass_no, share)


def _write_inbox(
    plane: Plane, host: Host, jobs: Mapping[str, Job], handed: Mapping[str, Handed], pass_no: int, share: bool
) -> Written:
    leave = {"share": True} if share else {}
    stale, refused, documents, cancels, go = [], {}, [], [], []
    for a in host.assignments:
        job = jobs.get(a.job)
        if job is None or job.ended or job.attempt != a.attempt or not job.on(host.id):
            stale.append(a.key)
        elif a.cancel or job.cancel_requested:
            cancels.append({"job": a.job, "attempt": a.attempt})
        elif a.started_at is None and (fault := handed[job.id].fault or s3_inputs.lacks(plane, job)):
            refused[a.key] = fault
        elif a.started_at is None and not handed[job.id].later:
            values = {"values": handed[job.id].values} if handed[job.id].values else {}
            documents.append({**assignment(job, a.attempt, host.id), **leave, "urls": _urls(plane, job), **values})
            if job.gang and job.state is JobState.RUNNING:
                go.append({"job": a.job, "attempt": a.attempt, "peers": list(job.peers)})
    holds = any("values" in document for document in documents)
    if holds:  # first: a crash must not leave values of which no row tells
        plane.stores.hosts.touch(host.pool, host.id, secrets_at=plane.clock())
    inbox: dict[str, Any] = {"v": 1, "pass_no": pass_no, "assignments": documents, "cancel": cancels, "stop": None}
    if go:
        inbox["go"] = go
    plane.cloud.blobs.put(f"inbox/{host.userid}/inbox.json", json.dumps(inbox, separators=(",", ":")).encode())
    if host.secrets_at is not None and not holds:
        plane.stores.hosts.touch(host.pool, host.id, secrets_at=None)
    return Written(tuple(stale), refused)


def _urls(plane: Plane, job: Job) -> dict[str, str]:
    """Signed addresses of its uploads by their sums, of its checkpoints by their keys, and of its S3 objects by theirs. One that no place
    allows any more has none."""
    urls = {sha: plane.cloud.blobs.get_url(f"uploads/{sha}", INPUT_URL_S) for sha in sorted(job.spec.uploads)}
    urls |= {kept.key: plane.cloud.blobs.get_url(kept.key, INPUT_URL_S) for kept in job.progress.kept}
    for address in sorted({one.s3 for one in job.spec.inputs if one.s3 is not None}):
        where = s3_inputs.place_of(plane, address, job.owner, job.origin)
        if where is not None:
            bucket, key = s3_places.split(address)
            urls[address] = plane.cloud.blobs.object_url(where.region, bucket, key, INPUT_URL_S)
    return urls


def boot_script(plane: Plane) -> str:
    """The script that hosts boot with, as bootstrap uploaded it beside its agent."""
    key = f"agent/{plane.settings.agent_sha256}.boot.py"
    body = plane.recall.get(key, plane.clock(), BOOT_SCRIPT_AGE_MAX_S, lambda: plane.cloud.blobs.get(key))
    if body is None:
        raise CloudUnavailable(f"the boot script {key} is not in the bucket; run `spillway bootstrap` for this stage")
    return body.decode()
