"""Running other systems' graders: what adapters say is done here, to the work folder before a job's command and to what it has left
after."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import stat
import subprocess
import sys
import threading
from typing import Any, NamedTuple, Optional

from agent import adapters, outputs
from agent.adapters import Broken, Found, Seen
from agent.inputs import NotUsable
from agent.manifest import Assignment
from agent.unpack import Hostile, place, safe_parts
from agent.verdict import Verdict

PROGRAM_MAX_BYTES = 64 << 20
HERE_MAX_BYTES = 32 << 10  # a hostile megabyte of JSON is forty of Python's memory, which the agent would not give back
APART_TIMEOUT_S = 20
APART_MEMORY_BYTES = 512 << 20


class Judged(NamedTuple):
    """`cause` of an infrastructure fault: "grader", "" where it is ours."""

    verdict: Verdict
    result: Optional[dict[str, Any]] = None
    cause: str = ""


_one_at_a_time = threading.Lock()


def lay_out(assignment: Assignment, work: str) -> None:
    """What its adapter wants of the filled work folder. Raises Broken, NotUsable, OSError."""
    adapter = adapters.of(assignment.adapter)
    found = frozenset(path for asked in adapter.asked(assignment) for path in _files(work, asked))
    layout = adapter.layout(assignment, Found(found))
    try:
        if adapter.raw and os.path.lexists(os.path.join(work, adapter.raw)):
            _forget(place(work, adapter.raw))
        for folder in layout.folders:
            os.makedirs(place(work, folder), exist_ok=True)
        for path, text in layout.files:
            if not os.path.lexists(place(work, path)):
                with open(place(work, path), "x", encoding="utf-8", errors="surrogatepass") as file:
                    file.write(text)
        for source, target in layout.programs:
            _program(work, source, target, layout.texts)
    except (FileExistsError, Hostile) as error:
        raise NotUsable(
            "bad_input", "its inputs are not laid out as %s wants them: %s" % (adapter.name, error)
        ) from error


def _forget(path: str) -> None:
    """Results that lie there before anything has run are nobody's results."""
    if os.path.isdir(path) and not os.path.islink(path):
        raise Hostile("there is a folder where results are written")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def is_graders(assignment: Assignment, path: str) -> bool:
    """Whether the input at `path` belongs to the grader."""
    try:
        top = (safe_parts(path) or ["."])[0]
    except Hostile:
        return False
    return top in adapters.of(assignment.adapter).own


def judged(assignment: Assignment, work: str, found: Verdict, exit_code: Optional[int], last: bytes) -> Judged:
    """What a grader's end means. One that was ended by a limit, by us or by somebody has no result, and is not broken."""
    if not found.its_own:
        return Judged(found)
    adapter = adapters.of(assignment.adapter)
    data, problem = outputs.read_file(work, adapter.raw, adapters.RAW_MAX_BYTES)
    left = Left(assignment.adapter, exit_code, last.decode("utf-8", "replace"), problem)
    try:
        result = _marked(left, data) if data is None or len(data) <= HERE_MAX_BYTES else _marked_apart(left, data)
    except Broken as error:
        return Judged(Verdict("infrastructure", "its grader is broken: %s" % error), cause="grader")
    return Judged(Verdict("succeeded", _graded(result) + ("" if exit_code == 0 else "; %s" % found.reason)), result)


class Left(NamedTuple):
    """What an ended grader left, beside its results file."""

    adapter: str
    exit_code: Optional[int]
    said: str
    problem: str


def _marked(left: Left, data: Optional[bytes]) -> dict[str, Any]:
    """Raises Broken."""
    adapter, value, problem = adapters.of(left.adapter), None, left.problem
    if data is not None:
        value, problem = outputs.parsed(data, adapter.raw)
    return adapter.mark(Seen(value, problem, left.said, left.exit_code))


def _marked_apart(left: Left, data: bytes) -> dict[str, Any]:
    """The same in a process of its own. Raises Broken, OSError."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # the agent's zip, or a checkout
    program = "import sys; sys.path.insert(0, sys.argv[1]); from agent.graded import apart; apart()"
    try:
        with _one_at_a_time:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", program, home],
                input=json.dumps(left).encode() + b"\n" + data,  # an argument may not be as long as what it has printed
                capture_output=True,
                timeout=APART_TIMEOUT_S,
            )
    except subprocess.TimeoutExpired:
        raise Broken("its results cannot be read within %d s" % APART_TIMEOUT_S) from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Broken("its results cannot be read: %s" % (said[-1][:200] if said else "exit code %d" % done.returncode))
    answer = json.loads(done.stdout)
    if "broken" in answer:
        raise Broken(answer["broken"])
    found: dict[str, Any] = answer["result"]
    return found


def apart() -> None:
    """In that process: what is left and, on the next line, the results on stdin; what they mean on stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (APART_MEMORY_BYTES, APART_MEMORY_BYTES))
    answer: dict[str, Any]
    try:
        left = Left(*json.loads(sys.stdin.buffer.readline()))
        answer = {"result": _marked(left, sys.stdin.buffer.read())}
    except Broken as error:
        answer = {"broken": str(error)}
    sys.stdout.write(json.dumps(answer))


def _graded(result: dict[str, Any]) -> str:
    if result.get("score") is None:
        return "graded: not gradable"
    of = result.get("max_score")
    return "graded: %.6g%s" % (result["score"], "" if of is None else " of %.6g" % of)


def _files(work: str, asked: str) -> list[str]:
    """The regular files in `work` that `asked` names; a `*` in it is any one folder."""
    before, star, after = asked.partition("*")
    if not star:
        return [asked] if _is_file(work, asked) else []
    try:
        with os.scandir(os.path.join(work, before)) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
    return [before + name + after for name in names if _is_file(work, before + name + after)]


def _is_file(work: str, path: str) -> bool:
    real = os.path.realpath(os.path.join(work, path))
    return real.startswith(os.path.realpath(work) + os.sep) and os.path.isfile(real)


def _program(work: str, source: str, target: str, texts: bool) -> None:
    """Make `target` an executable copy of `source`; what is there under that name already is left as it is, and made executable.
    `texts`: lines of a script may end as Windows has them."""
    whole, own = os.path.realpath(os.path.join(work, source)), source == target
    if (own and texts) or (not own and not os.path.lexists(place(work, target))):
        with open(whole, "rb") as file:
            data = file.read(PROGRAM_MAX_BYTES + 1)
        if len(data) > PROGRAM_MAX_BYTES:
            raise Broken("its %s is larger than %d MiB" % (target, PROGRAM_MAX_BYTES >> 20))
        script = data.replace(b"\r\n", b"\n") if texts and b"\0" not in data else data
        if not own or script != data:
            with open(whole if own else place(work, target), "wb" if own else "xb") as file:
                file.write(script)
    fd = os.open(
        os.path.realpath(os.path.join(work, target)), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    )
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.fchmod(fd, 0o755)
    finally:
        os.close(fd)
