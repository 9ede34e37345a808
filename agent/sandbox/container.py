"""A container as what holds an attempt's processes: in the place of a control group of ours, which the engine would not be in.

The engine makes the group and takes it away when the container ends, so what is used is read while it runs, from wherever the engine has
put it (its first process leads there), and the last reading stands. How it ended, the engine says afterwards.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, Mapping, Optional

from agent import cgroups, folder
from agent.cgroups import Group, Use
from agent.engine import Engine

ASK_EVERY_S = 0.2
LAYER = "{{.GraphDriver.Data.UpperDir}}"
GONE = "No such container"
STATE = '{"Id":{{json .Id}},"State":{{json .State}}}'  # not all of it: its variables may be many


class Container(Group):
    """The container `name`, which may not exist yet, or any more."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self._name = engine, name
        self._group: Optional[Group] = None
        self._layer: Optional[folder.Watch] = None  # what it writes into the image's folders
        self._memory_mib = 0
        self._first = 0  # its first process
        self._ask_at = 0.0
        self._use = Use(0.0, 0, 0, 0)
        self._end: Mapping[str, Any] = {}
        self._heard = False

    @property
    def holds(self) -> frozenset[str]:
        """All of it: no limit of ours is needed beside."""
        return frozenset(("memory", "pids", "cpu"))

    def limit(self, cpu: float, memory_mib: int, processes_max: int) -> None:
        """Nothing to be set: the engine was told when it was asked to run."""
        self._memory_mib = memory_mib

    def doors(self) -> list[int]:
        """None: the client stays outside."""
        return []

    def use(self) -> Use:
        """What it has used, as far as it was seen."""
        group = self._found()
        if group is not None:
            seen, now = self._use, group.use()
            self._use = now._replace(
                cpu_s=max(seen.cpu_s, now.cpu_s),
                memory_peak_mib=max(seen.memory_peak_mib, now.memory_peak_mib),
                oom_kills=max(seen.oom_kills, now.oom_kills),
                pids_refused=max(seen.pids_refused, now.pids_refused),
            )
        return self._use

    def pids(self) -> set[int]:
        """All of its processes but the first, which is the engine's own."""
        group = self._found()
        return group.pids() - {self._first} if group is not None else set()

    def kill(self) -> bool:
        """End it, if it has not ended; False when it would not."""
        state = self._state()
        if state is None or state.get("Running"):
            self._engine.ask("kill", self._name)
            state = self._state()
        self._heard = state is not None
        if state is None:
            return False
        self._end = state or self._end
        if self._end.get("OOMKilled"):  # the kernel ended it between two readings
            self._use = self._use._replace(oom_kills=self._use.oom_kills or 1, memory_peak_mib=self._memory_mib)
        return not state.get("Running")

    def outgrown(self, limit_bytes: int) -> bool:
        """Whether it has written more than that into the image's folders, where it may."""
        if self._layer is None and self._found() is not None:
            path = self._engine.ask("container", "inspect", "--format", LAYER, self._name).out.strip()
            if os.path.isdir(path):
                self._layer = folder.Watch(path, limit_bytes, lambda: ())
        return self._layer is not None and self._layer()

    def remove(self) -> None:
        """Take it away, with whatever it has written."""
        self._engine.ask("rm", "--force", "--volumes", self._name)

    def fault(self, exit_code: Optional[int]) -> str:
        """Why the engine, and not the command, is to blame for this end of the client's; "" when the command has ended by itself."""
        state = self._end
        if not self._heard:
            return "Docker does not answer any more"
        if not state:
            return "Docker made no container for it" if exit_code else ""
        if state.get("Status") == "created" or str(state.get("StartedAt", "")).startswith("0001"):
            return "its container could not be started: %s" % (state.get("Error") or "Docker does not say why")
        if exit_code is not None and exit_code != state.get("ExitCode"):
            return "Docker lost its container while it ran"
        return ""

    def _state(self) -> Optional[Mapping[str, Any]]:
        """The engine's own words of it; empty where there is none, None where the engine does not answer."""
        answer = self._engine.ask("container", "inspect", "--format", STATE, self._name)
        if answer.code:
            return {} if GONE in answer.err else None
        found: Mapping[str, Any] = json.loads(answer.out)
        return {**found["State"], "Id": found["Id"]}

    def _found(self) -> Optional[Group]:
        now = time.monotonic()
        if self._group is None and now >= self._ask_at:
            self._ask_at = now + ASK_EVERY_S
            state = self._state() or {}
            pid, name = int(state.get("Pid") or 0), str(state.get("Id") or "-")
            places = cgroups.of_process(pid) if pid else None
            # A number may be another's by now; the engine's groups bear the container's id.
            if places is not None and places.folders and all(name in path for path in places.folders.values()):
                self._group, self._first = cgroups.Joined(places), pid
        return self._group
