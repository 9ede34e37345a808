"""Routes of jobs, their logs, outputs and stories."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import job_wire, views, wire
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import Caller, caller
from chalicelib.control import cancel, explain, families, logs, pools, story
from chalicelib.control.submit import submit, submit_many
from chalicelib.core.job import Job
from chalicelib.errors import BadRequest, Fault, NotFound

IDS_MAX = 100
PAGE_MAX = 200
OUTPUT_URL_S = 900
_ID = re.compile(
    r"[A-Za-z0-9-]{1,64}\Z"
)  # what is no id is not looked up: DynamoDB refuses keys that are empty or long


def routes(authorizer: Any) -> Blueprint:
    """The blueprint; routes only: event handlers would be invoked without app.py."""
    bp = Blueprint(__name__)
    route = router(bp, authorizer)

    def who() -> Caller:
        return caller(bp.current_request.context)

    def query(name: str) -> str | None:
        given: Mapping[str, str] = bp.current_request.query_params or {}
        return given.get(name)

    @route("POST", "/jobs")
    def post_job() -> Response:
        plane, me = wiring.plane(), who()
        document = wire.decode(bp.current_request.raw_body, job_wire.JobSpecWire)
        spec = job_wire.job_spec(families.apply(plane, document))
        submitted = submit(plane, spec, _owner(me, document.owner))
        return answer(views.job(submitted.job), 201 if submitted.created else 200)

    @route("POST", "/jobs/batch")
    def post_batch() -> Response:
        plane, me = wiring.plane(), who()
        batch = wire.decode(bp.current_request.raw_body, job_wire.BatchWire, job_wire.BATCH_BYTES_MAX)
        owners = {_owner(me, document.owner, f"jobs[{i}].") for i, document in enumerate(batch.jobs)}
        if len(owners) > 1:
            fault = Fault("jobs", "must all have the same owner")
            raise BadRequest(f"{fault.field} {fault.message}", (fault,))
        specs = [
            job_wire.job_spec(families.apply(plane, document, f"jobs[{i}]."), f"jobs[{i}].")
            for i, document in enumerate(batch.jobs)
        ]
        submitted = submit_many(plane, specs, owners.pop())
        return answer({"items": [views.job(s.job) for s in submitted]}, 201)

    @route("GET", "/jobs")
    def get_jobs() -> Response:
        plane, me = wiring.plane(), who()
        if (ids := query("ids")) is not None:
            wanted, cursor = [i for i in ids.split(",") if i], None
            if len(wanted) > IDS_MAX:
                raise BadRequest(
                    f"ids: at most {IDS_MAX} at once", (Fault("ids", f"has {len(wanted)} of at most {IDS_MAX}"),)
                )
        else:
            wanted, cursor = plane.stores.jobs.of_pool(
                _pool_name(query("pool")), before=_cursor(query("cursor")), limit=_limit(query("limit"))
            )
        found = plane.stores.jobs.get_many([i for i in wanted if _ID.match(i)])
        items = [found[i] for i in wanted if i in found and (me.runs_things or found[i].owner == me.owner)]
        return answer({"items": [views.job(j) for j in items], "next": cursor})

    @route("GET", "/jobs/{job_id}")
    def get_job(job_id: str) -> Response:
        return answer(views.job(_job(who(), job_id)))

    @route("POST", "/jobs/{job_id}/cancel")
    def post_cancel(job_id: str) -> Response:
        _job(who(), job_id)
        return answer(views.job(cancel.cancel(wiring.plane(), job_id)), 202)

    @route("GET", "/jobs/{job_id}/log")
    def get_log(job_id: str) -> Response:
        start = _number("from", query("from") or "0")
        return answer(logs.read(wiring.plane(), _job(who(), job_id), start))

    @route("GET", "/jobs/{job_id}/outputs")
    def get_outputs(job_id: str) -> Response:
        job, blobs = _job(who(), job_id), wiring.plane().cloud.blobs
        items = [
            {"path": o.path, "bytes": o.bytes, "url": blobs.get_url(logs.output_key(job, o.path), OUTPUT_URL_S)}
            for o in (job.finish.outputs if job.finish else ())
        ]
        return answer({"items": items})

    @route("GET", "/jobs/{job_id}/story")
    def get_story(job_id: str) -> Response:
        return answer(views.story(story.of_job(wiring.plane(), _job(who(), job_id))))

    @route("GET", "/jobs/{job_id}/why")
    def get_why(job_id: str) -> Response:
        return answer(views.why(explain.job(wiring.plane(), _job(who(), job_id))))

    return bp


def _owner(me: Caller, wanted: str | None, prefix: str = "") -> str:
    """Whom the job is billed to: a submitter's own owner; operators may name another."""
    if wanted is None or wanted == me.owner:
        return me.owner
    if not me.runs_things:
        raise BadRequest(
            f"{prefix}owner: this token submits for {me.owner} only", (Fault(f"{prefix}owner", f"must be {me.owner}"),)
        )
    return wanted


def _job(me: Caller, job_id: str) -> Job:
    job = wiring.plane().stores.jobs.get(job_id) if _ID.match(job_id) else None
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    me.must_see(job.owner, f"job {job_id}")
    return job


def _cursor(text: str | None) -> str | None:
    if text and not _ID.match(text):
        raise BadRequest("cursor: it is none that was given here", (Fault("cursor", "must be the `next` of a page"),))
    return text or None


def _pool_name(text: str | None) -> str:
    if text and not pools.NAME.fullmatch(text):
        raise NotFound(f"there is no pool named {text[:64]}")
    return text or "default"


def _limit(text: str | None) -> int:
    return min(PAGE_MAX, max(1, _number("limit", text or "50")))


def _number(field: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 15:
        raise BadRequest(
            f"{field}: {text!r} is not a whole number", (Fault(field, "must be a whole number, 0 or more"),)
        )
    return int(text)
