"""Structured logs and metrics: one JSON line per fact, with the ids that lead to it; metrics in CloudWatch's embedded format."""

from __future__ import annotations

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import EphemeralMetrics

from chalicelib import config

_settings = config.from_environment()

log = Logger(service="spillway", level=_settings.log_level)
metrics = Metrics(namespace="Spillway", service=_settings.stage)


def pool_metrics(pool: str) -> EphemeralMetrics:
    """Metrics of one pool and one moment: of their own, because `metrics` above is one for all and its dimensions would stay."""
    of_pool = EphemeralMetrics(namespace="Spillway", service=_settings.stage)
    of_pool.add_dimension(name="pool", value=pool)
    return of_pool


def verbose(on: bool) -> None:
    """From here on this process logs at DEBUG, or again as the stage says."""
    log.setLevel("DEBUG" if on else _settings.log_level)
