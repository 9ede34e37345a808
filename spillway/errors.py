"""What can go wrong between a client and Spillway, told in sentences.

Each class carries `exit_code`, which the command line uses: scripts can tell a typing mistake (2) from a server that
cannot be reached (3) and from a wait that took too long (4).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """One refused field: `field` is a path such as `jobs[3].cpu`, `message` says what is wrong with it."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class SpillwayError(Exception):
    """What is wrong, where, and what to do. `fields` names the refused fields, if there are any."""

    exit_code = 2

    def __init__(self, sentence: str, *, fields: Iterable[FieldError] = (), status: int | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.fields = tuple(fields)
        self.status = status

    def __str__(self) -> str:
        if len(self.fields) == 1:
            field, message = self.fields[0].field, self.fields[0].message
            if self.sentence == f"{field} {message}":
                return f"{field}: {message}"
            if self.sentence.startswith(f"{field}: ") or message in self.sentence:
                return self.sentence  # a server that has one thing to say says it once
        return "\n  ".join([self.sentence, *map(str, self.fields)])


class Refused(SpillwayError):
    """The server understood the request and says no (400, 404, 409, 413 …): sending it again changes nothing."""


class BadInput(SpillwayError):
    """Found wrong before anything was sent: a missing file, a bad row, an unusable option."""


class NotAllowed(SpillwayError):
    """The token is missing, unknown, or may not do this (401, 403)."""

    exit_code = 3


class OverQuota(NotAllowed):
    """The owner has as many jobs as it may have, or has spent what it may spend (429): later it may be accepted."""


class Unreachable(SpillwayError):
    """No answer, or only server errors, after all retries."""

    exit_code = 3


class NoCheckout(SpillwayError):
    """The command starts modules of the repository, and there is no checkout here."""

    exit_code = 3


class WaitTimedOut(SpillwayError):
    """Jobs had not ended when the wait did. They go on running; `unfinished` holds their ids."""

    exit_code = 4

    def __init__(self, sentence: str, unfinished: Iterable[str]) -> None:
        super().__init__(sentence)
        self.unfinished = tuple(unfinished)
