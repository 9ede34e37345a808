"""The SDK against a server that speaks the contract."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from spillway import Client, Job, SpillwayError
from spillway.bundle import pack
from spillway.client import safe_relative
from spillway.errors import BadInput, NotAllowed, Refused, Unreachable, WaitTimedOut


def test_submit_returns_the_job(spillway: Client, server: Any) -> None:
    """Fields of the spec are keywords; fields that a newer server adds are ignored."""
    job = spillway.submit("true", timeout_s=10, name="one", cpu=2.0)
    assert isinstance(job, Job)
    assert (job.state, job.name, job.ended) == ("pending", "one", False)
    assert server.jobs[job.id]["spec"]["cpu"] == 2.0


@pytest.mark.parametrize("failure", ["drop", 500, 502, 503, 429])
def test_a_retried_submission_is_one_job(spillway: Client, server: Any, failure: int | str) -> None:
    """The answer may be lost after the job was accepted: the retry carries the same idempotency key."""
    server.fail.append(failure)
    job = spillway.submit("true", timeout_s=10)
    assert list(server.jobs) == [job.id]
    assert [path for _, path in server.requests] == ["/jobs", "/jobs"]


def test_a_retried_batch_is_accepted_once(spillway: Client, server: Any) -> None:
    server.fail.append("drop")
    jobs = spillway.submit_many([{"command": "true", "timeout_s": 1}] * 3)
    assert sorted(server.jobs) == sorted(job.id for job in jobs)
    assert len(jobs) == 3


def test_two_submissions_of_the_same_spec_are_two_jobs(spillway: Client, server: Any) -> None:
    spillway.submit("true", timeout_s=10)
    spillway.submit("true", timeout_s=10)
    assert len(server.jobs) == 2


def test_a_refusal_is_not_retried(spillway: Client, server: Any) -> None:
    """A 4xx stays one, and names the fields."""
    with pytest.raises(Refused) as caught:
        spillway.submit("true", timeout_s=1, cpu=-1.0)
    assert [(e.field, e.message) for e in caught.value.fields] == [("cpu", "should be more than 0")]
    assert "cpu: should be more than 0" in str(caught.value)
    assert len(server.requests) == 1


def test_another_body_under_the_same_key_is_refused(spillway: Client) -> None:
    spillway.submit("true", timeout_s=1, idempotency_key="k")
    with pytest.raises(Refused, match="idempotency key") as caught:
        spillway.submit("false", timeout_s=1, idempotency_key="k")
    assert caught.value.status == 409


def test_a_bad_token_says_so(server: Any) -> None:
    with Client(server.url, "spw_wrong") as client, pytest.raises(NotAllowed, match="check the token") as caught:
        client.list_jobs()
    assert caught.value.exit_code == 3


def test_a_server_that_is_not_there_says_so() -> None:
    with Client("http://127.0.0.1:9", "t", tries_max=2) as client, pytest.raises(Unreachable, match="does not answer"):
        client.health()


@pytest.mark.parametrize("url", ["", "example", "ftp://127.0.0.1/"])
def test_a_url_that_is_none_says_so(url: str) -> None:
    with Client(url, "t", tries_max=1) as client, pytest.raises(Unreachable):
        client.health()


def test_server_errors_that_stay_are_told_after_the_last_try(server: Any) -> None:
    server.fail.extend([503, 503])
    with Client(server.url, "t", tries_max=2) as client, pytest.raises(Unreachable, match="answered 503"):
        client.health()


def test_a_large_batch_takes_several_requests(spillway: Client, server: Any) -> None:
    """500 jobs are the most that one request may hold."""
    jobs = spillway.submit_many([{"command": f"echo {n}", "timeout_s": 1} for n in range(1001)])
    assert [server.jobs[job.id]["spec"]["command"] for job in jobs] == [f"echo {n}" for n in range(1001)]
    assert [path for _, path in server.requests] == ["/jobs/batch"] * 3


def test_a_refused_batch_names_its_fields_and_submits_nothing(spillway: Client, server: Any) -> None:
    good = {"command": "true", "timeout_s": 1}
    with pytest.raises(Refused) as caught:
        spillway.submit_many([good, {"command": "x", "timeout_s": 1, "colour": "red"}])
    assert [e.field for e in caught.value.fields] == ["jobs[1].colour"]
    assert server.jobs == {}


def test_jobs_are_asked_for_a_hundred_at_a_time(spillway: Client, server: Any) -> None:
    jobs = spillway.submit_many([{"command": "true", "timeout_s": 1}] * 250)
    server.requests.clear()
    assert [job.id for job in spillway.jobs(job.id for job in jobs)] == [job.id for job in jobs]
    assert len(server.requests) == 3


def test_an_unknown_job_is_told(spillway: Client) -> None:
    with pytest.raises(Refused, match="job-missing"):
        spillway.jobs(["job-missing"])
    with pytest.raises(Refused, match="job-missing"):
        spillway.job("job-missing")


def test_lists_are_read_page_by_page(spillway: Client, server: Any) -> None:
    spillway.submit_many([{"command": "true", "timeout_s": 1}] * 120)
    assert len(spillway.list_jobs(limit=115)) == 115
    assert len(spillway.list_jobs(limit=1000)) == 120


def test_wait_tells_every_change_and_asks_only_for_open_jobs(spillway: Client, server: Any) -> None:
    """A job that has ended is not asked for again."""
    first, second = (spillway.submit("true", timeout_s=1) for _ in range(2))
    looks: list[str] = []

    def move_on(job: dict[str, Any]) -> None:
        looks.append(job["id"])
        if job["id"] == first.id or looks.count(second.id) == 3:
            server.finish(job["id"])
        elif looks.count(second.id) == 2:
            job["state"] = "running"

    server.on_look = move_on
    seen: list[tuple[str, str]] = []
    ended = spillway.wait([second.id, first.id], on_change=lambda job: seen.append((job.id, job.state)))
    assert [job.id for job in ended] == [second.id, first.id]
    assert seen == [
        (second.id, "pending"),
        (first.id, "succeeded"),
        (second.id, "running"),
        (second.id, "succeeded"),
    ]
    assert looks.count(first.id) == 1


def test_wait_gives_up_in_time_and_says_what_is_left(spillway: Client, server: Any) -> None:
    job = spillway.submit("true", timeout_s=1)
    server.jobs[job.id]["waiting_for"] = "a host of c7i.large"
    began = time.monotonic()
    with pytest.raises(WaitTimedOut, match=r"a host of c7i\.large") as caught:
        spillway.wait([job.id], timeout_s=0.3)
    assert caught.value.unfinished == (job.id,)
    assert time.monotonic() - began < 5


def test_a_followed_log_ends_with_its_job(spillway: Client, server: Any) -> None:
    """The tail goes on at the offset it was told, until the log is complete."""
    job = spillway.submit("true", timeout_s=1)
    server.log_piece_bytes = 4
    server.logs[job.id] = b"one two "
    parts = []

    def grow() -> None:
        server.logs[job.id] += b"three"
        server.finish(job.id)

    for part in spillway.log_parts(job.id, follow=True):
        parts.append(part.text)
        if "".join(parts) == "one two ":
            threading.Timer(0.05, grow).start()
    assert "".join(parts) == "one two three"


def test_a_log_without_follow_ends_where_it_ends(spillway: Client, server: Any) -> None:
    job = spillway.submit("true", timeout_s=1)
    server.logs[job.id] = b"so far"
    assert [part.text for part in spillway.log_parts(job.id)] == ["so far"]


def test_a_folder_packs_to_the_same_bytes_whatever_its_dates(tmp_path: Path) -> None:
    """Names, contents and executable bits are all that counts."""
    for name, order in (("a", "xy"), ("b", "yx")):
        folder = tmp_path / name
        (folder / "sub").mkdir(parents=True)
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / f"{name}.pyc").write_text(name)
        for letter in order:
            (folder / "sub" / letter).write_text(letter)
        (folder / "run.sh").write_text("#!/bin/sh\n")
        (folder / "run.sh").chmod(0o755 if name == "a" else 0o700)
    os.utime(tmp_path / "b" / "run.sh", (1, 1))
    packed = pack(tmp_path / "a")
    assert packed == pack(tmp_path / "b")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as archive:
        modes = {m.name: m.mode for m in archive.getmembers()}
    assert modes == {"run.sh": 0o755, "sub": 0o755, "sub/x": 0o644, "sub/y": 0o644}


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "again").symlink_to(tmp_path)
    with pytest.raises(BadInput, match="link to a folder"):
        pack(tmp_path)


def test_the_same_content_is_uploaded_once(spillway: Client, server: Any, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("hello")
    entry = spillway.upload(tmp_path / "data.txt", "input/data.txt")
    sha256 = hashlib.sha256(b"hello").hexdigest()
    assert entry == {"path": "input/data.txt", "sha256": sha256}
    assert server.uploads == {sha256: b"hello"}
    spillway.upload(tmp_path / "data.txt")
    with Client(server.url, "spw_" + "t" * 43) as another:
        assert another.upload(tmp_path / "data.txt")["path"] == "data.txt"
    assert sum(method == "PUT" for method, _ in server.requests) == 1


def test_a_folder_is_unpacked_on_the_host(spillway: Client, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    assert spillway.upload(tmp_path / "tests")["unpack"] is True
    assert spillway.upload(tmp_path / "tests")["path"] == "tests"


def test_outputs_are_fetched_whole(spillway: Client, server: Any, tmp_path: Path) -> None:
    job = spillway.submit("true", timeout_s=1)
    server.files[job.id] = {"report/a.html": b"<p>" * 100_000, "b.txt": b"b"}
    for output in spillway.outputs(job.id):
        assert spillway.download(output, tmp_path).read_bytes() == server.files[job.id][output.path]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.html", "b.txt", "report"]


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", ".", "a\\..\\b", "a\0b"])
def test_an_output_never_lands_outside_its_folder(path: str) -> None:
    """Paths come from untrusted programs."""
    with pytest.raises(BadInput, match="outside"):
        safe_relative(path)


def test_an_output_does_not_follow_a_link_out_of_its_folder(spillway: Client, server: Any, tmp_path: Path) -> None:
    job = spillway.submit("true", timeout_s=1)
    server.files[job.id] = {"link/x": b"x"}
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "link").symlink_to(tmp_path)
    with pytest.raises(BadInput, match="outside"):
        spillway.download(spillway.outputs(job.id)[0], tmp_path / "into")
    assert not (tmp_path / "x").exists()


def test_pools_and_hosts_are_records(spillway: Client) -> None:
    spillway.put_pool("fast", {"hosts_max": 3, "linger_s": 5})
    assert spillway.pool("fast").hosts_max == 3
    assert {pool.name for pool in spillway.pools()} == {"default", "fast"}
    assert spillway.hosts("fast")[0].instance_id == "i-1"
    assert spillway.host("host-1-0").state == "ready"
    assert spillway.plan("fast")["actions"][0]["kind"] == "drain"
    assert spillway.invariants("fast") == ["host-1-0 has 3 of 2 slots"]
    assert spillway.health()["ok"]


def test_cancel_and_story(spillway: Client) -> None:
    job = spillway.submit("true", timeout_s=1)
    assert spillway.cancel(job.id).cancel_requested
    assert spillway.story(job.id)[0].event == "submit"


def test_stories_and_whys_are_asked_by_id(spillway: Client) -> None:
    """Jobs and hosts by their ids, anything else is a pool's name; a pool has a story and a plan, but no why."""
    job = spillway.submit("true", timeout_s=1)
    assert spillway.why(job.id).sentences[0] == f"{job.id} waits for a host."
    assert spillway.why("host-1-0").state is None
    assert spillway.story("host-1-0")[0].event == "ready"
    assert spillway.story("default")[0] == spillway.story("pool/default")[0]
    assert spillway.story("settings")[0].event == "setting"
    with pytest.raises(BadInput, match="plan"):
        spillway.why("default")
    with pytest.raises(BadInput, match="plan"):
        spillway.why("settings")
    with pytest.raises(Refused, match="there is no host host-2"):
        spillway.why("host-2")


def test_every_error_is_a_spillway_error() -> None:
    for kind in (Refused, NotAllowed, Unreachable, BadInput):
        assert issubclass(kind, SpillwayError)
