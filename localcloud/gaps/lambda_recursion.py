"""Lambda's recursion settings, which moto does not know: kept, and answered as Lambda does.

Nothing here stops a loop, so Allow and Terminate differ in their record only.
"""

from __future__ import annotations

import json

from localcloud.calls import AwsCall, AwsReply
from localcloud.front import Forward, Front

DEFAULT = "Terminate"


def install(front: Front) -> None:
    """Answer PutFunctionRecursionConfig and GetFunctionRecursionConfig."""
    kept: dict[tuple[str, str], str] = {}

    def put(call: AwsCall, forward: Forward) -> AwsReply:
        wanted = json.loads(call.body or b"{}").get("RecursiveLoop", DEFAULT)
        kept[call.region, str(call.params["FunctionName"])] = wanted
        return _answer(wanted)

    def get(call: AwsCall, forward: Forward) -> AwsReply:
        return _answer(kept.get((call.region, str(call.params["FunctionName"])), DEFAULT))

    front.intercept("lambda", "PutFunctionRecursionConfig", put)
    front.intercept("lambda", "GetFunctionRecursionConfig", get)


def _answer(setting: str) -> AwsReply:
    return AwsReply(200, {"Content-Type": "application/json"}, json.dumps({"RecursiveLoop": setting}).encode())
