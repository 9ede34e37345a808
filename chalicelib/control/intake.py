"""The submissions queue: the same document as `POST /jobs`, one job a message.

SQS delivers a message at least once; its message id is the idempotency key where the sender gave none. A bad record goes to
quarantine with the sentence that says why, and its neighbours are processed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from chalicelib.api import job_wire, wire
from chalicelib.control import families
from chalicelib.control.quarantine import quarantine
from chalicelib.control.submit import submit
from chalicelib.errors import BadRequest
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

QUEUE_OWNER = "queue"


@dataclass(frozen=True, slots=True)
class Record:
    message_id: str
    body: str


def receive(plane: Plane, records: Iterable[Record]) -> None:
    """Records one by one. What fails by no fault of the record is raised at the end: then the batch comes again."""
    failure: Exception | None = None
    for record in records:
        try:
            _one(plane, record)
        except BadRequest as error:
            quarantine(plane, "submissions", record.message_id, record.body, error.detail)
        except Exception as error:
            log.exception("a submission could not be recorded", extra={"message_id": record.message_id})
            failure = error
    if failure is not None:
        raise failure


def _one(plane: Plane, record: Record) -> None:
    document = wire.decode(record.body.encode(), job_wire.JobSpecWire)
    spec = job_wire.job_spec(families.apply(plane, document))
    if spec.idempotency_key is None:
        spec = replace(spec, idempotency_key=f"sqs:{record.message_id}")
    submitted = submit(plane, spec, document.owner or QUEUE_OWNER)
    log.info("a job came by queue", extra={"job": submitted.job.id, "first": submitted.created})
