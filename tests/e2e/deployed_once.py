"""What the session's one deployed system is to a test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spillway.client import Client
from spillway.demo.embedded import Deployment, Embedded

ELSEWHERE = "course-materials"  # a bucket of somebody else, whose `shared/` and `<owner>/` jobs may read
GRADING = ("pl-grading", "pl-results")  # bucket and results queue of a pretended PrairieLearn
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Deployed:
    """A running embedded cloud with a deployed stage: `state` is what SPILLWAY_LOCAL_STATE names."""

    cloud: Embedded
    deployment: Deployment
    client: Client
    state: Path
