"""What an attempt leaves behind: the files that its patterns name, and its result. Nothing outside the work folder is read."""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
from typing import Any, Callable, Iterator, NamedTuple, Optional, Pattern, Sequence

from agent.folder import walk
from agent.manifest import Wanted

FILES_MAX = 1000
TOTAL_MAX_BYTES = 1 << 30
NAMES_MAX_BYTES = 32 * 1024
RESULT_MAX_BYTES = 32 * 1024
RESULT_DEPTH_MAX = 100  # far below where the JSON of anyone on its way gives up
WALK_MAX = 200000
PATH_MAX_BYTES = 800  # S3 takes keys of 1,024 bytes, with our prefix


class Found(NamedTuple):
    """Paths relative to the work folder with their sizes, and a sentence when a limit left some out."""

    files: tuple[tuple[str, int], ...]
    problem: str


def _characters(part: str) -> list[str]:
    """What stands between the stars of one component of a glob, as regular expressions that never cross a slash; each matches texts of one
    length."""
    pieces, position = [""], 0
    while position < len(part):
        char = part[position]
        position += 1
        closing = part.find("]", position + 1) if char == "[" else -1
        if char == "*":
            pieces.append("")
        elif char == "?":
            pieces[-1] += "[^/]"
        elif closing > 0:
            inside = part[position:closing]
            negated = inside[:1] in ("!", "^")
            body = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside[1:] if negated else inside)
            pieces[-1] += "(?!/)[%s%s]" % ("^" if negated else "", body)
            position = closing + 1
        else:
            pieces[-1] += re.escape(char)
    return pieces


def _once(number: Iterator[int], text: str) -> str:
    """What matches `text` in the first way that there is, and never comes back for another."""
    name = "g%d" % next(number)
    return "(?=(?P<%s>%s))(?P=%s)" % (name, text, name)


def _part(part: str, number: Iterator[int]) -> str:
    """One component. What stands between two stars is best found where it comes first: so no name takes longer than its length squared."""
    first, *others = _characters(part)
    if not others:
        return first
    between = [_once(number, "[^/]*?" + piece) for piece in others[:-1] if piece]
    return first + "".join(between) + "[^/]*" + others[-1]


def pattern(glob: str) -> Pattern[str]:
    """A glob over relative paths: `*` and `?` stay within a folder, `**` crosses them; a folder's name means all in it."""
    parts = [part for part in glob.split("/") if part not in ("", ".")]
    number = itertools.count()
    runs: list[list[str]] = [[]]  # of components, between those that are `**`
    for part in parts:
        if part != "**":
            runs[-1].append(_part(part, number))
        elif runs[-1] or len(runs) == 1:
            runs.append([])
    first, *others = ["".join(one + "/" for one in run) for run in runs]
    if parts and parts[-1] == "**":
        others[-1] = ".*"
    elif others:
        others[-1] = "(?:[^/]+/)*" + others[-1][:-1]
    else:
        first = first[:-1]
    text = first + "".join(_once(number, "(?:[^/]+/)*?" + one) for one in others[:-1]) + "".join(others[-1:])
    try:
        return re.compile(text + r"(?:/.*)?\Z", re.DOTALL)
    except re.error:  # a set such as [z-a]: taken literally
        return re.compile(re.escape("/".join(parts)) + r"(?:/.*)?\Z", re.DOTALL)


