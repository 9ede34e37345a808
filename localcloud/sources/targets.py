"""Delivers an event to one target of an EventBridge rule: a function, a queue, or another bus."""

import json
import logging
from collections.abc import Callable
from typing import Any

from moto.backends import get_backend
from moto.events.utils import EventTemplateParser

from localcloud.identity import ACCOUNT_ID
from localcloud.lambdas.functions import Functions

log = logging.getLogger("localcloud.events")
Forward = Callable[[dict[str, Any], str, str], None]  # event, region, bus name


def deliver(target: dict[str, Any], event: dict[str, Any], functions: Functions, forward: Forward) -> None:
    """Hand `event` to `target` (as in PutTargets); a target of another kind is logged and left."""
    arn = target["Arn"].split(":", 5)
    service, region, resource = arn[2], arn[3], arn[5]
    text = json.dumps(_input(target, event))
    if service == "lambda":
        functions.invoke(target["Arn"], text.encode(), wait=False, region=region)
    elif service == "sqs":
        group = target.get("SqsParameters", {}).get("MessageGroupId")
        get_backend("sqs")[ACCOUNT_ID][region].send_message(resource, text, group_id=group)
    elif service == "sns":
        get_backend("sns")[ACCOUNT_ID][region].publish(text, target["Arn"])
    elif service == "events" and resource.startswith("event-bus/"):
        forward(event, region, resource.removeprefix("event-bus/"))
    else:
        log.warning("an event for %s was not delivered: the embedded cloud has no such target", target["Arn"])


def _input(target: dict[str, Any], event: dict[str, Any]) -> Any:
    if "Input" in target:
        return json.loads(target["Input"])
    if path := target.get("InputPath"):
        value: Any = event
        for part in path.removeprefix("$").strip(".").split("."):
            value = value.get(part) if part and isinstance(value, dict) else value
        return value
    if transformer := target.get("InputTransformer"):
        parse: Any = EventTemplateParser.parse
        return parse(transformer.get("InputTemplate"), transformer.get("InputPathsMap", {}), event)
    return event
