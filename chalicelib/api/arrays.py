"""Routes of arrays."""

from __future__ import annotations

import re
from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import array_view, array_wire, explain_view, job_wire, wire
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import Caller, caller, owner_of
from chalicelib.api.view import fitting
from chalicelib.control import arrays, element_parameters, families, listing, story
from chalicelib.core.arrays import Array
from chalicelib.errors import NotFound

URL_S = 900
_ID = re.compile(r"array-[A-Za-z0-9]{1,58}\Z")


def routes(authorizer: Any) -> Blueprint:
    """The blueprint; routes only: event handlers would be invoked without app.py."""
    bp = Blueprint(__name__)
    route = router(bp, authorizer)

    def who() -> Caller:
        return caller(bp.current_request.context)

    @route("POST", "/arrays", takes=array_wire.ArrayWire, gives=array_view.ArrayView, statuses=(201, 200))
    def post_array() -> Response:
        """Submit an array of up to 10,000 jobs; 200 with the array that is there for a repeated `idempotency_key`."""
        plane, me = wiring.plane(), who()
        document = wire.decode(bp.current_request.raw_body, array_wire.ArrayWire, array_wire.ARRAY_BYTES_MAX)
        count = array_wire.count_of(document)
        job = families.apply(plane, document.job, "job.", check=document.elements is None)
        own = document.elements
        if own is not None:
            own = element_parameters.checked(plane, own, job.parameters, (job.family, job.family_version))
        owner = owner_of(me, document.job.owner, "job.")
        submitted = arrays.submit(plane, job_wire.job_spec(job, "job."), count, own, owner, "job.")
        array = submitted.array
        counts = {"waiting": array.count} if submitted.created else arrays.counts(plane, array)
        return answer(array_view.array(array, counts), 201 if submitted.created else 200)

    @route("GET", "/arrays", query=array_wire.ArraysQuery, gives=array_view.ArraysPage)
    def get_arrays() -> Response:
        """The arrays of a pool, newest first, a page at a time."""
        plane, me = wiring.plane(), who()
        asked = wire.query(bp.current_request.query_params, array_wire.ArraysQuery)
        only = None if me.runs_things else me.owner
        found, cursor = listing.find_arrays(plane, asked.pool, only, asked.cursor, asked.limit)
        items, cut = fitting(array_view.array(array, {}) for array in found)
        return answer(array_view.ArraysPage(items=items, next=items[-1].id if cut else cursor))

    @route("GET", "/arrays/{array_id}", gives=array_view.ArrayView)
    def get_array(array_id: str) -> Response:
        """An array, and how many of its elements are where."""
        array = _array(who(), array_id)
        return answer(array_view.array(array, arrays.counts(wiring.plane(), array)))

    @route("GET", "/arrays/{array_id}/elements", query=array_wire.ElementsQuery, gives=array_view.ElementsPage)
    def get_elements(array_id: str) -> Response:
        """The elements of an array by index; or those that have ended in one way."""
        array = _array(who(), array_id)
        asked = wire.query(bp.current_request.query_params, array_wire.ElementsQuery)
        jobs, more = arrays.elements(wiring.plane(), array, after=asked.cursor, limit=asked.limit, state=asked.state)
        items, cut = fitting(array_view.element(job.index or 0, job) for job in jobs)
        return answer(array_view.ElementsPage(items=items, next=items[-1].index if items and (more or cut) else None))

    @route("GET", "/arrays/{array_id}/story", gives=explain_view.StoryView)
    def get_array_story(array_id: str) -> Response:
        """What happened to an array as a whole, and why."""
        _array(who(), array_id)
        return answer(explain_view.story(story.of_array(wiring.plane(), array_id)))

    @route("POST", "/arrays/{array_id}/cancel", gives=array_view.ArrayView, statuses=(202,))
    def post_cancel_array(array_id: str) -> Response:
        """Cancel an array: what waits never begins, what runs is told to end."""
        _array(who(), array_id)
        array = arrays.cancel(wiring.plane(), array_id)
        return answer(array_view.array(array, arrays.counts(wiring.plane(), array)), 202)

    @route("GET", "/arrays/{array_id}/results", gives=array_view.ResultsView)
    def get_results(array_id: str) -> Response:
        """The results of all elements as one CSV, once the array has ended."""
        plane = wiring.plane()
        array = _array(who(), array_id)
        found = array.results
        if found is None and array.ended:
            arrays.order(plane, array_id)  # the message that ordered it was lost, or is on its way
        ready = found is not None and bool(found.key)
        return answer(
            array_view.ResultsView(
                ready=ready,
                url=plane.cloud.blobs.get_url(found.key, URL_S, f"{array_id}.csv") if found and ready else None,
                rows=found.rows if found else 0,
                bytes=found.bytes if found else 0,
                problem=found.problem if found else "",
            )
        )

    return bp


def _array(me: Caller, array_id: str) -> Array:
    if not _ID.match(array_id):
        raise NotFound(f"there is no array {array_id}")
    array = arrays.get(wiring.plane(), array_id)
    me.must_see(array.owner, f"array {array_id}")
    return array
