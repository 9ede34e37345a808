"""Structured logs and metrics: one JSON line per fact, with the ids that lead to it; metrics in CloudWatch's embedded format."""

from __future__ import annotations

from aws_lambda_powertools import Logger, Metrics

from chalicelib import config

_settings = config.from_environment()

log = Logger(service="spillway", level=_settings.log_level)
metrics = Metrics(namespace="Spillway", service=_settings.stage)


def verbose(on: bool) -> None:
    """From here on this process logs at DEBUG, or again as the stage says."""
    log.setLevel("DEBUG" if on else _settings.log_level)
