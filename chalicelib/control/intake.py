"""The submissions queue: the same documents as `POST /jobs` and `POST /jobs/batch`, and two foreign dialects (`core/dialects.py`).

SQS delivers a message at least once; its id and the time at which it was sent make the idempotency key where the sender gave none. A bad
record goes to quarantine with the sentence that says why, and its neighbours are processed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.api import array_wire, job_wire, wire
from chalicelib.control import arrays, element_parameters, families, prairielearn
from chalicelib.control.quarantine import quarantine
from chalicelib.control.submit import Submitted, known_pool, submit, submit_many
from chalicelib.core import dialects, jobdetails
from chalicelib.core import prairielearn as grading
from chalicelib.core.dialects import Dialect
from chalicelib.core.job_spec import JobSpec
from chalicelib.errors import BadRequest, Conflict, Fault, OverQuota
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

QUEUE_OWNER = "queue"
OWN_KEY = "sqs:"
ID_MAX = 100  # characters of a message's id: those of SQS have 36
REASON_MAX = 2000  # characters: it may quote what was sent


@dataclass(frozen=True, slots=True)
class Record:
    """A message. `sent_at`: epoch seconds, as SQS says."""

    message_id: str
    body: str
    sent_at: float = 0.0


def receive(plane: Plane, records: Iterable[Record]) -> None:
    """Records one by one. What fails by no fault of the record is raised at the end: then the batch comes again."""
    failure: Exception | None = None
    for record in records:
        try:
            _one(plane, record)
        except Exception as error:
            log.exception("a submission could not be recorded", extra={"message_id": record.message_id})
            failure = error
    if failure is not None:
        raise failure


def _one(plane: Plane, record: Record) -> None:
    message = dialects.recognise(record.body)
    try:
        _TAKE[message.dialect](plane, record, message.document)
    except Conflict as error:
        if not _own_key(error):
            refuse(plane, record, error.detail)
        else:  # the message came before, and a default of its family has changed since: it is recorded
            log.warning("a message came again and would make another job now", extra={"message_id": record.message_id})
    except OverQuota:
        raise  # it comes again: by then some of its owner's jobs may have ended
    except BadRequest as error:
        refuse(plane, record, error.detail)
    except RecursionError:
        refuse(plane, record, "it is nested too deep")


def refuse(plane: Plane, record: Record, reason: str) -> None:
    """Keep a message that cannot be used, and tell its sender, where it waits for an answer."""
    message = dialects.recognise(record.body)
    if message.dialect is Dialect.PRAIRIELEARN:
        prairielearn.refused(plane, message.document, reason)
    quarantine(plane, "submissions", record.message_id, record.body, reason[:REASON_MAX])


def first_of(message_id: str, body: str) -> Record:
    """A message as its sender sent it, also where it died before."""
    message = dialects.recognise(body)
    if message.dialect is Dialect.AGAIN and isinstance(message.document["again"], dict):
        first = message.document["again"]
        return Record(str(first.get("id", message_id)), str(first.get("body", body)))
    return Record(message_id, body)


def _job(plane: Plane, record: Record, document: Any) -> None:
    said = families.apply(plane, wire.decode(record.body.encode(), job_wire.JobSpecWire))
    _told(submit(plane, _keyed(job_wire.job_spec(said), record), said.owner or QUEUE_OWNER))


def _batch(plane: Plane, record: Record, document: Any) -> None:
    batch = wire.decode(record.body.encode(), job_wire.BatchWire, job_wire.BATCH_BYTES_MAX)
    _many(plane, record, batch.jobs, "jobs[{}].")


def _array(plane: Plane, record: Record, document: Any) -> None:
    said = wire.decode(record.body.encode(), array_wire.ArrayWire, array_wire.ARRAY_BYTES_MAX)
    count = array_wire.count_of(said)
    whole = families.apply(plane, said.job, "job.", check=said.elements is None)
    own = said.elements
    if own is not None:
        own = element_parameters.checked(plane, own, whole.parameters, (whole.family, whole.family_version))
    spec = _keyed(job_wire.job_spec(whole, "job."), record)
    submitted = arrays.submit(plane, spec, count, own, whole.owner or QUEUE_OWNER, "job.")
    log.info("an array came by queue", extra={"array": submitted.array.id, "first": submitted.created})


def _jobdetails(plane: Plane, record: Record, document: Any) -> None:
    """Rows are jobs; what none of them says, a family `jobdetails` may say."""
    rows = jobdetails.read(record.body)
    defaults = families.defaults(plane, jobdetails.FAMILY)
    family = {"family": jobdetails.FAMILY} if defaults is not None else {}
    defaults = defaults or {}
    said = []
    for row in rows:
        pool = known_pool(plane, str(row.get("pool", defaults.get("pool", "default"))))
        limit_s = pool.spec.timeout_max_s if pool is not None else jobdetails.TIMEOUT_S
        timeout_s = defaults.get("timeout_s", min(jobdetails.TIMEOUT_S, limit_s))
        said.append(wire.convert({"timeout_s": timeout_s, **family, **row}, job_wire.JobSpecWire))
    _many(plane, record, said, "row {}: ", first=1)


def _many(plane: Plane, record: Record, said: list[job_wire.JobSpecWire], prefix: str, first: int = 0) -> None:
    specs, owners = [], set()
    for number, document in enumerate(said, first):
        where = prefix.format(number)
        whole = families.apply(plane, document, where)
        owners.add(whole.owner or QUEUE_OWNER)
        specs.append(_keyed(job_wire.job_spec(whole, where), record, f"-{number}"))
    if len(owners) > 1:
        raise BadRequest("jobs must all have the same owner", (Fault("jobs", "must all have the same owner"),))
    for submitted in submit_many(plane, specs, owners.pop()):
        _told(submitted)


def _prairielearn(plane: Plane, record: Record, document: Any) -> None:
    job = grading.read(document)
    prairielearn.installation(plane, job.bucket)
    row = grading.document(job)
    if families.defaults(plane, grading.FAMILY) is not None:
        row["family"] = grading.FAMILY
    said = families.apply(plane, wire.convert(row, job_wire.JobSpecWire))
    spec = _keyed(job_wire.job_spec(said), record)
    submitted = submit(plane, spec, said.owner or grading.LISTENER, origin=prairielearn.origin(plane, job))
    prairielearn.accepted(plane, submitted.job)
    _told(submitted)


def _again(plane: Plane, record: Record, document: Any) -> None:
    """What died once has its first id and time still, so that what it had recorded then is found."""
    try:
        first = document["again"]
        known = Record(str(first["id"]), str(first["body"]), float(first["sent_at"]))
        if len(known.message_id) > ID_MAX or not 0 < known.sent_at < wire.LATEST_S:  # `not`: it may be no number at all
            raise ValueError("no message has such an id, or was sent then")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadRequest(f"again: is none of ours: {error}", (Fault("again", "is none of ours"),)) from None
    if dialects.recognise(known.body).dialect is Dialect.AGAIN:
        raise BadRequest("again: holds another", (Fault("again", "holds another"),))
    _one(plane, known)


def _keyed(spec: JobSpec, record: Record, suffix: str = "") -> JobSpec:
    """With the message's id for its key, and the time at which it was sent: so the key needs no row of its own."""
    if spec.idempotency_key is not None:
        return spec
    timed = f"at-{int(record.sent_at * 1000):013d}-" if record.sent_at else ""
    return replace(spec, idempotency_key=f"{timed}{OWN_KEY}{record.message_id}{suffix}")


def _own_key(error: Conflict) -> bool:
    return OWN_KEY in error.detail


def _told(submitted: Submitted) -> None:
    log.info("a job came by queue", extra={"job": submitted.job.id, "first": submitted.created})


_TAKE = {
    Dialect.JOB: _job,
    Dialect.BATCH: _batch,
    Dialect.ARRAY: _array,
    Dialect.AGAIN: _again,
    Dialect.PRAIRIELEARN: _prairielearn,
    Dialect.JOBDETAILS: _jobdetails,
}
