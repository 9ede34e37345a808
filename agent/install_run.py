"""One try of an install: its folder made anew, its script run as the agent's own user in a group of its own, its log stored."""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import shutil
import threading
from typing import Callable, NamedTuple, Optional, Sequence

from agent import folder
from agent.cgroups import Group, Places
from agent.clock import since_boot
from agent.health import short_of
from agent.install_trace import blame, start
from agent.log_cut import LogCut
from agent.manifest import Install
from agent.sandbox import PATH, Launch
from agent.supervise import Bounds, Stopper, run_plain, told_to

FLUSH_EVERY_S = 5.0
PROCESSES_MAX = 4096
TAIL_BYTES = 64 * 1024  # of the trace, for sentences
TRACE_MAX_BYTES = 4 << 20
SAID_MAX_BYTES = 4096


class Site(NamedTuple):
    """Where an install lives on the host."""

    top: str

    @property
    def inputs(self) -> str:
        return self.top + "/inputs"

    @property
    def folder(self) -> str:
        return self.top + "/folder"

    @property
    def log(self) -> str:
        return self.top + "/log"

    @property
    def trace(self) -> str:
        return self.top + "/trace"

    @property
    def ready(self) -> str:
        return self.top + "/READY"


class Runner(NamedTuple):
    """What all installs of a host are run with. `put(version, bytes)` stores a log, whole; raises."""

    groups: Places
    group_prefix: str
    memory_mib: int
    log_limit_bytes: int
    put: Callable[[str, bytes], None]

    def once(self, site: Site, install: Install, name: str, shown: str, number: int, stopper: Stopper) -> str:
        """Try number `number`; "" when it ended well, else why not, as a sentence that names the script's line."""
        _fill(site)
        script = _script(site, install)
        with open(script, "rb") as file:
            first_line = file.readline(1024).decode("utf-8", "replace").strip()
        bash = shutil.which("bash", path=PATH)
        sh_is_bash = os.path.realpath("/bin/sh").rpartition("/")[2] == "bash"
        how = start(script, first_line, bash, sh_is_bash, site.trace)
        environment = _environment(site)
        if how.setup:
            setup = site.top + "/setup"
            with open(setup, "w", encoding="utf-8") as text:
                text.write(how.setup)
            environment["BASH_ENV"] = setup
        open(site.trace, "wb").close()
        log = _Log(site, self.log_limit_bytes, number, self.put)
        version = os.path.basename(site.top)
        group: Optional[Group] = None
        try:
            if self.groups.folders:
                group = Group(self.groups, "%sinstall-%s" % (self.group_prefix, version[:16]))
                group.limit(0, self.memory_mib, PROCESSES_MAX)
            launch = Launch(_at(how.argv, site.folder, shown), environment, site.folder, (), False)
            bounds = Bounds(since_boot() + install.timeout_s, lambda: _look(site, group), lambda why: None)
            pairs = [(resource.RLIMIT_CORE, 0)]
            ended = run_plain(launch, group, pairs, lambda pid: bounds, stopper, told_to(log.feed))
        except FileNotFoundError as error:
            return "%s cannot be run: there is no %s on this host" % (name, error.filename or how.argv[0])
        finally:
            if group is not None:
                group.kill()
                group.remove()
            log.end()
            with contextlib.suppress(OSError):  # what `_at` may have made, empty on the outside
                os.rmdir(shown)
        if ended.exit_code == 0 and not ended.killed:
            return ""
        return blame(name, ended.exit_code, ended.killed, install.timeout_s, _tail(site.trace), log.said)


def _at(argv: Sequence[str], inside: str, shown: str) -> Sequence[str]:
    """The same with `inside` to be seen at `shown` too, where the agent may do that: in a mount namespace of its own."""
    unshare = shutil.which("unshare", path=PATH) if shown and os.geteuid() == 0 else None
    if unshare is None:
        return argv
    show = 'mkdir -p "$1" && mount --bind "$2" "$1" && cd "$1"; shift 2; exec "$@"'
    return (unshare, "--mount", "--propagation", "private", "/bin/sh", "-c", show, "sh", shown, inside, *argv)


def _fill(site: Site) -> None:
    folder.remove(site.folder)
    if os.path.isdir(site.inputs):
        shutil.copytree(site.inputs, site.folder, symlinks=True)
    else:
        os.makedirs(site.folder)
    os.chmod(site.folder, 0o755)


def _script(site: Site, install: Install) -> str:
    if install.path:
        return os.path.join(site.folder, install.path)
    path = site.top + "/install.sh"
    with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(install.script)
    os.chmod(path, 0o700)
    return path


def _environment(site: Site) -> dict[str, str]:
    """Nothing of the agent's own environment; package managers ask nobody."""
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        home = "/"
    return {
        "PATH": PATH,
        "HOME": home,
        "LANG": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "SPILLWAY_INSTALL_DIR": site.folder,
    }


def _look(site: Site, group: Optional[Group]) -> str:
    """Which limit was exceeded, "" while none was; a trace that has grown long begins anew."""
    with contextlib.suppress(OSError):
        if os.path.getsize(site.trace) > TRACE_MAX_BYTES:
            os.truncate(site.trace, 0)
    if group is not None and group.use().pids_refused > 0:
        return "processes"
    return "disk" if short_of(site.top) else ""


def _tail(path: str) -> str:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - TAIL_BYTES))
        return file.read().decode("utf-8", "replace")
    return ""


class _Log:
    """All tries' output, one after the other, kept as a file and stored whole: every few seconds while it grows, and at the end."""

    def __init__(self, site: Site, limit_bytes: int, number: int, put: Callable[[str, bytes], None]) -> None:
        self._path, self._version, self._put = site.log, os.path.basename(site.top), put
        self._cut = LogCut(limit_bytes)
        self._said = bytearray()
        self._ended = threading.Event()
        self._stored = -1
        self._file = open(self._path, "ab" if number > 1 else "wb", buffering=0)  # noqa: SIM115  # closed by end()
        if number > 1:
            self._write(b"[spillway: try %d]\n" % number)
        self._begins_at = self._file.tell()
        self._came = 0
        self._flusher = threading.Thread(target=self._flush_all, name="install-log", daemon=True)
        self._flusher.start()

    @property
    def said(self) -> str:
        """The end of what this try has printed."""
        return self._said.decode("utf-8", "replace")

    def feed(self, data: bytes) -> None:
        """Output of the script."""
        self._said.extend(data)
        del self._said[:-SAID_MAX_BYTES]
        room = self._cut.limit - self._came
        self._came += len(data)
        if room > 0:
            self._write(data[:room])

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk ends the install by itself
            self._file.write(data)

    def end(self) -> None:
        """Store the rest."""
        stays, line = self._cut.end(self._came)
        if line:
            with contextlib.suppress(OSError):
                self._file.truncate(self._begins_at + stays)
        self._write(line)
        self._file.close()
        self._ended.set()
        self._flusher.join()

    def _flush_all(self) -> None:
        while True:
            ended = self._ended.wait(FLUSH_EVERY_S)
            with contextlib.suppress(
                Exception
            ):  # it is told by its sentence; the log comes with the next flush, or not
                with open(self._path, "rb") as file:
                    data = file.read()
                if len(data) != self._stored and (data or ended):
                    self._put(self._version, data)
                    self._stored = len(data)
            if ended:
                return
