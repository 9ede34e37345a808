"""A stage's settings: read once from the environment, all names derived from the stage."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What bootstrap wrote for this stage (docs/contracts.md §1). A missing fact is empty: app.py is imported to be deployed, too."""

    stage: str = "dev"
    region: str = "us-east-1"
    account: str = ""
    bucket: str = ""
    host_role_id: str = ""
    agent_sha256: str = ""
    submissions_url: str = ""
    heartbeats_url: str = ""
    wakes_url: str = ""
    timers_url: str = ""
    dead_letter_urls: tuple[str, ...] = ()
    notices_arn: str = ""
    s3_inputs: tuple[str, ...] = ()  # places that jobs may take objects from (core/s3_places.py)
    grading_bucket: str = ""  # of a PrairieLearn installation, `<region>:<bucket>/`
    grading_results_url: str = ""  # its results queue
    webhook_hosts: tuple[str, ...] = ()  # that need be neither public nor HTTPS
    log_level: str = "INFO"

    @property
    def prefix(self) -> str:
        return f"spillway-{self.stage}"

    def table(self, noun: str) -> str:
        return f"{self.prefix}-{noun}"

    @property
    def submissions_queue(self) -> str:
        return f"{self.prefix}-submissions"

    @property
    def heartbeats_queue(self) -> str:
        return f"{self.prefix}-heartbeats"

    @property
    def wakes_queue(self) -> str:
        return f"{self.prefix}-wakes.fifo"

    @property
    def timers_queue(self) -> str:
        return f"{self.prefix}-timers"

    @property
    def commands_topic(self) -> str:
        return f"{self.prefix}-commands"


def from_environment(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the stage's settings; see docs/contracts.md §1 for each variable."""
    return Settings(
        stage=env.get("SPILLWAY_STAGE", "dev"),
        region=env.get("SPILLWAY_REGION") or env.get("AWS_REGION", "us-east-1"),
        account=env.get("SPILLWAY_ACCOUNT_ID", ""),
        bucket=env.get("SPILLWAY_BUCKET", ""),
        host_role_id=env.get("SPILLWAY_HOST_ROLE_ID", ""),
        agent_sha256=env.get("SPILLWAY_AGENT_SHA256", ""),
        submissions_url=env.get("SPILLWAY_SUBMISSIONS_URL", ""),
        heartbeats_url=env.get("SPILLWAY_HEARTBEATS_URL", ""),
        wakes_url=env.get("SPILLWAY_WAKES_URL", ""),
        timers_url=env.get("SPILLWAY_TIMERS_URL", ""),
        dead_letter_urls=tuple(u for u in env.get("SPILLWAY_DEAD_LETTER_URLS", "").split(",") if u),
        s3_inputs=tuple(place for place in env.get("SPILLWAY_S3_INPUTS", "").split(",") if place),
        notices_arn=env.get("SPILLWAY_NOTICES_ARN", ""),
        grading_bucket=env.get("SPILLWAY_GRADING_BUCKET", ""),
        grading_results_url=env.get("SPILLWAY_GRADING_RESULTS_URL", ""),
        webhook_hosts=tuple(h for h in env.get("SPILLWAY_WEBHOOK_HOSTS", "").split(",") if h),
        log_level=env.get("SPILLWAY_LOG_LEVEL", "INFO"),
    )
