"""The Chalice app: every route registered, every event handler declared, no logic.

Handlers declared inside a Blueprint are invoked without this module being imported, so middleware would silently not
apply to them: blueprints hold HTTP routes only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from chalice import AuthResponse, Chalice, Rate  # type: ignore[attr-defined]

sys.dont_write_bytecode = True  # Chalice imports this before it names the package by all that lies below chalicelib

from chalicelib import config, wiring
from chalicelib.api import (
    answers,
    arrays,
    auth,
    families,
    hosts,
    jobs,
    owners,
    pools,
    samples,
    schedules,
    stage,
    tokens,
)
from chalicelib.api import settings as runtime
from chalicelib.control import commands as sns_commands
from chalicelib.control import ec2_events as events
from chalicelib.control import intake, passes, pings, story
from chalicelib.control import tick as minute
from chalicelib.control import timers as due
from chalicelib.telemetry import log, metrics

settings = config.from_environment()

app = Chalice(app_name="spillway")
app.api.binary_types = []


@app.middleware("all")
def observed(event: Any, get_response: Callable[[Any], Any]) -> Any:
    """Logs carry the request's id and nothing of the last one; story and metrics are flushed even where the handler raises."""
    log.clear_state()
    context = getattr(event, "lambda_context", None) or getattr(event, "context", None)
    log.append_keys(request_id=getattr(context, "aws_request_id", None))
    try:
        return get_response(event)
    finally:
        story.flush(wiring.plane())
        if metrics.metric_set:
            metrics.flush_metrics()


@app.middleware("http")
def refused(event: Any, get_response: Callable[[Any], Any]) -> Any:
    """Every refusal is a problem document, also Chalice's own."""
    return answers.own(get_response(event))


@app.authorizer(ttl_seconds=auth.ANSWER_AGE_MAX_S)
def authorize(request: Any) -> AuthResponse:
    """Bearer tokens; API Gateway keeps the answer for a while."""
    token = auth.identify(wiring.plane(), request.token or "")
    if token is None:
        return AuthResponse(routes=[], principal_id="nobody")
    return AuthResponse(routes=["*"], principal_id=token.owner, context={"role": token.role, "owner": token.owner})


app.register_blueprint(jobs.routes(authorize))
app.register_blueprint(arrays.routes(authorize))
app.register_blueprint(pools.routes(authorize))
app.register_blueprint(hosts.routes(authorize))
app.register_blueprint(families.routes(authorize))
app.register_blueprint(schedules.routes(authorize))
app.register_blueprint(runtime.routes(authorize))
app.register_blueprint(samples.routes(authorize))
app.register_blueprint(stage.routes(authorize))
app.register_blueprint(tokens.routes(authorize))
app.register_blueprint(owners.routes(authorize))


@app.on_sqs_message(queue=settings.submissions_queue, batch_size=10, maximum_concurrency=10)
def submissions(event: Any) -> None:
    """Jobs by message."""
    records = event.to_dict()["Records"]
    intake.receive(wiring.plane(), [intake.Record(r["messageId"], r["body"], _sent_at(r)) for r in records])


def _sent_at(record: dict[str, Any]) -> float:
    """When SQS took the message; epoch seconds."""
    return int(record["attributes"]["SentTimestamp"]) / 1000


@app.on_sqs_message(queue=settings.heartbeats_queue, batch_size=10, maximum_concurrency=10)
def heartbeats(event: Any) -> None:
    """Pings from agents; the sender is what SQS itself says, which Chalice's own record hides."""
    pings.receive(
        wiring.plane(),
        [pings.Message(r["attributes"]["SenderId"], r["body"], r["messageId"]) for r in event.to_dict()["Records"]],
    )


@app.on_sqs_message(queue=settings.wakes_queue, batch_size=1)
def wakes(event: Any) -> None:
    """One pass over one pool."""
    for record in event:
        passes.receive(wiring.plane(), record.body)


@app.on_sqs_message(queue=settings.timers_queue, batch_size=10, maximum_concurrency=5)
def timers(event: Any) -> None:
    """What fell due."""
    due.receive(wiring.plane(), [(r["messageId"], r["body"]) for r in event.to_dict()["Records"]])


@app.schedule(Rate(1, unit=Rate.MINUTES))
def tick(event: Any) -> None:
    """The minute's tick."""
    minute.run(wiring.plane())


@app.on_cw_event(
    {
        "source": ["aws.ec2", "aws.autoscaling"],
        "detail-type": [
            "EC2 Instance State-change Notification",
            "EC2 Spot Instance Interruption Warning",
            "EC2 Instance Rebalance Recommendation",
            "EC2 Instance Launch Unsuccessful",
        ],
        "detail": {"state": ["stopping", "shutting-down", "terminated", {"exists": False}]},  # warnings have no state
    }
)
def ec2_events(event: Any) -> None:
    """Instances that end or have ended, and those that EC2 wants back: of every instance in the account, so few kinds and cheap ones."""
    events.receive(wiring.plane(), event.to_dict())


@app.on_sns_message(topic=settings.commands_topic)
def commands(event: Any) -> None:
    """Commands of other services."""
    sns_commands.receive(wiring.plane(), event.message)
