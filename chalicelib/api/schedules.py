"""Routes of schedules: a submitter has those of its owner."""

from __future__ import annotations

from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import job_view, schedule_view, wire
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import Caller, caller, owner_of
from chalicelib.api.pool_wire import version_of
from chalicelib.api.schedule_wire import FiresQuery, ScheduleWire, schedule
from chalicelib.api.view import fitting
from chalicelib.control import schedules
from chalicelib.core.paging import paged
from chalicelib.core.schedule import Schedule
from chalicelib.errors import NotFound

BYTES_MAX = 16_384  # of a document: a hundred must fit into an answer


def routes(authorizer: Any) -> Blueprint:
    """The blueprint; routes only: event handlers would be invoked without app.py."""
    bp = Blueprint(__name__)
    route = router(bp, authorizer)

    def who() -> Caller:
        return caller(bp.current_request.context)

    def asked() -> FiresQuery:
        return wire.query(bp.current_request.query_params, FiresQuery)

    @route("GET", "/schedules", query=wire.NamesQuery, gives=schedule_view.SchedulesPage)
    def get_schedules() -> Response:
        """Schedules by name; a submitter's own."""
        plane, me = wiring.plane(), who()
        names = wire.query(bp.current_request.query_params, wire.NamesQuery)
        found = [s for s in plane.stores.schedules.all() if me.runs_things or s.owner == me.owner]
        shown, following = paged(found, names.limit, names.cursor)
        items, cut = fitting(schedule_view.schedule(s, plane.clock()) for s in shown)
        return answer(schedule_view.SchedulesPage(items=items, next=items[-1].name if cut else following))

    @route("GET", "/schedules/{schedule}", gives=schedule_view.ScheduleView)
    def get_schedule(schedule: str) -> Response:
        """A schedule and its next fires."""
        return _shown(_own(who(), schedule))

    @route("PUT", "/schedules/{schedule}", takes=ScheduleWire, gives=schedule_view.ScheduleView)
    def put_schedule(schedule: str) -> Response:
        """Make a schedule, or replace all that was said of it."""
        me, said = who(), wire.decode(bp.current_request.raw_body, ScheduleWire, BYTES_MAX)
        version = version_of(bp.current_request.headers.get("if-match"))
        record = _record(wire.convert_name(schedule, "schedule"), said, me)
        return _shown(schedules.put(wiring.plane(), record, version=version))

    @route("DELETE", "/schedules/{schedule}", gives=schedule_view.ScheduleView)
    def delete_schedule(schedule: str) -> Response:
        """Delete a schedule; the answer is what it was. Its jobs stay."""
        return _shown(schedules.delete(wiring.plane(), _own(who(), schedule).name))

    @route("POST", "/schedules/{schedule}/pause", gives=schedule_view.ScheduleView)
    def post_pause(schedule: str) -> Response:
        """Let a schedule fire no more, until it is resumed."""
        me = who()
        return _shown(schedules.pause(wiring.plane(), _own(me, schedule).name, by=me.owner))

    @route("POST", "/schedules/{schedule}/resume", gives=schedule_view.ScheduleView)
    def post_resume(schedule: str) -> Response:
        """Let a schedule fire again, from now on."""
        me = who()
        return _shown(schedules.resume(wiring.plane(), _own(me, schedule).name, by=me.owner))

    @route("POST", "/schedules/{schedule}/run", gives=job_view.JobView, statuses=(201,))
    def post_run(schedule: str) -> Response:
        """Submit a schedule's job now; its fires to come stay as they are."""
        me = who()
        return answer(job_view.job(schedules.run_now(wiring.plane(), _own(me, schedule), by=me.owner)), 201)

    @route("GET", "/schedules/{schedule}/next", query=FiresQuery, gives=schedule_view.NextsView)
    def get_next(schedule: str) -> Response:
        """The next fires of a schedule."""
        record = _own(who(), schedule)
        return answer(schedule_view.NextsView(items=schedule_view.nexts(record, wiring.plane().clock(), asked().limit)))

    @route("GET", "/schedules/{schedule}/fires", query=FiresQuery, gives=schedule_view.FiresView)
    def get_fires(schedule: str) -> Response:
        """What became of the last fires of a schedule, the newest first."""
        record = _own(who(), schedule)
        found = schedules.fired(wiring.plane(), record, asked().limit)
        return answer(schedule_view.FiresView(items=[schedule_view.fire(f, record.zone) for f in found]))

    return bp


def _own(me: Caller, name: str) -> Schedule:
    if not wire.is_name(name):
        raise NotFound(f"there is no schedule {name[:64]}")
    record = schedules.known(wiring.plane(), name)
    me.must_see(record.owner, f"schedule {name}")
    return record


def _record(name: str, said: ScheduleWire, me: Caller) -> Schedule:
    return schedule(name, said, owner=owner_of(me, said.owner), by=me.owner)


def _shown(record: Schedule) -> Response:
    return answer(schedule_view.schedule(record, wiring.plane().clock()), version=record.version)
