"""Run Command's API. moto 5.2.5 answers Success for every command on every id at once; here commands run on machines.

Only what is registered can be named, at most 50 at a time, and one id that is not refuses the whole call †.
"""

import time
from collections.abc import Callable
from typing import Any

from localcloud.calls import AwsCall, AwsReply, refusal
from localcloud.identity import ACCOUNT_ID
from localcloud.instances.events import utc
from localcloud.instances.machine import Machine
from localcloud.instances.metadata import role_of_profile
from localcloud.instances.run_command import DELIVERY_S, EXECUTION_S, Command, Invocation, RunCommand

DOCUMENT = "AWS-RunShellScript"
PLUGIN = "aws:runShellScript"
INSTANCES_MAX = 50
LISTED_OUTPUT_CHARACTERS = 2_500
OUTPUT_CHARACTERS = 24_000
PAGE = 50
JSON = "application/x-amz-json-1.1"
Forward = Callable[[AwsCall], AwsReply]


class SsmActions:
    """Interceptors for SendCommand, ListCommands, ListCommandInvocations, GetCommandInvocation, DescribeInstanceInformation."""

    def __init__(self, front: Any, commands: RunCommand) -> None:
        self._commands = commands
        for action, answer in (
            ("SendCommand", self._send),
            ("ListCommands", self._list_commands),
            ("ListCommandInvocations", self._list_invocations),
            ("GetCommandInvocation", self._get_invocation),
            ("DescribeInstanceInformation", self._describe),
        ):
            front.intercept("ssm", action, answer)

    def _send(self, call: AwsCall, forward: Forward) -> AwsReply:
        params = call.params
        ids = [*params.get("InstanceIds", ())]
        parameters = params.get("Parameters", {})
        if params.get("DocumentName") not in (DOCUMENT, f"arn:aws:ssm:{call.region}::document/{DOCUMENT}"):
            return refusal(call, "InvalidDocument", "The document does not exist, or does not run shell scripts.", 400)
        if len(ids) > INSTANCES_MAX:
            text = (
                f"1 validation error detected: Value at 'instanceIds' failed to satisfy constraint: "
                f"Member must have length less than or equal to {INSTANCES_MAX}"
            )
            return refusal(call, "ValidationException", text, 400)
        if len(set(ids)) < len(ids):
            return refusal(call, "DuplicateInstanceId", "The same instance is named twice.", 400)
        if not parameters.get("commands"):
            return refusal(call, "InvalidParameters", "The parameter commands is required.", 400)
        registered = {machine.id: machine for machine in self._commands.registered(call.region)}
        unknown = [each for each in ids if each not in registered]
        if unknown:
            text = f"Instances [[{', '.join(unknown)}]] not in a valid state for account {ACCOUNT_ID}"
            return refusal(call, "InvalidInstanceId", text, 400)
        ids += [each for each in _targets(params.get("Targets", []), registered) if each not in ids]
        try:
            execution_s = float(parameters.get("executionTimeout", [EXECUTION_S])[0])
        except (ValueError, IndexError):
            return refusal(call, "InvalidParameters", "executionTimeout is a number of seconds.", 400)
        command = Command(
            region=call.region,
            document=DOCUMENT,
            comment=params.get("Comment", ""),
            parameters=parameters,
            script="\n".join(parameters["commands"]),
            folder=(parameters.get("workingDirectory") or [""])[0],
            execution_s=execution_s,
            delivery_s=float(params.get("TimeoutSeconds", DELIVERY_S)),
        )
        self._commands.start(command, ids)
        return _json({"Command": _command(command)})

    def _list_commands(self, call: AwsCall, forward: Forward) -> AwsReply:
        wanted, instance = call.params.get("CommandId"), call.params.get("InstanceId")
        if wanted and self._commands.command(wanted) is None:
            return refusal(call, "InvalidCommandId", "Invalid command id.", 400)
        found = [
            command
            for command in self._commands.commands(call.region)
            if wanted in (None, command.id)
            and (instance is None or any(each.instance_id == instance for each in command.invocations))
        ]
        return _page(call, "Commands", found, _command)

    def _list_invocations(self, call: AwsCall, forward: Forward) -> AwsReply:
        wanted, instance = call.params.get("CommandId"), call.params.get("InstanceId")
        details = bool(call.params.get("Details"))
        states = {each["value"] for each in call.params.get("Filters", []) if each.get("key") == "Status"}
        found = [
            invocation
            for command in self._commands.commands(call.region)
            if wanted in (None, command.id)
            for invocation in command.invocations
            if instance in (None, invocation.instance_id) and (not states or invocation.status in states)
        ]
        return _page(call, "CommandInvocations", found, lambda each: _listed(each, details))

    def _get_invocation(self, call: AwsCall, forward: Forward) -> AwsReply:
        command = self._commands.command(call.params.get("CommandId", ""))
        for invocation in command.invocations if command else ():
            if invocation.instance_id == call.params.get("InstanceId"):
                return _json(_invocation(invocation))
        return refusal(call, "InvocationDoesNotExist", "The command was not sent to this instance.", 400)

    def _describe(self, call: AwsCall, forward: Forward) -> AwsReply:
        filters = [(each["Key"], each["Values"]) for each in call.params.get("Filters", [])]
        filters += [(each["key"], each["valueSet"]) for each in call.params.get("InstanceInformationFilterList", [])]
        found = self._commands.registered(call.region)
        for key, values in filters:
            if key == "InstanceIds":
                found = [machine for machine in found if machine.id in values]
            elif key == "PingStatus":
                found = [machine for machine in found if _ping(machine) in values]
        return _page(call, "InstanceInformationList", found, _information)


