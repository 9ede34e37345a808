"""Routes of jobs, their logs, outputs and stories."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import explain_view, job_view, job_wire, life_view, life_wire, wire
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import Caller, caller, owner_of
from chalicelib.control import arrays, bulk, expected, explain, families, listing, logs, reprioritise, retry, story
from chalicelib.control.submit import submit, submit_many
from chalicelib.core.job import Job
from chalicelib.errors import BadRequest, Fault, Forbidden, NotFound

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

    def shown(job: Job) -> job_view.JobView:
        return job_view.job(job, expected.wait_s(wiring.plane(), job))

    @route("POST", "/jobs", takes=job_wire.JobSpecWire, gives=job_view.JobView, statuses=(201, 200))
    def post_job() -> Response:
        """Submit a job; 200 with the job that is there for a repeated `idempotency_key`."""
        plane, me = wiring.plane(), who()
        document = wire.decode(bp.current_request.raw_body, job_wire.JobSpecWire)
        spec = job_wire.job_spec(families.apply(plane, document))
        submitted = submit(plane, spec, owner_of(me, document.owner))
        return answer(shown(submitted.job), 201 if submitted.created else 200)

    @route("POST", "/jobs/batch", takes=job_wire.BatchWire, gives=job_view.JobsView, statuses=(201,))
    def post_batch() -> Response:
        """Submit several jobs of one owner: all or none are accepted."""
        plane, me = wiring.plane(), who()
        batch = wire.decode(bp.current_request.raw_body, job_wire.BatchWire, job_wire.BATCH_BYTES_MAX)
        owners = {owner_of(me, document.owner, f"jobs[{i}].") for i, document in enumerate(batch.jobs)}
        if len(owners) > 1:
            fault = Fault("jobs", "must all have the same owner")
            raise BadRequest(f"{fault.field} {fault.message}", (fault,))
        specs = [
            job_wire.job_spec(families.apply(plane, document, f"jobs[{i}]."), f"jobs[{i}].")
            for i, document in enumerate(batch.jobs)
        ]
        submitted = submit_many(plane, specs, owners.pop())
        jobs = [s.job for s in submitted]
        waits = zip(jobs, expected.waits_s(plane, jobs), strict=True)
        return answer(job_view.JobsView(items=[job_view.job(job, wait_s) for job, wait_s in waits]), 201)

    @route("GET", "/jobs", query=job_wire.JobsQuery, gives=job_view.JobsPage)
    def get_jobs() -> Response:
        """The jobs of a pool, newest first, a page at a time; or those that are named."""
        plane, me = wiring.plane(), who()
        asked = wire.query(bp.current_request.query_params, job_wire.JobsQuery)
        if asked.ids is None:
            only = None if me.runs_things else me.owner
            if only is not None and asked.owner not in (None, only):
                raise Forbidden(f"a token with role {me.role} sees the jobs of {only} only")
            found, cursor = listing.find(plane, job_wire.job_filter(asked, only), asked.cursor, asked.limit)
            return answer(job_view.page(found, cursor, partial(expected.wait_s, plane)))
        named = asked.ids.split(",")
        if asked.cursor in named:
            named = named[named.index(asked.cursor) + 1 :]
        rows = plane.stores.jobs.get_many(named)
        return answer(
            job_view.page(
                [j for j in rows.values() if me.runs_things or j.owner == me.owner],
                None,
                partial(expected.wait_s, plane),
            )
        )

    @route("GET", "/jobs/{job_id}", gives=job_view.JobView)
    def get_job(job_id: str) -> Response:
        """A job."""
        return answer(shown(_job(who(), job_id)))

    @route("POST", "/jobs/{job_id}/cancel", gives=job_view.JobView, statuses=(202,))
    def post_cancel(job_id: str) -> Response:
        """Cancel a job: at once while it waits; what runs is told to end."""
        _job(who(), job_id)
        return answer(job_view.job(arrays.cancel_job(wiring.plane(), job_id)), 202)

    @route(
        "POST",
        "/jobs/{job_id}/retry",
        takes=life_wire.RetryWire,
        optional=True,
        gives=job_view.JobView,
        statuses=(201, 200),
    )
    def post_retry(job_id: str) -> Response:
        """Run a job that has ended again, as a new one; 200 with the one that is there for a repeated `idempotency_key`."""
        asked = wire.decode(bp.current_request.raw_body or b"{}", life_wire.RetryWire)
        again = retry.retry(wiring.plane(), _job(who(), job_id), priority=asked.priority, key=asked.idempotency_key)
        return answer(shown(again.job), 201 if again.created else 200)

    @route("PATCH", "/jobs/{job_id}", takes=life_wire.JobPatchWire, gives=job_view.JobView)
    def patch_job(job_id: str) -> Response:
        """Give a job another priority; one that is on a host keeps it, and waits by the new one where it has to wait again."""
        asked = wire.decode(bp.current_request.raw_body, life_wire.JobPatchWire)
        job = _job(who(), job_id)
        return answer(shown(reprioritise.reprioritise(wiring.plane(), job.id, asked.priority)))

    @route("POST", "/jobs/bulk", takes=life_wire.BulkWire, gives=life_view.BulkView)
    def post_bulk() -> Response:
        """Count the jobs that match a filter; with that number as `expect`: cancel, retry or reprioritise all of them."""
        me = who()
        asked = wire.decode(bp.current_request.raw_body, life_wire.BulkWire)
        wanted = life_wire.job_filter(asked.filter, owner=_owner_of(me, asked.filter.owner))
        life_wire.check(asked)
        found = bulk.bulk(
            wiring.plane(),
            asked.action,
            wanted,
            ids=list(dict.fromkeys(asked.filter.ids)),
            priority=asked.priority,
            expect=asked.expect,
            key=asked.idempotency_key,
        )
        return answer(life_view.bulk(asked.action, found))

    @route("GET", "/jobs/{job_id}/log", query=job_wire.LogQuery, gives=job_view.LogPiece)
    def get_log(job_id: str) -> Response:
        """A piece of a job's log, while it runs and after: from a byte on, at most 256 KiB."""
        asked = wire.query(bp.current_request.query_params, job_wire.LogQuery)
        return answer(job_view.log(logs.read(wiring.plane(), _job(who(), job_id), asked.from_, asked.rank)))

    @route("GET", "/jobs/{job_id}/outputs", gives=job_view.OutputLinks)
    def get_outputs(job_id: str) -> Response:
        """The files that a job left, each with a signed URL."""
        job, blobs = _job(who(), job_id), wiring.plane().cloud.blobs
        items = [
            job_view.OutputLink(
                path=o.path, bytes=o.bytes, name=o.name, url=blobs.get_url(logs.output_key(job, o.path), OUTPUT_URL_S)
            )
            for o in (job.finish.outputs if job.finish else ())
        ]
        return answer(job_view.OutputLinks(items=items))

    @route("GET", "/jobs/{job_id}/story", gives=explain_view.StoryView)
    def get_story(job_id: str) -> Response:
        """What happened to a job, and why."""
        return answer(explain_view.story(story.of_job(wiring.plane(), _job(who(), job_id))))

    @route("GET", "/jobs/{job_id}/why", gives=explain_view.WhyView)
    def get_why(job_id: str) -> Response:
        """Why a job is where it is, in sentences."""
        return answer(explain_view.why(explain.job(wiring.plane(), _job(who(), job_id))))

    return bp


def _owner_of(me: Caller, wanted: str | None) -> str | None:
    """Whose jobs are meant: a submitter's own, whatever was said; None: everybody's."""
    return wanted if me.runs_things else owner_of(me, wanted, "filter.")


def _job(me: Caller, job_id: str) -> Job:
    job = arrays.find_job(wiring.plane(), job_id) if _ID.match(job_id) else None
    if job is None:
        array = ": that is an array (/arrays, `spillway array`)" if job_id.startswith("array-") else ""
        raise NotFound(f"there is no job {job_id}{array}")
    me.must_see(job.owner, f"job {job_id}")
    return job
