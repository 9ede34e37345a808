"""The calls of AWS's Lambda API that must run something: Invoke, and the deployment calls after which a package can be unpacked."""

from typing import TYPE_CHECKING

from localcloud.calls import AwsCall, AwsReply
from localcloud.front import Forward, Front

if TYPE_CHECKING:
    from localcloud.lambdas.functions import Functions

ERROR_TYPES = {
    404: "ResourceNotFoundException",
    413: "RequestTooLargeException",
    429: "TooManyRequestsException",
}


def register(front: Front, functions: "Functions") -> None:
    """Let `functions` answer Invoke, and unpack what is deployed, end what is deleted."""

    def invoke(call: AwsCall, _forward: Forward) -> AwsReply:
        return _invoke(call, functions)

    def prepare(call: AwsCall, reply: AwsReply) -> None:
        functions.prepare(str(reply.json()["FunctionName"]), call.region)

    def forget(call: AwsCall, _reply: AwsReply) -> None:
        functions.forget(str(call.params["FunctionName"]), call.region)

    front.intercept("lambda", "Invoke", invoke)
    for action in ("CreateFunction", "UpdateFunctionCode"):
        front.observe("lambda", action, prepare)
    front.observe("lambda", "DeleteFunction", forget)


def _invoke(call: AwsCall, functions: "Functions") -> AwsReply:
    name = str(call.params["FunctionName"])
    kind = call.environ.get("HTTP_X_AMZ_INVOCATION_TYPE", "RequestResponse")
    if kind == "DryRun":
        return AwsReply(204)
    outcome = functions.invoke(name, call.body or b"{}", wait=kind == "RequestResponse", region=call.region)
    headers = {"Content-Type": "application/json", "x-amzn-RequestId": outcome.request_id}
    if outcome.status in ERROR_TYPES:
        headers["x-amzn-ErrorType"] = ERROR_TYPES[outcome.status]
    if outcome.status == 200:
        headers["X-Amz-Executed-Version"] = "$LATEST"
    if outcome.error is not None:
        headers["X-Amz-Function-Error"] = outcome.error
    return AwsReply(outcome.status, headers, outcome.payload)
