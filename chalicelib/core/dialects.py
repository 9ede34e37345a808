"""What a message on the submissions queue says, recognised by its shape alone: senders need not say which dialect they speak.

| shape | dialect |
|---|---|
| a JSON object with `jobId`, `s3Bucket` and `s3RootKey` | PrairieLearn's grading message (`core/prairielearn.py`) |
| a JSON object with `again` | a message that died once, with its first id |
| a JSON object with `jobs` | several jobs, as `POST /jobs/batch` takes them |
| a JSON object with `job` | an array, as `POST /arrays` takes it |
| any other JSON object | one job, as `POST /jobs` takes it |
| no JSON | a `jobdetails.csv`, or one row of it (`core/jobdetails.py`) |
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Dialect(StrEnum):
    JOB = "job"
    BATCH = "batch"
    ARRAY = "array"
    AGAIN = "again"
    PRAIRIELEARN = "prairielearn"
    JOBDETAILS = "jobdetails"


@dataclass(frozen=True, slots=True)
class Message:
    """`document`: the JSON of it; None where it is none."""

    dialect: Dialect
    document: Any = None


GRADING = frozenset({"jobId", "s3Bucket", "s3RootKey"})


def recognise(body: str) -> Message:
    """Never fails: what nobody speaks is a job, and refused as one."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return Message(Dialect.JOB if body.lstrip()[:1] in ("{", "[") else Dialect.JOBDETAILS)
    if not isinstance(document, dict):
        return Message(Dialect.JOB, document)
    if document.keys() >= GRADING:
        return Message(Dialect.PRAIRIELEARN, document)
    for key, dialect in (("again", Dialect.AGAIN), ("jobs", Dialect.BATCH), ("job", Dialect.ARRAY)):
        if key in document:
            return Message(dialect, document)
    return Message(Dialect.JOB, document)