def _targets(targets: list[dict[str, Any]], registered: dict[str, Machine]) -> list[str]:
    """Registered machines that all `targets` hold of: ids, or tags."""
    if not targets:
        return []
    found = list(registered.values())
    for target in targets:
        key, values = target.get("Key", ""), target.get("Values", [])
        if key == "InstanceIds":
            found = [machine for machine in found if machine.id in values]
        else:
            tag = key.removeprefix("tag:")
            found = [m for m in found if any(t["key"] == tag and t["value"] in values for t in m.instance.get_tags())]
    return [machine.id for machine in found]


def _page(call: AwsCall, name: str, found: list[Any], shown: Callable[[Any], dict[str, Any]]) -> AwsReply:
    token = str(call.params.get("NextToken") or "0")
    if not token.isdigit():
        return refusal(call, "InvalidNextToken", "The specified token is not valid.", 400)
    start, size = int(token), int(call.params.get("MaxResults") or PAGE)
    more = {"NextToken": str(start + size)} if start + size < len(found) else {}
    return _json({name: [shown(each) for each in found[start : start + size]], **more})


def _json(document: Any) -> AwsReply:
    return AwsReply.of_json(document, content_type=JSON)


def _command(command: Command) -> dict[str, Any]:
    ended = [invocation for invocation in command.invocations if invocation.final]
    return {
        "CommandId": command.id,
        "DocumentName": command.document,
        "DocumentVersion": "$DEFAULT",
        "Comment": command.comment,
        "ExpiresAfter": command.requested_at + command.delivery_s + command.execution_s,
        "Parameters": command.parameters,
        "InstanceIds": [invocation.instance_id for invocation in command.invocations],
        "RequestedDateTime": command.requested_at,
        "Status": command.status,
        "StatusDetails": command.status,
        "TargetCount": len(command.invocations),
        "CompletedCount": len(ended),
        "ErrorCount": sum(invocation.status != "Success" for invocation in ended),
        "TimeoutSeconds": int(command.delivery_s),
    }


def _listed(invocation: Invocation, details: bool) -> dict[str, Any]:
    output = invocation.output
    if invocation.errors:
        output += f"\n----------ERROR-------\n{invocation.errors}"
    plugin = {
        "Name": PLUGIN,
        "Status": invocation.status,
        "StatusDetails": invocation.details,
        "ResponseCode": invocation.exit_code,
        "ResponseStartDateTime": invocation.started_at or invocation.command.requested_at,
        "ResponseFinishDateTime": invocation.ended_at or 0,
        "Output": output[:LISTED_OUTPUT_CHARACTERS],
    }
    return {
        "CommandId": invocation.command.id,
        "InstanceId": invocation.instance_id,
        "Comment": invocation.command.comment,
        "DocumentName": invocation.command.document,
        "RequestedDateTime": invocation.command.requested_at,
        "Status": invocation.status,
        "StatusDetails": invocation.details,
        "CommandPlugins": [plugin] if details else [],
    }


def _invocation(invocation: Invocation) -> dict[str, Any]:
    started, ended = invocation.started_at, invocation.ended_at
    elapsed_s = (ended or time.time()) - started if started else 0.0
    return {
        "CommandId": invocation.command.id,
        "InstanceId": invocation.instance_id,
        "Comment": invocation.command.comment,
        "DocumentName": invocation.command.document,
        "DocumentVersion": "$DEFAULT",
        "PluginName": PLUGIN,
        "ResponseCode": invocation.exit_code,
        "ExecutionStartDateTime": utc(started) if started else "",
        "ExecutionElapsedTime": f"PT{elapsed_s:.3f}S",
        "ExecutionEndDateTime": utc(ended) if ended else "",
        "Status": invocation.status,
        "StatusDetails": invocation.details,
        "StandardOutputContent": invocation.output[:OUTPUT_CHARACTERS],
        "StandardErrorContent": invocation.errors[:OUTPUT_CHARACTERS],
    }


def _ping(machine: Machine) -> str:
    return "Online" if machine.channel is not None else "ConnectionLost"


def _information(machine: Machine) -> dict[str, Any]:
    return {
        "InstanceId": machine.id,
        "PingStatus": _ping(machine),
        "LastPingDateTime": time.time(),
        "AgentVersion": "3.3.0.0",
        "IsLatestVersion": True,
        "PlatformType": "Linux",
        "PlatformName": "Amazon Linux",
        "PlatformVersion": "2023",
        "ResourceType": "EC2Instance",
        "IPAddress": machine.instance.private_ip,
        "ComputerName": machine.instance.private_dns_name,
        "IamRole": role_of_profile(machine.profile_arn) if machine.profile_arn else "",
        "RegistrationDate": machine.registered_at,
    }
