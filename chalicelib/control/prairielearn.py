"""Grading jobs of a PrairieLearn installation: what goes to its results queue and into its bucket (`core/prairielearn.py`).

Which installation, its operator says at bootstrap: bucket and queue are named there, and a message that names another bucket is refused.
Answers that need not wait for anything go through the timers queue, so that one function alone may write to the installation's queue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from chalicelib.control import logs
from chalicelib.core import prairielearn as dialect
from chalicelib.core.job import Job, JobState
from chalicelib.core.s3_places import Place, place
from chalicelib.errors import BadRequest, CloudUnavailable, Fault
from chalicelib.wiring import Plane

REASON_MAX = 2000  # characters: it may quote what was sent, and a message has an end


def installation(plane: Plane, bucket: str) -> Place:
    """The installation's bucket. Raises BadRequest where this stage was told of another, or of none."""
    known = plane.settings.grading_bucket
    if known and place(known).bucket == bucket:
        return place(known)
    sentence = f"is {bucket!r}, and this stage grades for {place(known).bucket if known else 'no PrairieLearn'}"
    how = f"`spillway bootstrap --stage {plane.settings.stage} --grading-bucket {bucket} --grading-results QUEUE`"
    raise BadRequest(f"s3Bucket {sentence}", (Fault("s3Bucket", f"{sentence}; an operator says so by {how}"),))


def origin(plane: Plane, job: dialect.GradingJob) -> dict[str, Any]:
    """What the answers to a job need; kept on its row."""
    return {
        "answer": dialect.LISTENER,
        "job": job.job,
        "bucket": job.bucket,
        "root": job.root,
        "received_at": iso(plane.clock()),
    }


def accepted(plane: Plane, job: Job) -> None:
    """Say that the job has come. Its row says when, so that it is the same if the message comes twice."""
    answer(plane, dialect.received(job.origin["job"], job.origin["received_at"]))


def refused(plane: Plane, document: Mapping[str, Any], reason: str) -> None:
    """Tell PrairieLearn that nothing comes of a message: nobody is to wait for ever."""
    job = document.get("jobId")
    if isinstance(job, str | int) and len(str(job)) <= dialect.ID_MAX:
        results = dialect.refused(job, iso(plane.clock()), reason[:REASON_MAX])
        answer(plane, dialect.result_message(job, results))


def answer(plane: Plane, message: Mapping[str, Any]) -> None:
    """By the timers queue to the results queue."""
    if plane.settings.grading_results_url:
        plane.cloud.queues.timer({"v": 1, "kind": "answer", "message": message}, 0)


def send(plane: Plane, message: Mapping[str, Any]) -> None:
    """What the timers queue brought, to the results queue."""
    plane.cloud.outside.send(plane.settings.grading_results_url, message)


def tell(plane: Plane, job: Job) -> None:
    """The end of a job: results.json, the message, then archive and log. A repetition writes the same again."""
    known, outside = plane.settings.grading_bucket, plane.cloud.outside
    if not known or place(known).bucket != job.origin["bucket"]:
        raise CloudUnavailable(f"this stage does not grade for the bucket {job.origin['bucket']} any more")
    bucket, root = place(known), str(job.origin["root"])
    results = _results(plane, job)
    text = json.dumps(results, indent=2).encode()
    outside.put(bucket.region, bucket.bucket, f"{root}/results.json", text, "application/json")
    send(plane, dialect.result_message(job.origin["job"], results))
    if _size(job, dialect.ARCHIVE) is not None:
        key = logs.output_key(job, dialect.ARCHIVE)
        outside.copy(key, bucket.region, bucket.bucket, f"{root}/{dialect.ARCHIVE}")
    outside.put(bucket.region, bucket.bucket, f"{root}/output.log", logs.whole(plane, job), "text/plain")


def _results(plane: Plane, job: Job) -> dict[str, Any]:
    ended = job.finish.finished_at if job.finish else max(job.entered.values())
    started = (job.finish.started_at if job.finish else None) or job.entered.get(JobState.RUNNING)
    times = dialect.Times(
        received=str(job.origin["received_at"]), started=iso(started) if started else None, ended=iso(ended)
    )
    size = _size(job, dialect.RESULTS)
    wanted = size is not None and size <= dialect.RESULTS_BYTES_MAX and job.state is JobState.SUCCEEDED
    body = plane.cloud.blobs.get(logs.output_key(job, dialect.RESULTS)) if wanted else None
    return dialect.results(job, times, body, size or 0)


def _size(job: Job, path: str) -> int | None:
    """Bytes of one of its outputs; None: it left none of that name."""
    found = (output.bytes for output in (job.finish.outputs if job.finish else ()) if output.path == path)
    return next(found, None)


def iso(at: float) -> str:
    """`2026-11-21T20:15:00.123Z`, as JavaScript writes a date."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
