"""How an attempt ended, in one word and one sentence. Pure."""

from __future__ import annotations

import signal
from typing import Callable, NamedTuple, Optional, Tuple

from agent import folder


class Facts(NamedTuple):
    """What was seen of a command. `fault` is our own (never the user's) reason, `killed` why we ended it."""

    exit_code: Optional[int]
    killed: str  # "" | "cancel" | "timeout" | "processes" | "disk" | "stopped"
    fault: str
    oom_kills: int
    memory_peak_mib: int
    memory_mib: int
    timeout_s: float
    processes_max: int
    work_limit_bytes: int


class Verdict(NamedTuple):
    """`outcome` and `reason` of a finish ping."""

    outcome: str
    reason: str

    @property
    def its_own(self) -> bool:
        """Whether the command came to its own end, good or bad: whoever ends one says `killed`."""
        return self.outcome in ("succeeded", "failed") and not self.reason.startswith("killed")


def _is(killed: str) -> Callable[[Facts], bool]:
    return lambda f: f.killed == killed


RULES: Tuple[Tuple[Callable[[Facts], bool], str, Callable[[Facts], str]], ...] = (
    (lambda f: bool(f.fault), "infrastructure", lambda f: f.fault),
    (_is("stopped"), "infrastructure", lambda f: "killed: the agent on this host was stopped"),
    (_is("cancel"), "cancelled", lambda f: "cancelled while it ran"),
    (_is("timeout"), "timed_out", lambda f: "killed: ran longer than its timeout of %g s" % f.timeout_s),
    (_is("processes"), "failed", lambda f: "killed: more than %d processes" % f.processes_max),
    (
        _is("disk"),
        "failed",
        lambda f: (
            "killed: its work folder grew beyond %d MiB, %d files or the longest path that there can be"
            % (f.work_limit_bytes >> 20, folder.FILES_MAX)
        ),
    ),
    (
        lambda f: f.oom_kills > 0 and f.exit_code != 0,
        "failed",
        lambda f: "killed: used %d MiB of %d MiB" % (f.memory_peak_mib, f.memory_mib),
    ),
    (lambda f: f.exit_code == 0, "succeeded", lambda f: "exit code 0"),
    (lambda f: signal_of(f.exit_code) is not None, "failed", lambda f: "died of " + _signal_name(f.exit_code)),
    (lambda f: True, "failed", lambda f: "exit code %s" % f.exit_code),
)


def decide(facts: Facts) -> Verdict:
    """The first rule that matches."""
    for matches, outcome, reason in RULES:
        if matches(facts):
            return Verdict(outcome, reason(facts))
    raise AssertionError("the last rule always matches")


def signal_of(exit_code: Optional[int]) -> Optional[int]:
    """The signal in a shell's exit code (128 + number), None where there is none."""
    if exit_code is None or not 128 < exit_code <= 128 + 64:
        return None
    return exit_code - 128


def _signal_name(exit_code: Optional[int]) -> str:
    number = signal_of(exit_code)
    try:
        return "signal %d (%s)" % (number or 0, signal.Signals(number or 0).name)
    except ValueError:
        return "signal %d" % (number or 0)
