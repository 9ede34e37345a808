"""How an install's script is started so that its failing line can be named, and which line that was. Pure.

A shell script runs under bash's own trace (`set -x`), which goes into a file of ours by a descriptor that scripts do not use: what the
script prints, and where, stays as it is. The setting comes by $BASH_ENV, which only this very shell reads and which it takes back at
once, so neither the script's environment nor programs that it starts know of it. bash does all that for `sh` scripts too: in its POSIX
mode, and with the `echo` of the system's `sh`. Anything else (Python, …) is started as it is, and told by its exit code and last words.

Each line of the trace begins with MARK, the exit code of the command *before*, and the script's line: so a command's own exit code is
at the beginning of what follows it.
"""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple, Optional, Sequence

TRACE_FD = 187  # far from those that people use
MARK = "\x01"
COMMAND_MAX = 160  # characters of a command in a sentence
SAID_MAX = 200
STEP = re.compile(r"\x01+(\d+)\|(\d+)\|([^|]*)\|(.*)")


class Start(NamedTuple):
    """The argument vector, and what the file at $BASH_ENV says; "" where there is no trace."""

    argv: tuple[str, ...]
    setup: str


class Step(NamedTuple):
    """A command of the script: the file that it stands in and the line, itself, and the exit code of the one before."""

    file: str
    line: int
    command: str
    before: int


def start(path: str, first_line: str, bash: Optional[str], sh_is_bash: bool, trace: str) -> Start:
    """How the script at `path` is started. `bash`: where that is, None where it is not."""
    words = _interpreter(first_line)
    shell = words[0].rpartition("/")[2]
    if shell not in ("sh", "dash", "bash") or bash is None:
        return Start((*words, path), "")
    lines = [
        "unset BASH_ENV",
        "exec %d>>%s" % (TRACE_FD, shlex.quote(trace)),
        "PS4='%s$?|$LINENO|${BASH_SOURCE[0]##*/}|'" % MARK,
        "BASH_XTRACEFD=%d" % TRACE_FD,
    ]
    if shell != "bash":
        lines.append("set -o posix")
        if not sh_is_bash:
            lines.append("shopt -s xpg_echo")
    lines.append("set -x")
    return Start((bash, *words[1:], path), "\n".join(lines) + "\n")


def _interpreter(first_line: str) -> tuple[str, ...]:
    """What a script's first line names, with its argument; the shell where it names nothing."""
    if not first_line.startswith("#!"):
        return ("/bin/sh",)
    words = first_line[2:].split(None, 1)
    if not words:
        return ("/bin/sh",)
    if words[0].rpartition("/")[2] == "env" and len(words) > 1:
        rest = words[1].split()
        rest = rest[1:] if rest[0] == "-S" else rest
        return tuple(rest) if rest else ("/bin/sh",)
    return tuple(word.strip() for word in words)


def steps(trace: str) -> list[Step]:
    """The commands of a trace, or of its end, in the order in which they began."""
    found = []
    for line in trace.split("\n"):
        step = STEP.match(line)
        if step is not None:
            found.append(Step(step.group(3), int(step.group(2)), step.group(4), int(step.group(1))))
    return found


def blame(name: str, exit_code: Optional[int], killed: str, timeout_s: float, trace: str, said: str) -> str:
    """Why the script `name` failed, as a sentence: "setup.sh line 7: `apt-get install foo` exited with 100: E: …"."""
    done = steps(trace)
    if killed:
        where = _at(name, done[-1]) if done else name
        return "%s %s" % (where, ENDED.get(killed, "was ended (%s)" % killed) % {"timeout_s": timeout_s})
    last = _last_words(said)
    code = "exited with %s" % exit_code
    if not done:
        return "%s %s%s" % (name, code, last)
    guilty, own = _guilty(done, exit_code)
    if own is None or own == exit_code:
        return "%s %s%s" % (_at(name, guilty), code, last)
    return "%s exited with %d, and the script with %s%s" % (_at(name, guilty), own, exit_code, last)


ENDED = {
    "timeout": "did not end within %(timeout_s)g s",
    "disk": "filled the disk of the host",
    "processes": "started too many processes",
}


def _guilty(done: Sequence[Step], exit_code: Optional[int]) -> tuple[Step, Optional[int]]:
    """The command that the script's end is due to, and its own exit code where the trace tells.

    The last one; but not where that is an `exit`, or a trap's: then the last one that failed.
    """
    trapped = any(re.match(r"trap .*\b(EXIT|0)$", step.command, re.S) for step in done)
    if trapped or done[-1].command.split(" ")[0] == "exit":
        for number in range(len(done) - 1, 0, -1):
            code = done[number].before
            if code and (not trapped or code == exit_code):
                return done[number - 1], code
    return done[-1], None


def _at(name: str, step: Step) -> str:
    text = step.command if len(step.command) <= COMMAND_MAX else step.command[: COMMAND_MAX - 1] + "…"
    inner = "" if step.file == name.rpartition("/")[2] else ", %s" % step.file  # a file that it has sourced
    return "%s%s line %d: `%s`" % (name, inner, step.line, text)


def _last_words(said: str) -> str:
    lines = [line.strip() for line in said.split("\n") if line.strip()]
    return ": " + lines[-1][:SAID_MAX] if lines else ""
