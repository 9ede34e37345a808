"""An SQS mapping needs the function's role to be allowed to receive, delete and look; Lambda refuses it else, and moto does not ask."""

from __future__ import annotations

import json

from localcloud.calls import AwsCall, AwsReply, refusal
from localcloud.front import Forward, Front
from localcloud.iam import Authorizer, policies_of
from localcloud.lambdas.config import deployed, function_name
from localcloud.policy import Decision, Request, evaluate

NEEDED = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")


def install(front: Front, authorizer: Authorizer) -> None:
    """Check the role before a mapping is made."""

    def check(call: AwsCall, forward: Forward) -> AwsReply:
        wanted = json.loads(call.body or b"{}")
        source = str(wanted.get("EventSourceArn", ""))
        function = deployed(function_name(str(wanted.get("FunctionName", ""))), call.region)
        if function is None or ":sqs:" not in source:
            return forward(call)
        for action in NEEDED:
            if evaluate(policies_of(function.role), Request(f"sqs:{action}", source, {})) is not Decision.ALLOW:
                sentence = f"The provided execution role does not have permissions to call {action} on SQS"
                return refusal(call, "InvalidParameterValueException", sentence, 400)
            authorizer.count(function.role, f"sqs:{action}")
        return forward(call)

    front.intercept("lambda", "CreateEventSourceMapping", check)
