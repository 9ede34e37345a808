"""PrairieLearn's external grading, as its own grader hosts speak it: a job comes as a message that names a place in S3, is unpacked to
/grade and run there (adapter `prairielearn`, as jobs of any other origin can be), and is answered by two messages on the results queue
and three objects beside the job's own.

Written against PrairieLearn's `apps/grader-host` (what it reads, sends and uploads) and `externalGraderResults.ts` (what is done with it).
The grader's image runs as it is where the pool's sandbox is `docker`; elsewhere it must be the pool's machine image (pool setting
`images: ignore`). What differs: an entrypoint is required, as no image is asked for its own.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.core.adapters import CONVENTIONS
from chalicelib.core.job import Job, JobState
from chalicelib.core.job_spec import Adapter
from chalicelib.core.retry import GRADER
from chalicelib.core.spoken import sentence
from chalicelib.errors import BadRequest, Fault

LISTENER = "prairielearn"  # in `Job.listeners`
FAMILY = "prairielearn"  # may hold the defaults of all grading jobs: pool, memory_mib, owner …
RESULTS = CONVENTIONS[Adapter.PRAIRIELEARN].raw
ARCHIVE = "archive.tar.gz"
RESULTS_BYTES_MAX = 1024 * 1024
RESULTS_DEPTH_MAX = 200  # of lists and objects in it: whoever writes it again needs room on the stack
ID_MAX, ROOT_MAX = 128, 512
INLINE_CHARS_MAX = 250 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class GradingJob:
    """A grading message."""

    job: str | int
    image: str | None
    entrypoint: str
    bucket: str
    root: str
    timeout_s: int
    network: bool
    environment: Mapping[str, str]


def read(document: Mapping[str, Any]) -> GradingJob:
    """Raises BadRequest with every field that cannot be used."""
    faults: list[Fault] = []

    def take(name: str, kinds: type | tuple[type, ...], what: str, default: Any = None) -> Any:
        value = document.get(name)
        value = default if value is None else value
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            faults.append(Fault(name, f"must be {what}"))
            return default
        return value

    text = "text"
    job = take("jobId", (str, int), "text or a number", "")
    bucket, root = take("s3Bucket", str, text, ""), take("s3RootKey", str, text, "")
    image = take("image", str, text, "")
    entrypoint = take("entrypoint", str, "a command; here is no image that has one of its own")
    timeout_s = take("timeout", (int, float), "a number of seconds", 0)
    network = take("enableNetworking", bool, "true or false", False)
    environment = take("environment", dict, "names and values", {})
    if isinstance(entrypoint, str) and not entrypoint.split():
        faults.append(Fault("entrypoint", "is empty"))
    if not faults and not 0 < timeout_s < math.inf:  # a whole number may be too large to be made a float
        faults.append(Fault("timeout", "must be a number of seconds above 0"))
    if any(not isinstance(value, str | None) for value in environment.values()):
        faults.append(Fault("environment", "must be names and texts"))
    if len(str(job)) > ID_MAX or len(root) > ROOT_MAX:
        faults.append(
            Fault("jobId" if len(str(job)) > ID_MAX else "s3RootKey", "is longer than any that PrairieLearn makes")
        )
    if not job or not root or root.startswith("/"):
        faults.append(Fault("s3RootKey" if job else "jobId", "is missing, or no such name"))
    if faults:
        raise BadRequest(f"{faults[0].field} {faults[0].message}", tuple(faults))
    return GradingJob(
        job=job,
        image=image or None,
        entrypoint=entrypoint,
        bucket=bucket,
        root=root,
        timeout_s=math.ceil(timeout_s),
        network=network,
        environment={name: value for name, value in environment.items() if value is not None},
    )


def document(job: GradingJob) -> dict[str, Any]:
    """The job's document in our own dialect; what it does not say is left to the family."""
    return {
        "adapter": Adapter.PRAIRIELEARN,
        "command": shlex.join(job.entrypoint.split(" ")),
        "timeout_s": job.timeout_s,
        "network": job.network,
        "environment": dict(job.environment),
        **({"image": job.image} if job.image else {}),
        "inputs": [{"path": ".", "s3": f"s3://{job.bucket}/{job.root}/job.tar.gz", "unpack": True}],
        "archive": True,
        "name": f"grading job {job.job}"[:256],
    }


def received(job: str | int, at: str) -> dict[str, Any]:
    """What is answered when a job was accepted. `at`: ISO 8601."""
    return {"jobId": job, "event": "job_received", "data": {"receivedTime": at}}


def result_message(job: str | int, results: Mapping[str, Any]) -> dict[str, Any]:
    """What is answered when a job has ended; without the results where they are too large for a message."""
    message: dict[str, Any] = {"jobId": job, "event": "grading_result"}
    if len(json.dumps(results, separators=(",", ":"))) <= INLINE_CHARS_MAX:
        message["data"] = results
    return message


def refused(job: str | int, at: str, reason: str) -> dict[str, Any]:
    """The results of a job that could not be accepted: nobody is graded, and a sentence says why."""
    return {
        "job_id": job,
        "received_time": at,
        "start_time": at,
        "end_time": at,
        "succeeded": False,
        "message": f"The grading job could not be accepted: {reason}",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """ISO 8601, as PrairieLearn keeps them."""

    received: str
    started: str | None
    ended: str


def results(job: Job, times: Times, body: bytes | None, size: int) -> dict[str, Any]:
    """The results of an ended job. `body`: its results.json, `size` bytes long; None where there is none, or it is too large."""
    found: dict[str, Any] = {
        "job_id": job.origin["job"],
        "received_time": times.received,
        "start_time": times.started or times.ended,
        "end_time": times.ended,
        "succeeded": False,
        "results": None,
    }
    if job.state is JobState.TIMED_OUT:
        limit = f"{job.spec.timeout_s} seconds"
        message = f"Your grading job did not complete within the time limit of {limit}.\nPlease fix your code before submitting again."
        return {**found, "timedOut": True, "message": message}
    if job.finish is not None and job.finish.cause == GRADER:
        return {**found, "message": f"{sentence(job.finish.reason)} This is not the fault of the submission."}
    if job.state is not JobState.SUCCEEDED:
        whose = "" if job.state is JobState.FAILED else " This is not the fault of the submission."
        return {**found, "message": f"The grading job has not succeeded ({job.state}): {job.reason}.{whose}"}
    if size > RESULTS_BYTES_MAX:
        larger = "The grading results were larger than 1MB. "
        return {
            **found,
            "message": f"{larger}If the problem persists, please contact course staff or a proctor.",
        }
    if body is None:
        return {**found, "message": "Could not read grading results."}
    try:
        graded = _plain(json.loads(body, parse_constant=_no_number))
    except (ValueError, RecursionError):
        return {**found, "message": "Could not parse the grading results."}
    return {**found, "succeeded": True, "results": graded}


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _plain(value: Any, levels: int = RESULTS_DEPTH_MAX) -> Any:
    r"""With `\u0000` spelt out: PrairieLearn's database cannot keep the character. Raises ValueError where it is nested too deep."""
    if not levels:
        raise ValueError("is nested too deep")
    if isinstance(value, str):
        return value.replace("\0", "\\u0000")
    if isinstance(value, list):
        return [_plain(one, levels - 1) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one, levels - 1) for key, one in value.items()}
    return value
