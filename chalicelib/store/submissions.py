"""New jobs and their backlog entries in one request: PartiQL INSERTs, which DynamoDB refuses one by one where the row exists.

BatchWriteItem would overwrite a job that a repeated submission finds running; a conditional PutItem for each job and a PutItem for each
entry are 2n requests. BatchExecuteStatement takes 25 INSERTs, each with that condition, in any tables (docs/adr/0010).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pynamodb.models import Model

from chalicelib.core.backlog import entry_of
from chalicelib.core.job import Job, JobState
from chalicelib.errors import StoreUnavailable
from chalicelib.store.backlog import DynamoBacklog
from chalicelib.store.batches import waits
from chalicelib.store.connection import CountedConnection
from chalicelib.store.jobs import DynamoJobs

STATEMENTS_MAX = 25  # DynamoDB's limit for one request
PASSING = frozenset(
    {
        "InternalServerError",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
        "ThrottlingError",
        "TransactionConflict",
    }
)


@dataclass(frozen=True, slots=True)
class _Insert:
    job: str
    is_job: bool
    row: Model

    def statement(self) -> dict[str, Any]:
        item: dict[str, Any] = self.row.serialize()
        names = ", ".join(f"'{name}': ?" for name in item)
        table = self.row._get_connection().table_name
        return {"Statement": f'INSERT INTO "{table}" VALUE {{{names}}}', "Parameters": list(item.values())}


class DynamoSubmissions:
    """`ports.Submissions` over the tables of jobs and backlog."""

    def __init__(self, jobs: DynamoJobs, backlog: DynamoBacklog, connection: CountedConnection) -> None:
        self._jobs, self._backlog, self._connection = jobs, backlog, connection

    def create(self, jobs: Sequence[Job]) -> set[str]:
        inserts = [insert for job in jobs for insert in self._inserts(job)]
        existed: set[str] = set()
        for start in range(0, len(inserts), STATEMENTS_MAX):
            existed |= self._page(inserts[start : start + STATEMENTS_MAX])
        return existed

    def _inserts(self, job: Job) -> Iterator[_Insert]:
        yield _Insert(job.id, True, self._jobs.row_of(job))
        if job.state is JobState.PENDING:
            yield _Insert(job.id, False, self._backlog.row_of(entry_of(job)))

    def _page(self, inserts: Sequence[_Insert]) -> set[str]:
        existed: set[str] = set()
        for wait_s in waits("jobs"):
            answer = self._connection.dispatch(
                "BatchExecuteStatement", {"Statements": [insert.statement() for insert in inserts]}
            )
            again = []
            for insert, response in zip(inserts, answer["Responses"], strict=True):
                code = response.get("Error", {}).get("Code")
                if code == "DuplicateItem":
                    if insert.is_job:
                        existed.add(insert.job)
                elif code in PASSING:
                    again.append(insert)
                elif code is not None:
                    raise StoreUnavailable(f"a job could not be written: {code}: {response['Error'].get('Message')}")
            if not again:
                break
            inserts = again
            time.sleep(wait_s)
        return existed
