"""No sandbox: the command runs as the agent's user, held by control groups and limits only. For trusted jobs."""

from __future__ import annotations

from agent.sandbox import Ask, Launch, Sandbox, environment


class Unconfined(Sandbox):
    """The command as it is, in its work folder."""

    name = "none"

    def launch(self, ask: Ask) -> Launch:
        """A plain shell."""
        return Launch(
            ("/bin/sh", "-c", ask.command),
            {**environment(ask, ask.work, ask.tmp, False), **ask.secrets},
            ask.work,
            (),
            False,
        )
