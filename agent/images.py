"""Images of containers on this host: pulled once, pinned by digest, kept while there is room.

A name with a tag may mean something else tomorrow. So a tag is resolved to a digest, which is what runs and what is told; for
RESOLVED_S the host stays with it and asks no registry again (registries count). A name with a digest is asked for only where it is not
here. Where a registry cannot be reached, or knows nothing of the name, what is on the disk under it is used.

Images that this agent has pulled are remembered, a file each with the time of their last use; beyond the bound those go that were used
longest ago, never one that an attempt holds (nor, by the engine's own rule, one that a container runs from). Those that came with the
machine stay.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Optional

from agent.engine import Engine, Said
from agent.inputs import NotUsable

PULL_MAX_S = 1800.0
RESOLVED_S = 600.0
LIMIT_BYTES = 30 << 30
FREE_DISK_SHARE = 2  # at most half of what would be free without them
ABSENT = re.compile(
    r"manifest unknown|manifest for \S+ not found|not found: manifest|repository does not exist|pull access denied|"
    r"invalid reference format|no matching manifest|requested access to the resource is denied|name unknown|"
    r"repository name must be|not found$|no such manifest",
    re.IGNORECASE,
)
FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)


class Pinned(NamedTuple):
    """An image as it runs: `id` is the engine's, `digest` names it everywhere (`repository@sha256:…`, or the id where no registry knows
    it), `volumes` are the folders that it declares to be written, `path` where it says that its programs are."""

    id: str
    digest: str
    volumes: tuple[str, ...]
    bytes: int
    path: str = ""


def unusable(image: str, said: Said) -> NotUsable:
    """What a pull that failed means: the job names what is not there, or nobody is to blame."""
    if ABSENT.search(said.err):
        return NotUsable(
            "bad_input", "the image %s is not there, or is not this host's to read: %s" % (image, said.why)
        )
    if FULL.search(said.err):
        return NotUsable("", "there is no room on this host's disk for the image %s" % image)
    return NotUsable("", "the image %s could not be pulled: %s" % (image, said.why))


def pinned(image: str, document: Mapping[str, Any]) -> Pinned:
    """What the engine's inspection of `image` says. Of several names that it has, the digest of this one's repository is taken."""
    repository = image.partition("@")[0]
    if ":" in repository.rpartition("/")[2]:
        repository = repository.rpartition(":")[0]
    digests = [str(one) for one in document.get("RepoDigests") or ()]
    short = repository[len("docker.io/") :] if repository.startswith("docker.io/") else repository
    short = short[len("library/") :] if short.startswith("library/") else short
    ours = [one for one in digests if one.partition("@")[0] in (repository, short)]
    identity = str(document["Id"])
    config = document.get("Config") or {}
    paths = [str(one)[len("PATH=") :] for one in config.get("Env") or () if str(one).startswith("PATH=")]
    return Pinned(
        identity,
        (ours or digests or [identity])[0],
        tuple(sorted(config.get("Volumes") or ())),
        int(document.get("Size") or 0),
        paths[-1] if paths else "",
    )


def note(path: str, taken: Pinned) -> None:
    """Leave a note of what an attempt runs in, for an agent after this one. Raises OSError."""
    with open(path, "w") as file:
        json.dump(taken, file)


class _Known(NamedTuple):
    id: str
    until: float


class Images:
    """Of one engine; `folder` keeps what is remembered of them. Any thread may call anything."""

    def __init__(self, engine: Engine, folder: str, limit_bytes: int = LIMIT_BYTES) -> None:
        self._engine, self._folder, self._limit_bytes = engine, folder, limit_bytes
        self._changed = threading.Condition()
        self._pulling: set[str] = set()
        self._known: dict[str, _Known] = {}
        self._users: dict[str, int] = {}
        self._root = ""

    def take(self, image: str, stopped: Callable[[], bool]) -> Pinned:
        """Have it here, and keep it until it is given back; one that several want is pulled once. Raises NotUsable."""
        with self._changed:
            self._changed.wait_for(lambda: image not in self._pulling)
            self._pulling.add(image)
        try:
            found = self._here(image, stopped)
            with self._changed:
                self._users[found.id] = self._users.get(found.id, 0) + 1
        finally:
            with self._changed:
                self._pulling.discard(image)
                self._changed.notify_all()
        with contextlib.suppress(OSError):
            os.utime(self._file(found.id))
        self.trim()
        return found

    def take_again(self, path: str) -> Optional[Pinned]:
        """What an attempt that goes on under this agent had taken, by the file in which it left a note; None where there is none."""
        try:
            with open(path) as file:
                found = Pinned(*json.load(file))
        except (OSError, ValueError, TypeError):
            return None
        with self._changed:
            self._users[found.id] = self._users.get(found.id, 0) + 1
        return found

    def give_back(self, taken: Pinned) -> None:
        """It is not needed any more by whom it was taken for."""
        with self._changed:
            self._users[taken.id] -= 1
            if not self._users[taken.id]:
                del self._users[taken.id]
        self.trim()

    def _here(self, image: str, stopped: Callable[[], bool]) -> Pinned:
        local = self._look(image)
        known = self._known.get(image)
        settled = "@" in image or (known is not None and time.monotonic() < known.until)
        if local is not None and settled:
            return local
        said = self._pull(image, stopped)
        if not said.code:
            fresh = self._look(image)
            if fresh is not None:
                if local is None or local.id != fresh.id:
                    self._remember(image, fresh)
                local = fresh
        if local is None:
            raise unusable(image, said)
        self._known[image] = _Known(local.id, time.monotonic() + RESOLVED_S)
        return local

    def _pull(self, image: str, stopped: Callable[[], bool]) -> Said:
        said = self._engine.ask("pull", "--quiet", image, timeout_s=PULL_MAX_S, stopped=stopped)
        if said.code and FULL.search(said.err) and self.trim(0):
            said = self._engine.ask("pull", "--quiet", image, timeout_s=PULL_MAX_S, stopped=stopped)
        return said

    def _look(self, image: str) -> Optional[Pinned]:
        said = self._engine.ask("image", "inspect", "--format", "{{json .}}", image)
        return pinned(image, json.loads(said.out)) if not said.code else None

    # --- what is kept

    def trim(self, limit_bytes: Optional[int] = None) -> bool:
        """Remove what is beyond the bound and not in use, the longest unused first; whether that was anything."""
        with self._changed:
            kept = sorted(self._kept(), reverse=True)  # the last used first
            limit = self._limit_now(sum(size for _, _, size in kept)) if limit_bytes is None else limit_bytes
            gone = [self._remove(one) for one in beyond([one[1:] for one in kept], limit, self._users)]
            return any(gone)

    def _remove(self, identity: str) -> bool:
        """By the names that we gave it a reason to have: one that came with the machine under another name stays."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            with open(self._file(identity)) as file:
                document = json.load(file)
            names = [
                name for name in dict.fromkeys((document["image"], document["digest"])) if self._is(name, identity)
            ]
            if not names or not self._engine.ask("image", "rm", *names).code:
                os.unlink(self._file(identity))
                return True
        return False

    def _is(self, name: str, identity: str) -> bool:
        found = self._look(name)  # a tag may have moved on
        return found is not None and found.id == identity

    def _limit_now(self, held: int) -> int:
        try:
            disk = os.statvfs(self._data_root())
        except OSError:
            return self._limit_bytes
        return min(self._limit_bytes, (disk.f_bavail * disk.f_frsize + held) // FREE_DISK_SHARE)

    def _data_root(self) -> str:
        if not self._root:
            self._root = self._engine.ask("info", "--format", "{{.DockerRootDir}}").out.strip() or "/"
        return self._root

    def _file(self, identity: str) -> str:
        return os.path.join(self._folder, identity.rpartition(":")[2])

    def _remember(self, image: str, fresh: Pinned) -> None:
        with contextlib.suppress(OSError):  # an image that nobody remembers is an image that stays
            os.makedirs(self._folder, exist_ok=True)
            with open(self._file(fresh.id) + ".new", "w") as file:
                json.dump({"id": fresh.id, "image": image, "digest": fresh.digest, "bytes": fresh.bytes}, file)
            os.replace(self._file(fresh.id) + ".new", self._file(fresh.id))

    def _kept(self) -> Iterator[tuple[float, str, int]]:
        """(last use, id, size) of each that we have pulled."""
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(entry.path) as file:
                    document = json.load(file)
                    yield entry.stat().st_mtime, str(document["id"]), int(document["bytes"])


def beyond(kept: "list[tuple[str, int]]", limit_bytes: int, users: Mapping[str, int]) -> list[str]:
    """Which of `kept` (id and size, the most recently used first) have to go, so that the rest is within the limit, or is in use."""
    total, gone = sum(size for _, size in kept), []
    for identity, size in reversed(kept):
        if total <= limit_bytes:
            break
        if identity not in users:
            gone.append(identity)
            total -= size
    return gone
