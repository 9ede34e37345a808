"""SNS topics with Lambda subscriptions. Filter policies are moto's; subscriptions of other kinds are left to it."""

import datetime as dt
import json
from typing import Any

from moto.sns.models import Subscription

from localcloud.lambdas.functions import Functions
from localcloud.sources.hooks import Hooks


class SnsSources:
    """Invokes subscribed functions asynchronously, from `start` to `stop`."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._hooks = Hooks()

    def start(self) -> None:
        def around(original: Any) -> Any:
            def publish(subscription: Subscription, message: str, message_id: str, **rest: Any) -> None:
                if subscription.protocol != "lambda":
                    original(subscription, message, message_id, **rest)
                elif self._wanted(subscription, message, rest.get("message_attributes")):
                    self._invoke(subscription, message, message_id, rest)

            return publish

        self._hooks.replace(Subscription, "publish", around)

    def stop(self) -> None:
        self._hooks.restore()

    def _wanted(self, subscription: Subscription, message: str, attributes: dict[str, Any] | None) -> bool:
        matcher = subscription._filter_policy_matcher
        return matcher is None or bool(matcher.matches(attributes, message))

    def _invoke(self, subscription: Subscription, message: str, message_id: str, rest: dict[str, Any]) -> None:
        if rest.get("message_structure") == "json":
            message = subscription._parse_message_structure(message, "lambda")
        event = {"Records": [record(subscription, message, message_id, rest)]}
        region = subscription.endpoint.split(":")[3]
        self._functions.invoke(subscription.endpoint, json.dumps(event).encode(), wait=False, region=region)


def record(subscription: Subscription, message: str, message_id: str, rest: dict[str, Any]) -> dict[str, Any]:
    """A published message as a subscribed function sees it."""
    attributes = rest.get("message_attributes") or {}
    region = subscription.topic.arn.split(":")[3]
    unsubscribe = f"https://sns.{region}.amazonaws.com/?Action=Unsubscribe&SubscriptionArn={subscription.arn}"
    return {
        "EventSource": "aws:sns",
        "EventVersion": "1.0",
        "EventSubscriptionArn": subscription.arn,
        "Sns": {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": subscription.topic.arn,
            "Subject": rest.get("subject"),
            "Message": message,
            "Timestamp": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "SignatureVersion": "1",
            "Signature": "",  # nobody can verify it here
            "SigningCertUrl": "",
            "UnsubscribeUrl": unsubscribe,
            "MessageAttributes": {
                name: {"Type": value["Type"], "Value": _text(value["Value"])} for name, value in attributes.items()
            },
        },
    }


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
