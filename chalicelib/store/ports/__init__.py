"""What the control plane asks of its tables. Two families keep these promises: the PynamoDB stores and `memory.py`; one contract
suite holds them both to it.

A write that finds another state than it names returns None or False: a lost race is an outcome. Reads are strongly consistent
unless their docstring says otherwise. All times are passed in; nothing here reads a clock. Anything that DynamoDB itself refuses
(throttled, unreachable, denied) raises `StoreUnavailable`.
"""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.store.ports.backlog import Backlog, Shares, Submissions
from chalicelib.store.ports.definitions import Agenda, Families, Schedules
from chalicelib.store.ports.history import Durations, Sample, Samples, Story
from chalicelib.store.ports.hosts import HOST_FACTS, Buckets, Claims, Hosts, only
from chalicelib.store.ports.jobs import Arrays, Jobs, KeyHold, Waiters, must_say
from chalicelib.store.ports.registry import PASS_FACTS, TOKEN_ID_DIGITS, Owners, Registry, Token

__all__ = [
    "HOST_FACTS",
    "PASS_FACTS",
    "TOKEN_ID_DIGITS",
    "Agenda",
    "Arrays",
    "Backlog",
    "Buckets",
    "Claims",
    "Durations",
    "Families",
    "Hosts",
    "Jobs",
    "KeyHold",
    "Owners",
    "Registry",
    "Sample",
    "Samples",
    "Schedules",
    "Shares",
    "Stores",
    "Story",
    "Submissions",
    "Token",
    "Waiters",
    "must_say",
    "only",
]


@dataclass(frozen=True, slots=True)
class Stores:
    """All tables of a stage."""

    jobs: Jobs
    arrays: Arrays
    waiters: Waiters
    backlog: Backlog
    submissions: Submissions
    hosts: Hosts
    claims: Claims
    registry: Registry
    families: Families
    schedules: Schedules
    agenda: Agenda
    story: Story
    durations: Durations
    samples: Samples
    shares: Shares
    buckets: Buckets
    owners: Owners
