"""The SDK: `Client(url, token)` submits jobs, waits for them and brings their logs and files home."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from spillway.arrays import Arrays
from spillway.bundle import bundle
from spillway.changes import Changes
from spillway.definitions import Definitions
from spillway.errors import BadInput, Refused, WaitTimedOut
from spillway.operating import Operating
from spillway.records import Array, Job, LogPart, Output, StoryLine, Why
from spillway.transport import TRIES_MAX, Transport

BATCH_MAX = 500  # jobs in one POST /jobs/batch
BATCH_BYTES_MAX = 2 * 1024 * 1024  # what the API takes in one request
IDS_MAX = 100  # ids in one GET /jobs?ids=
POLL_FIRST_S, POLL_MAX_S = 0.2, 3.0


class Client(Changes, Definitions, Operating):
    """Talks to one Spillway. `with Client(url, token) as spillway: …` closes its connections.

    All methods raise `SpillwayError`: `Refused` (bad input, with the fields), `NotAllowed`, `Unreachable`.
    """

    def __init__(self, url: str, token: str, *, tries_max: int = TRIES_MAX) -> None:
        self._http = Transport(url, token, tries_max=tries_max)
        self._uploaded: set[str] = set()
        self.arrays = Arrays(self._http, _new_key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    # -- submitting

    def submit(self, command: str | None = None, *, timeout_s: int | None = None, **spec: Any) -> Job:
        """Submit one job. Keywords are the fields of a JobSpec (docs/contracts.md §7); None means "not given".

        A retry after a broken connection returns the same job: every submission carries an idempotency key.
        """
        document = {"command": command, "timeout_s": timeout_s, **spec}
        return self.submit_spec({k: v for k, v in document.items() if v is not None})

    def submit_spec(self, spec: Mapping[str, Any]) -> Job:
        """Submit one JobSpec document."""
        return Job.from_json(self._http.call("POST", "/jobs", json=_with_key(spec, _new_key(), 0)))

    def submit_many(self, specs: Sequence[Mapping[str, Any]]) -> list[Job]:
        """Submit many jobs, as few requests as possible: all of a request (up to 500 jobs) are accepted, or none.

        Field paths of a refusal count through the whole list, also when it took several requests.
        """
        key = _new_key()
        keyed = [_with_key(spec, key, n) for n, spec in enumerate(specs)]
        jobs: list[Job] = []
        for chunk in _chunks(keyed):
            try:
                answer = self._http.call("POST", "/jobs/batch", json={"jobs": chunk})
            except Refused as error:
                if jobs:
                    raise Refused(
                        f"{error.sentence} (in jobs {len(jobs)} to {len(jobs) + len(chunk) - 1}, counted from 0; "
                        f"the {len(jobs)} before them are submitted)",
                        fields=error.fields,
                        status=error.status,
                    ) from error
                raise
            jobs += [Job.from_json(item) for item in answer["items"]]
        return jobs

    def map(self, command: str, elements: Sequence[Mapping[str, Any]], *, timeout_s: int, **spec: Any) -> Array:
        """A job for each of `elements`, which are its parameters: `map("./grade.sh", [{"student": "ada"}, …], timeout_s=60)`.

        At most 10,000 in one request; `Client.arrays` follows, cancels and collects them.
        """
        return self.arrays.submit({"command": command, "timeout_s": timeout_s, **spec}, elements=elements)

    def upload(self, path: str | Path, to: str | None = None) -> dict[str, Any]:
        """Upload a file or folder unless its content is there already; the `inputs` entry that names it.

        `to` is where the job finds it, relative to its work folder (default: the file's or folder's own name); with a slash at its end
        a file is an archive, which is unpacked there.
        """
        source = Path(path)
        packed = bundle(source)
        if packed.sha256 not in self._uploaded:
            answer = self._http.call("POST", "/uploads", json={"sha256": packed.sha256, "bytes": len(packed.content)})
            if answer.get("url") and not answer.get("present"):
                self._http.put_bytes(answer["url"], packed.content, answer.get("headers") or {})
            self._uploaded.add(packed.sha256)
        into = to is not None and to.endswith("/")
        entry: dict[str, Any] = {"path": (to or source.resolve().name).rstrip("/") or ".", "sha256": packed.sha256}
        return {**entry, "unpack": True} if packed.unpack or into else entry

    # -- looking

    def job(self, job_id: str) -> Job:
        """One job as it is now."""
        return Job.from_json(self._http.call("GET", f"/jobs/{quote(job_id, safe='')}"))

    def jobs(self, ids: Iterable[str]) -> list[Job]:
        """These jobs as they are now, in this order. Raises Refused if one is unknown."""
        wanted = list(ids)
        found: dict[str, Job] = {}
        for start in range(0, len(wanted), IDS_MAX):
            chunk = wanted[start : start + IDS_MAX]
            cursor: dict[str, str] | None = {}
            while cursor is not None:  # an answer has a limit: what is large comes in several
                answer = self._http.call("GET", "/jobs", params={"ids": ",".join(chunk), **cursor})
                found |= {item["id"]: Job.from_json(item) for item in answer["items"]}
                cursor = {"cursor": answer["next"]} if answer.get("next") else None
        missing = [job_id for job_id in wanted if job_id not in found]
        if missing:
            array = ": that is an array, see `spillway array`" if missing[0].startswith("array-") else ""
            raise Refused(f"There is no job {missing[0]}{array}." if len(missing) == 1 else f"Unknown jobs: {missing}.")
        return [found[job_id] for job_id in wanted]

    def list_jobs(
        self,
        pool: str | None = None,
        *,
        owner: str | None = None,
        state: str | Sequence[str] = (),
        family: str | None = None,
        label: str | Sequence[str] = (),
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """The newest jobs that fit all that is said, at most `limit`, read page by page.

        Without pool and owner: those of the pool `default`, or one's own with a submitter's token. `label`: "name" or "name:value".
        since, until: submitted in between, in epoch seconds.
        """
        jobs: list[Job] = []
        cursor: str | None = None
        wanted = {"pool": pool, "owner": owner, "family": family, "since": since, "until": until}
        said: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        said |= {"state": [state] if isinstance(state, str) else list(state)}
        said |= {"label": [label] if isinstance(label, str) else list(label)}
        while len(jobs) < limit:
            params = {"limit": min(limit - len(jobs), 100), **said, **({"cursor": cursor} if cursor else {})}
            answer = self._http.call("GET", "/jobs", params=params)
            jobs += [Job.from_json(item) for item in answer["items"]]
            cursor = answer.get("next")
            if not cursor:
                break
        return jobs

    def wait(
        self,
        ids: Iterable[str],
        *,
        timeout_s: float | None = None,
        on_change: Callable[[Job], None] | None = None,
        poll_min_s: float = POLL_FIRST_S,
        poll_max_s: float = POLL_MAX_S,
    ) -> list[Job]:
        """The jobs, once all of them have ended. Raises WaitTimedOut after `timeout_s` seconds.

        `on_change` is called with every job whose state or attempt differs from what was last seen. Only jobs that
        have not ended are asked for; the pause between two looks grows from `poll_min_s` to `poll_max_s` seconds while
        nothing changes.
        """
        order = list(ids)
        seen: dict[str, Job] = {}
        open_ids = list(dict.fromkeys(order))
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = poll_min_s
        while True:
            changed = False
            for job in self.jobs(open_ids):
                before = seen.get(job.id)
                if before is None or (before.state, before.attempt) != (job.state, job.attempt):
                    changed = True
                    if on_change:
                        on_change(job)
                seen[job.id] = job
            open_ids = [job_id for job_id in open_ids if not seen[job_id].ended]
            if not open_ids:
                return [seen[job_id] for job_id in order]
            pause_s = poll_min_s if changed else min(pause_s * 1.5, poll_max_s)
            if deadline is not None:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    first = seen[open_ids[0]]
                    raise WaitTimedOut(
                        f"{len(open_ids)} of {len(order)} jobs had not ended after {timeout_s:g} s; "
                        f"{first.id} is {first.state}{f': {first.waiting_for}' if first.waiting_for else ''}.",
                        open_ids,
                    )
                pause_s = min(pause_s, left_s)
            time.sleep(pause_s)

    def story(self, subject: str) -> list[StoryLine]:
        """What happened to a job, a host or a pool, oldest first: by id, or by name ("math" and "pool/math" are the pool).

        "settings" are the stage's own.
        """
        answer = self._http.call("GET", f"{_subject(subject)}/story")
        return [StoryLine.from_json(item) for item in answer["items"]]

    def why(self, subject: str) -> Why:
        """Why a job or a host is where it is, in sentences. Pools are explained by `plan`."""
        path = _subject(subject)
        if path.startswith("/arrays/"):
            raise BadInput(
                f"{subject} is an array: `spillway array show` says what it waits for, and `why` of its elements."
            )
        if not path.startswith(("/jobs/", "/hosts/")):
            raise BadInput(f"{subject!r} is no id of a job or a host; what a pool is about to do, its plan says.")
        return Why.from_json(self._http.call("GET", f"{path}/why"))

    # -- logs and files

    def log(self, job_id: str, start: int = 0, rank: int | None = None) -> LogPart:
        """The log from byte `start`, as much as one answer holds. `rank`: of which host of a job that is on several."""
        params = {"from": start} | ({} if rank is None else {"rank": rank})
        return LogPart.from_json(self._http.call("GET", f"/jobs/{quote(job_id, safe='')}/log", params=params))

    def log_parts(
        self, job_id: str, *, follow: bool = False, start: int = 0, rank: int | None = None
    ) -> Iterator[LogPart]:
        """The log, part by part. With `follow`, until the job has ended and its log is complete."""
        return self._parts(lambda at: self.log(job_id, at, rank), follow, start)

    def install_log_parts(
        self, subject: str, *, version: str | None = None, follow: bool = False, start: int = 0
    ) -> Iterator[LogPart]:
        """What an install printed on a host, or on the host that a job is or was last on; for operators. Without `version` (or the
        beginning of one) it is the one that changed last. Raises BadInput where there is none."""
        host_id: str | None = subject
        if not subject.startswith("host-"):
            host_id = self.job(subject).host
        if host_id is None:
            raise BadInput(f"{subject} has had no host yet, so nothing was installed for it.")
        host = self._http.call("GET", f"/hosts/{quote(host_id, safe='')}")
        ran = [one for one in host.get("installs", []) if one["version"].startswith(version or "")]
        if not ran:
            raise BadInput(f"{host_id} has run no such install. `spillway why {host_id}` tells what it does.")
        path = f"/hosts/{quote(host_id, safe='')}/installs/{max(ran, key=lambda one: one['at'])['version']}/log"

        def read(at: int) -> LogPart:
            return LogPart.from_json(self._http.call("GET", path, params={"from": at}))

        return self._parts(read, follow, start)

    @staticmethod
    def _parts(read: Callable[[int], LogPart], follow: bool, start: int) -> Iterator[LogPart]:
        pause_s = POLL_FIRST_S
        while True:
            part = read(start)
            if part.text or part.complete:
                yield part
            if part.complete:
                return
            if part.next > start:
                start, pause_s = part.next, POLL_FIRST_S
                continue
            if not follow:
                return
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, POLL_MAX_S)

    def outputs(self, job_id: str) -> list[Output]:
        """The files that a job left, with signed URLs."""
        answer = self._http.call("GET", f"/jobs/{quote(job_id, safe='')}/outputs")
        return [Output.from_json(item) for item in answer["items"]]

    def download(self, output: Output, into: str | Path) -> Path:
        """Fetch one output below the folder `into`; the file appears whole or not at all."""
        target = Path(into) / safe_relative(output.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(Path(into).resolve()):
            raise BadInput(f"The output {output.path!r} would land outside {into}; it was not fetched.")
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with partial.open("wb") as file:
                self._http.stream_to(output.url, file.write)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return target


def _subject(subject: str) -> str:
    """The path of a job or a host by its id, of the stage's settings, else of the pool of that name."""
    if subject == "settings":
        return "/settings"
    for prefix, kind in (("job-", "jobs"), ("array-", "arrays"), ("host-", "hosts")):
        if subject.startswith(prefix):
            return f"/{kind}/{quote(subject, safe='')}"
    return f"/pools/{quote(subject.removeprefix('pool/'), safe='')}"


def safe_relative(path: str) -> Path:
    """An output's path, if it stays below the folder it is put into. The names come from untrusted programs."""
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path or pure.name == "":
        raise BadInput(f"The output {path!r} would land outside the chosen folder; it was not fetched.")
    return Path(*pure.parts)


def _new_key() -> str:
    """Says when it was made: so the service finds a repeated submission without keeping keys (docs/contracts.md §7)."""
    return f"at-{int(time.time() * 1000):013d}-{uuid.uuid4().hex}"


def _with_key(spec: Mapping[str, Any], key: str, number: int) -> dict[str, Any]:
    return {"idempotency_key": f"{key}-{number}", **spec}


def _chunks(specs: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Runs of at most 500 jobs and about 2 MB of JSON."""
    chunk: list[dict[str, Any]] = []
    chunk_bytes = 0
    for spec in specs:
        size_bytes = len(json.dumps(spec))
        if chunk and (len(chunk) == BATCH_MAX or chunk_bytes + size_bytes > BATCH_BYTES_MAX):
            yield chunk
            chunk, chunk_bytes = [], 0
        chunk.append(spec)
        chunk_bytes += size_bytes
    if chunk:
        yield chunk
