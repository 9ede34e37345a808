"""Starting and ending processes from a small single-threaded supervisor (a machine's init, the hypervisor)."""

import contextlib
import os
import signal
import sys

EXEC_FAILED = 127


def start(
    arguments: list[str], environment: dict[str, str], folder: str, output: int | None = None, errors: int | None = None
) -> int:
    """Run `arguments` in a session of its own and answer its pid. Output goes where ours goes unless a descriptor is given."""
    pid = os.fork()
    if pid:
        return pid
    try:
        _become(arguments, environment, folder, output, errors)
    except BaseException as error:  # a forked child must never return into its parent's loop
        with contextlib.suppress(OSError):
            os.write(2, f"{arguments[0]}: {error}\n".encode())
    finally:
        os._exit(EXEC_FAILED)


def _become(
    arguments: list[str], environment: dict[str, str], folder: str, output: int | None, errors: int | None
) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    if output is not None:
        os.dup2(output, 1)
    if errors is not None:
        os.dup2(errors, 2)
    os.chdir(folder if os.path.isdir(folder) else "/")
    try:
        os.execvpe(arguments[0], arguments, environment)  # noqa: S606 - no shell is meant
    except FileNotFoundError:
        interpreted = _found_interpreter(arguments, environment.get("PATH", ""))
        if not interpreted:
            raise
        os.execve(interpreted[0], interpreted, environment)  # noqa: S606 - no shell is meant


def _found_interpreter(arguments: list[str], path: str) -> list[str]:
    """What Amazon Linux has at another place than this host (/usr/bin/python3) is taken from PATH: a program, or a script's own."""
    if not os.path.exists(arguments[0]):
        return _on_path(arguments[0], path, arguments[1:])
    try:
        with open(arguments[0], "rb") as file:
            first = file.readline(256)
    except OSError:
        return []
    if not first.startswith(b"#!"):
        return []
    words = first[2:].decode(errors="replace").split()
    return _on_path(words[0], path, [*words[1:], *arguments]) if words else []


def _on_path(program: str, path: str, arguments: list[str]) -> list[str]:
    for folder in path.split(":"):
        found = f"{folder}/{os.path.basename(program)}"
        if os.access(found, os.X_OK):
            return [found, *arguments]
    return []


def exit_code(status: int) -> int:
    """A wait status as a shell tells it: the code, or 128 + the signal."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def signal_group(pid: int, number: int) -> None:
    """Signal the whole session that `start` made."""
    with contextlib.suppress(OSError):
        os.killpg(pid, number)


def descendants(ancestor: int) -> list[int]:
    """All processes below `ancestor`, from /proc; empty where there is none."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if sys.platform == "linux" else ():
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat") as file:
            # The command's name may hold spaces and brackets: the fields begin after the last one.
            fields = file.read().rpartition(")")[2].split()
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    todo = [ancestor]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def with_variable(name: str, value: str) -> list[int]:
    """Processes whose environment says `name=value` (how a service's scattered children are found)."""
    wanted = f"{name}={value}".encode()
    found = []
    for entry in os.listdir("/proc") if sys.platform == "linux" else ():
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.append(int(entry))
    return found
