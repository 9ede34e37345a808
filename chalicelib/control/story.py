"""The story of jobs, hosts and pools: written at the end of an invocation, read as rows and lines together."""

from __future__ import annotations

from chalicelib.control import settings
from chalicelib.core import story
from chalicelib.core.host import Host
from chalicelib.core.job import Job
from chalicelib.core.story import Line
from chalicelib.errors import StoreUnavailable
from chalicelib.telemetry import log
from chalicelib.wiring import Plane


def flush(plane: Plane) -> None:
    """Write what was told. It is not the truth: where it cannot be written now, the invocation goes well all the same."""
    try:
        plane.stores.teller.flush()
    except StoreUnavailable as error:
        log.warning("the story could not be written now", extra={"error": str(error)})
    except Exception:  # lines that DynamoDB will never take must not stand in the way of all others
        log.exception("the story could not be written")
        plane.stores.teller.forget()


def of_job(plane: Plane, job: Job) -> list[Line]:
    """A job's story, oldest first."""
    return story.of_job(job, plane.stores.story.of(job.id))


def of_host(plane: Plane, host_id: str, host: Host | None) -> list[Line]:
    """A host's story, oldest first; it is longer-lived than its row. Empty where there never was such a host, or long ago."""
    told = plane.stores.story.of(host_id)
    return story.of_host(host, told) if host is not None else story.distinct(told)


def of_array(plane: Plane, array_id: str) -> list[Line]:
    """What was told of an array as a whole; its elements have stories of their own."""
    return story.distinct(plane.stores.story.of(array_id))


def of_pool(plane: Plane, name: str) -> list[Line]:
    """What was told of a pool as a whole: changes of its settings, refusals of EC2, orphans."""
    return story.distinct(plane.stores.story.of(story.of_pool(name)))


def of_settings(plane: Plane) -> list[Line]:
    """Who changed the stage's defaults, and how."""
    return story.distinct(plane.stores.story.of(settings.SUBJECT))
