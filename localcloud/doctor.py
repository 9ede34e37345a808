"""`python -m localcloud.doctor`: which system packages are missing here, how to get them, and what goes without them.

It looks whether a program works, not only whether there is one: bubblewrap is installed on many machines that forbid it namespaces.
Always exits 0; nothing that it misses keeps the rest from working.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

TRY_S = 10.0
BWRAP_ARGUMENTS = (
    "--unshare-all",
    "--die-with-parent",
    "--ro-bind",
    "/",
    "/",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "true",
)
C_COMPILERS = ("cc", "gcc", "clang")
INSTALLERS = {"apt-get": "sudo apt-get install {debian}", "dnf": "sudo dnf install {fedora}"}


@dataclass(frozen=True)
class Finding:
    """One thing that is needed: `lack` is "" when it works, else a sentence; `costs` says what goes without it."""

    name: str
    debian: str
    fedora: str
    lack: str
    costs: str

    @property
    def works(self) -> bool:
        """Whether nothing is to be done."""
        return not self.lack


def examine() -> list[Finding]:
    """Look at this machine; takes well under a second."""
    return [
        Finding(
            "bubblewrap",
            "bubblewrap",
            "bubblewrap",
            bubblewrap_lack(),
            "hostile example submissions are skipped, untrusted jobs run as plain processes",
        ),
        Finding(
            "C compiler",
            "gcc libc6-dev",
            "gcc glibc-devel",
            compiler_lack(),
            "the C assignment of the examples is skipped, the Python one is graded",
        ),
    ]


def bubblewrap_lack() -> str:
    """Why bubblewrap does not sandbox here; "" when it does."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    why = _fails(["bwrap", *BWRAP_ARGUMENTS])
    return f"bubblewrap is installed, but may not make namespaces here ({why})" if why else ""


def compiler_lack() -> str:
    """Why no C program can be compiled here; "" when one can."""
    compiler = next((name for name in C_COMPILERS if shutil.which(name)), None)
    if compiler is None:
        return "there is no C compiler"
    program = b'#include <stdio.h>\nint main(void) { return puts("") < 0; }\n'
    why = _fails([compiler, "-x", "c", "-o", "/dev/null", "-"], program)
    return f"{compiler} is installed, but compiles nothing ({why})" if why else ""


def _fails(command: list[str], given: bytes = b"") -> str:
    """The last line of what a command says when it fails; "" when it succeeds."""
    try:
        ran = subprocess.run(command, input=given, capture_output=True, timeout=TRY_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if ran.returncode == 0:
        return ""
    said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
    return said[-1] if said else f"exit code {ran.returncode}"


def report(findings: list[Finding], which: Callable[[str], str | None] = shutil.which) -> list[str]:
    """What to tell, a line each."""
    lines = [f"ok       {f.name}" for f in findings if f.works]
    lacking = [f for f in findings if not f.works]
    lines += [f"missing  {f.lack}: {f.costs}" for f in lacking]
    absent = [f for f in lacking if "is installed, but" not in f.lack]
    if absent:
        debian = " ".join(f.debian for f in absent)
        fedora = " ".join(f.fedora for f in absent)
        commands = [text.format(debian=debian, fedora=fedora) for tool, text in INSTALLERS.items() if which(tool)]
        commands = commands or [text.format(debian=debian, fedora=fedora) for text in INSTALLERS.values()]
        lines.append("to install: " + "   or: ".join(commands))
    return lines


def main() -> int:
    """Print the report."""
    for line in report(examine()):
        print(line)  # noqa: T201  # a command speaks on its terminal
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:  # `make` says that it was interrupted
        raise SystemExit(130) from None
