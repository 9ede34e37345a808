"""SenderId: moto says the same constant for everybody; SQS says who sent the message, and that is how hosts are proven.

For a role session it is its userid ("<RoleId>:<session name>"), for the developer the account's id. It is set before the message
enters its queue, because a mapping may receive it at once.
"""

from __future__ import annotations

from typing import Any

from localcloud.front import Front
from localcloud.identity import ACCOUNT_ID
from localcloud.sources.hooks import Hooks


def install(hooks: Hooks, front: Front) -> None:
    """Let moto's messages know their sender."""
    from moto.sqs.models import Message

    def around(original: Any) -> Any:
        def mark_sent(message: Message, *args: Any, **kwargs: Any) -> None:
            call = front.current()
            principal = call.principal if call is not None and call.service == "sqs" else None
            message.sender_id = ACCOUNT_ID if principal is None else principal.userid
            original(message, *args, **kwargs)

        return mark_sent

    hooks.replace(Message, "mark_sent", around)
