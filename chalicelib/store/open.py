"""Opening a stage's tables. Nothing is sent, and no client made, before the first call of a store."""

from __future__ import annotations

from dataclasses import dataclass

from botocore.session import Session

from chalicelib.config import Settings
from chalicelib.store import tables
from chalicelib.store.agenda import DynamoAgenda
from chalicelib.store.arrays import DynamoArrays
from chalicelib.store.backlog import DynamoBacklog
from chalicelib.store.buckets import DynamoBuckets
from chalicelib.store.claims import DynamoClaims
from chalicelib.store.connection import CountedConnection, Requests, bind
from chalicelib.store.durations import DynamoDurations
from chalicelib.store.families import DynamoFamilies
from chalicelib.store.hosts import DynamoHosts
from chalicelib.store.jobs import DynamoJobs
from chalicelib.store.owners import DynamoOwners
from chalicelib.store.ports import Stores
from chalicelib.store.registry import DynamoRegistry
from chalicelib.store.samples import DynamoSamples
from chalicelib.store.schedules import DynamoSchedules
from chalicelib.store.shares import DynamoShares
from chalicelib.store.story import DynamoStory
from chalicelib.store.submissions import DynamoSubmissions
from chalicelib.store.waiters import DynamoWaiters


@dataclass(frozen=True, slots=True)
class DynamoStores(Stores):
    """A stage's tables in DynamoDB, and the count of what was asked of them."""

    requests: Requests


def dynamo_stores(settings: Settings, *, session: Session | None = None) -> DynamoStores:
    """The tables of `settings`' stage in its home region. Sharing a botocore session with other clients makes the first call quicker."""
    connection = CountedConnection(settings.region, session)
    jobs, registry, hosts = settings.table("jobs"), settings.table("registry"), settings.table("hosts")
    job, array = bind(tables.JobRow, jobs, connection), bind(tables.ArrayRow, jobs, connection)
    of_jobs = DynamoJobs(job, bind(tables.KeyRow, jobs, connection))
    backlog = DynamoBacklog(bind(tables.EntryRow, settings.table("backlog"), connection))
    return DynamoStores(
        jobs=of_jobs,
        arrays=DynamoArrays(array, bind(tables.TallyRow, jobs, connection)),
        waiters=DynamoWaiters(bind(tables.WaiterRow, jobs, connection), job, array),
        backlog=backlog,
        submissions=DynamoSubmissions(of_jobs, backlog, connection),
        hosts=DynamoHosts(bind(tables.HostRow, hosts, connection), bind(tables.LaunchRow, hosts, connection)),
        claims=DynamoClaims(bind(tables.ClaimRow, settings.table("claims"), connection)),
        registry=DynamoRegistry(
            bind(tables.PoolRow, registry, connection),
            bind(tables.TokenRow, registry, connection),
            bind(tables.SettingRow, registry, connection),
            bind(tables.DefaultsRow, registry, connection),
            bind(tables.LookingRow, registry, connection),
            bind(tables.UseRow, registry, connection),
        ),
        families=DynamoFamilies(bind(tables.FamilyRow, registry, connection)),
        schedules=DynamoSchedules(
            bind(tables.ScheduleRow, registry, connection), bind(tables.FiredRow, registry, connection)
        ),
        agenda=DynamoAgenda(bind(tables.DueRow, registry, connection)),
        story=DynamoStory(bind(tables.StoryRow, jobs, connection)),
        durations=DynamoDurations(bind(tables.LearnedRow, registry, connection)),
        samples=DynamoSamples(bind(tables.SampleRow, registry, connection)),
        shares=DynamoShares(bind(tables.ShareRow, registry, connection)),
        buckets=DynamoBuckets(bind(tables.BucketRow, registry, connection)),
        owners=DynamoOwners(bind(tables.QuotaRow, registry, connection), bind(tables.SpentRow, registry, connection)),
        requests=connection.requests,
    )