def find(work: str, globs: Sequence[str]) -> Found:
    """Regular files in `work` that a pattern names; links are neither followed nor taken."""
    patterns = [pattern(glob) for glob in globs if ".." not in glob.split("/") and not glob.startswith("/")]
    problem = "" if len(patterns) == len(globs) else "outputs outside of the work folder were not taken"
    if not patterns:
        return Found((), problem)
    files: list[tuple[str, int]] = []
    total = names = walked = 0
    for _, entries in walk(work):
        walked += len(entries) + 1
        if walked > WALK_MAX:
            return Found(tuple(files), "outputs were not all looked at: more than %d files" % WALK_MAX)
        for entry in entries:
            path = entry.path[len(work) + 1 :]
            if len(path) > PATH_MAX_BYTES:
                return Found(tuple(files), "outputs were not all looked at: a path is longer than %d" % PATH_MAX_BYTES)
            if entry.is_dir(follow_symlinks=False) or not any(one.match(path) for one in patterns):
                continue
            status = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                problem = problem or "output %r is no regular file and was not taken" % path
                continue
            try:
                path.encode()
            except UnicodeEncodeError:
                problem = problem or "an output whose name is not UTF-8 was not taken"
                continue
            total += status.st_size
            names += len(json.dumps(path)) + 24
            if len(files) >= FILES_MAX or total > TOTAL_MAX_BYTES or names > NAMES_MAX_BYTES:
                return Found(
                    tuple(files),
                    "only the first %d outputs were kept: at most %d files, %d MiB and %d bytes of names"
                    % (len(files), FILES_MAX, TOTAL_MAX_BYTES >> 20, NAMES_MAX_BYTES),
                )
            files.append((path, status.st_size))
    return Found(tuple(files), problem)


def collect(
    work: str, wanted: Sequence[Wanted], put: Callable[[str, str, int], None]
) -> tuple[list[dict[str, Any]], str]:
    """Find and store what is wanted; the finish ping's `outputs`, each with the name of the first that it matches, and what went wrong."""
    stored, problem = upload(work, find(work, [one.glob for one in wanted]), put)
    named = [(pattern(one.glob), one.name) for one in wanted]
    for output in stored:
        name = next((name for glob, name in named if glob.match(output["path"])), "")
        if name:
            output["name"] = name
    there = {output.get("name") for output in stored}
    absent = [one for one in wanted if one.name and one.name not in there]
    lacks = "it left no output %r (%s)" % (absent[0].name, absent[0].glob) if absent else ""
    return stored, "; ".join(filter(None, (problem, lacks)))


def upload(work: str, found: Found, put: Callable[[str, str, int], None]) -> tuple[list[dict[str, Any]], str]:
    """Store each file; the finish ping's `outputs` and a sentence about what could not be stored."""
    stored: list[dict[str, Any]] = []
    failed = ""
    for path, size in found.files:
        try:
            put(path, os.path.join(work, path), size)
            stored.append({"path": path, "bytes": size})
        except Exception as error:  # the others may still go through
            failed = "output %r could not be stored: %s" % (path, error)
    return stored, "; ".join(filter(None, (found.problem, failed)))


def _no_number(name: str) -> Any:
    raise ValueError("%s is not JSON" % name)


def _depth(value: Any) -> int:
    """How deep lists and objects are nested in it: 0 for a plain value."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, (list, dict))]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth


def read_result(work: str, path: str) -> tuple[Optional[Any], str]:
    """The parsed result, or None and a sentence."""
    data, problem = read_file(work, path, RESULT_MAX_BYTES)
    return (None, problem) if data is None else parsed(data, path)


def read_file(work: str, path: str, bytes_max: int) -> tuple[Optional[bytes], str]:
    """What the file `path` of a work folder holds, or None and a sentence."""
    full = os.path.join(work, path)
    real, root = os.path.realpath(full), os.path.realpath(work)
    if path.startswith("/") or not real.startswith(root + os.sep):
        return None, "its result %r is not in the work folder" % path
    try:
        fd = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, "it wrote no result %r" % path
    except OSError as error:
        return None, "its result %r cannot be read: %s" % (path, error.strerror)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None, "its result %r is no file" % path
    with os.fdopen(fd, "rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        return None, "its result %r is larger than %d KiB" % (path, bytes_max >> 10)
    return data, ""


def parsed(data: bytes, path: str) -> tuple[Optional[Any], str]:
    """The JSON that a file holds, or None and a sentence."""
    try:
        result = json.loads(data.decode(), parse_constant=_no_number)
        json.dumps(result, ensure_ascii=False, allow_nan=False).encode()  # 1e999 is read as infinity
        if _depth(result) > RESULT_DEPTH_MAX:
            return None, "its result %r is nested more than %d levels deep" % (path, RESULT_DEPTH_MAX)
    except (ValueError, RecursionError) as error:
        return None, "its result %r is not JSON: %s" % (path, str(error)[:100] or type(error).__name__)
    return result, ""
