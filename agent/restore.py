"""What an earlier attempt has kept is put back before this one begins: the newest that is whole, else the one before it, else nothing.

What cannot be used is told and passed over; what could only not be fetched now is no reason to begin afresh - the attempt is given
back (`NotUsable`), and another host has better luck.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Callable, NamedTuple

from agent import folder, inputs
from agent.manifest import Assignment, Checkpoint, Kept
from agent.packing import ENTRIES_MAX
from agent.unpack import Hostile, unpack

ARCHIVE_SLACK_BYTES = 64 << 20  # of headers and padding, beside what is packed


class Restored(NamedTuple):
    """What was done, as a sentence ("" where no earlier attempt has kept anything), and the key of what was put back."""

    sentence: str
    key: str = ""


def restore(assignment: Assignment, wanted: Checkpoint, into: str, usable: Callable[[], str] = lambda: "") -> Restored:
    """Fill the empty folder `into`; `usable` looks at what is there then, and says why it cannot be used. Raises NotUsable."""
    problems: list[str] = []
    for kept in assignment.restore:
        problem = _one(kept, assignment.urls[kept.key], wanted.mib_max << 20, into) or usable()
        if not problem:
            at = time.strftime("%H:%M:%S", time.gmtime(kept.at))
            said = "it continues from the checkpoint %s of %s UTC" % (_name(kept), at)
            return Restored("; ".join([said, *problems]), kept.key)
        problems.append("the checkpoint %s was not used: %s" % (_name(kept), problem))
        folder.remove(into)
        os.makedirs(into)
    return Restored("; ".join(["it starts afresh", *problems]) if problems else "")


def _one(kept: Kept, url: str, bytes_max: int, into: str) -> str:
    archive = into + ".tar.gz"
    try:
        inputs.fetch(url, "checkpoint %s" % _name(kept), archive, bytes_max=bytes_max + ARCHIVE_SLACK_BYTES)
        unpack(archive, into, bytes_max, ENTRIES_MAX + 1, any_links=True)
    except inputs.NotUsable as error:
        if error.why != "bad_input":
            raise
        return str(error)
    except Hostile as error:
        return str(error)
    except OSError as error:
        raise inputs.NotUsable("", "the checkpoint %s could not be put back: %s" % (_name(kept), error)) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(archive)
    return ""


def _name(kept: Kept) -> str:
    """`2 of attempt 1`, by its key `…/<attempt>/checkpoint/<number>.tar.gz`."""
    parts = kept.key.split("/")
    return "%s of attempt %s" % (parts[-1].partition(".")[0], parts[-3]) if len(parts) > 3 else kept.key
