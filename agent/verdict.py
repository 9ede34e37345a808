"""How an attempt ended, in one word and one sentence. Pure."""

from __future__ import annotations

import signal
from typing import Callable, NamedTuple, Optional, Tuple

from agent import folder
from agent.limits import Allowed


class Facts(NamedTuple):
    """What was seen of a command. `fault` is our own (never the user's) reason, `killed` why we ended it; `at_limit` is a file of its that
    has grown as large as files may become, "" where there is none or nobody looked."""

    exit_code: Optional[int]
    killed: str  # "" | "cancel" | "timeout" | "cpu" | "processes" | "output" | "disk" | "stopped"
    fault: str
    oom_kills: int
    memory_peak_mib: int
    cpu_s: float
    at_limit: str
    allowed: Allowed
    pids_refused: int = 0
    printed_bytes: int = 0


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
    (_is("timeout"), "timed_out", lambda f: "killed: ran longer than its timeout of %g s" % f.allowed.timeout_s),
    (lambda f: f.killed == "cpu" or _spent(f), "timed_out", lambda f: "killed: used %s of processor time" % _of(f)),
    (_is("processes"), "failed", lambda f: "killed: more than %d processes" % f.allowed.processes_max),
    (
        lambda f: f.killed == "output" or _flooded(f),
        "failed",
        lambda f: "killed: printed more than %d MiB" % f.allowed.output_mib,
    ),
    (
        _is("disk"),
        "failed",
        lambda f: (
            "killed: its work folder grew beyond %d MiB, %d files or the longest path that there can be"
            % (f.allowed.disk_bytes >> 20, folder.FILES_MAX)
        ),
    ),
    (
        lambda f: f.oom_kills > 0 and f.exit_code != 0,
        "failed",
        lambda f: "killed: used %d MiB of %d MiB" % (f.memory_peak_mib, f.allowed.memory_mib),
    ),
    (
        lambda f: bool(f.exit_code and f.pids_refused),  # it gave up before anybody looked
        "failed",
        lambda f: "could not start more than %d processes (%s)" % (f.allowed.processes_max, _died(f)),
    ),
    (
        lambda f: signal_of(f.exit_code) == signal.SIGXFSZ,
        "failed",
        lambda f: "killed: wrote a file larger than %d MiB" % (f.allowed.file_bytes >> 20),
    ),
    (
        lambda f: bool(f.exit_code and f.at_limit),
        "failed",
        lambda f: "%s could not grow beyond %d MiB (%s)" % (f.at_limit, f.allowed.file_bytes >> 20, _died(f)),
    ),
    (lambda f: f.exit_code == 0, "succeeded", lambda f: "exit code 0"),
    (lambda f: True, "failed", lambda f: _died(f)),
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


def _died(facts: Facts) -> str:
    if signal_of(facts.exit_code) is None:
        return "exit code %s" % facts.exit_code
    return "died of " + _signal_name(facts.exit_code)


def _spent(facts: Facts) -> bool:
    """Whether the kernel ended it for its processor time: where no group counts that, a limit of its processes does."""
    number, most = signal_of(facts.exit_code), facts.allowed.cpu_s
    if facts.killed or most <= 0:
        return False
    return number == signal.SIGXCPU or (number == signal.SIGKILL and most <= facts.cpu_s)


def _flooded(facts: Facts) -> bool:
    """Also who was quick, and had ended before anybody looked: the same command must not end now so, now so."""
    return not facts.killed and facts.printed_bytes > facts.allowed.output_mib << 20


def _of(facts: Facts) -> str:
    if facts.cpu_s < facts.allowed.cpu_s:  # nobody has counted
        return "more than %g s" % facts.allowed.cpu_s
    return "%.1f s of %g s" % (facts.cpu_s, facts.allowed.cpu_s)


def _signal_name(exit_code: Optional[int]) -> str:
    number = signal_of(exit_code)
    try:
        return "signal %d (%s)" % (number or 0, signal.Signals(number or 0).name)
    except ValueError:
        return "signal %d" % (number or 0)
