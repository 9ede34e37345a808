"""Uploads that a host keeps: fetched once, bounded, told, and never to be poisoned by what runs there."""

import hashlib
import os
import signal
import stat
import threading

import pytest
from agent_machine import Web, a_job

from agent.cache import HOLDS_MAX, Cache

pytestmark = pytest.mark.usefixtures("sandboxed")


def sum_of(data):
    return hashlib.sha256(data).hexdigest()


def with_input(job, data, url, command="cat it", **fields):
    sha256 = sum_of(data)
    return a_job(job, command, inputs=[{"path": "it", "sha256": sha256}], urls={sha256: url}, **fields)


@pytest.fixture
def store():
    """An S3 that has one object, `store.data`, at every address."""
    web = Web(lambda *_: (200, web.data))
    yield web
    web.close()


# --- the real agent


def test_a_bundle_reaches_a_host_once_and_is_told(machine, store):
    """Two attempts that want it at the same moment, one later, and one after a restart of the agent: one request."""
    store.data = b"the bundle"
    jobs = [with_input(f"job-{n}", store.data, f"{store.url}/{n}") for n in range(2)]
    one = machine(assignments=jobs).start()
    for n in range(2):
        assert one.wait("finish", f"job-{n}")["log"]["text"] == "the bundle"
    assert one.wait("idle")["holds"] == [sum_of(store.data)]
    assert one.pings("hello")[0]["holds"] == []
    one.kill(signal.SIGTERM)
    one.start()
    assert one.wait("hello", count=2)["holds"] == [sum_of(store.data)]
    one.write_inbox(1, [with_input("job-later", store.data, store.url + "/later")])
    one.ring()
    assert one.wait("finish", "job-later")["log"]["text"] == "the bundle"
    assert one.wait("alive", count=len(one.pings("alive")) + 1)["holds"] == [sum_of(store.data)]
    assert len(store.hits) == 1


def test_what_is_cached_is_not_given_to_an_attempt_without_its_address(machine, store):
    """The signed address is the control plane's yes; a sum alone, which anybody may know, is none."""
    store.data = b"the exam's answers"
    one = machine(assignments=[with_input("job-1", store.data, store.url + "/x")]).start()
    one.wait("finish", "job-1")
    spy = f"find / -name {sum_of(store.data)} 2>/dev/null; grep -rl answers /proc/*/environ 2>/dev/null; true"
    other = a_job("job-2", inputs=[{"path": "it", "sha256": sum_of(store.data)}])
    one.write_inbox(1, [other, a_job("job-spy", spy)])
    one.ring()
    assert one.wait("refused", "job-2")["why"] == "urls_missing"
    assert one.wait("finish", "job-spy")["log"]["text"] == ""


@pytest.mark.parametrize("sandbox", ["bwrap", "none"])
def test_a_command_cannot_change_what_the_next_one_is_given(machine, store, sandbox):
    """It writes to its copy, through every other name of it, and where nothing confines it into the cache itself."""
    store.data = b"honest"
    one = machine(settings={"sandbox": sandbox})
    cached = one.root / "var/lib/spillway/cache" / sum_of(store.data)
    evil = f"echo evil > it; ln it other && echo evil > other; chmod u+w {cached}; echo evil > {cached}; true"
    one.manifest["hosts"][0]["assignments"] = [
        {**with_input("job-1", store.data, store.url + "/x", evil), "untrusted": False}
    ]
    one.start()
    assert one.wait("finish", "job-1")["outcome"] == "succeeded"
    assert cached.read_bytes() == (b"honest" if sandbox == "bwrap" else b"evil\n")
    one.write_inbox(1, [{**with_input("job-2", store.data, store.url + "/x"), "untrusted": False}])
    one.ring()
    assert one.wait("finish", "job-2")["log"]["text"] == "honest"
    assert cached.read_bytes() == b"honest"


def test_an_input_that_cannot_be_fetched_gives_the_attempt_back_unclaimed(machine):
    """It has not begun: another host may have better luck, and no attempt is lost. This host is not blamed for S3."""
    away = Web(lambda *_: (503, b""))
    one = machine(assignments=[with_input("job-1", b"x", away.url + "/x")], settings={"ping_every_s": 0.5}).start()
    refused = one.wait("refused", "job-1")
    assert refused["why"] == "unprepared"
    assert "503" in refused["reason"]
    assert one.claims() == {}
    assert one.wait("alive", count=len(one.pings("alive")) + 1)["problems"] == []
    away.close()


# --- the cache itself


def writing(data):
    def download(path):
        with open(path, "xb") as file:
            file.write(data)

    return download


def never(path):
    raise AssertionError("it was there already")


def put(cache, data):
    with cache.hold(sum_of(data), writing(data)) as path, open(path, "rb") as file:
        assert file.read() == data


def test_what_was_used_longest_ago_goes_first(tmp_path):
    """Within the bound in bytes; the order outlives the agent."""
    cache = Cache(str(tmp_path), limit_bytes=30)
    a, b, c, d = (bytes([n]) * 10 for n in b"abcd")
    for data in (a, b, c):
        put(cache, data)
    with cache.hold(sum_of(a), never):
        pass
    put(cache, d)
    assert cache.holds() == [sum_of(d), sum_of(a), sum_of(c)]
    assert sorted(os.listdir(tmp_path)) == sorted(cache.holds())
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o400}
    for n, data in enumerate((c, d, a)):
        os.utime(tmp_path / sum_of(data), (n, n))
    assert Cache(str(tmp_path)).holds() == [sum_of(a), sum_of(d), sum_of(c)]


def test_what_is_in_use_is_never_removed(tmp_path):
    """Not for lack of room either; when it is let go, the bound holds again."""
    cache = Cache(str(tmp_path), limit_bytes=15)
    with cache.hold(sum_of(b"a" * 10), writing(b"a" * 10)) as path:
        put(cache, b"b" * 10)
        put(cache, b"c" * 10)
        cache.keep.make_room()
        with open(path, "rb") as file:
            assert file.read() == b"a" * 10
    assert cache.holds() == [sum_of(b"a" * 10)]


def test_one_that_alone_is_beyond_the_bound_does_not_drive_out_the_others(tmp_path):
    """It is given to the attempt and forgotten."""
    cache = Cache(str(tmp_path), limit_bytes=25)
    put(cache, b"a" * 10)
    put(cache, b"b" * 30)
    assert cache.holds() == [sum_of(b"a" * 10)]


def test_a_download_that_died_leaves_nothing(tmp_path):
    """In this process, or in one that was killed in the middle of it."""
    cache = Cache(str(tmp_path))

    def dies(path):
        writing(b"half")(path)
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError), cache.hold(sum_of(b"whole"), dies):
        pass
    assert os.listdir(tmp_path) == []
    put(cache, b"whole")
    (tmp_path / (sum_of(b"other") + ".part")).write_bytes(b"oth")
    (tmp_path / sum_of(b"torn")).write_bytes(b"")
    again = Cache(str(tmp_path))
    assert set(again.holds()) == {sum_of(b"whole"), sum_of(b"torn")}
    put(again, b"torn")
    assert sorted(os.listdir(tmp_path)) == sorted([sum_of(b"whole"), sum_of(b"torn")])


def test_eight_that_want_it_at_once_fetch_it_once_and_share_no_failure(tmp_path):
    """The first one's address has expired: the next one fetches it with its own, and the others wait for that."""
    cache, data = Cache(str(tmp_path)), b"x" * 100000
    all_there = threading.Barrier(8)
    fetched, got, failed = [], [], []

    def download(path):
        fetched.append(path)
        if len(fetched) == 1:
            raise PermissionError("expired")
        writing(data)(path)

    def want():
        all_there.wait(10)
        try:
            with cache.hold(sum_of(data), download) as path, open(path, "rb") as file:
                got.append(file.read() == data)
        except PermissionError:
            failed.append(1)

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(fetched), got, failed) == (2, [True] * 7, [1])


def test_a_full_disk_is_made_room_on_before_a_fetch_is_given_up(tmp_path):
    """The cache is the first thing that a host can do without."""
    cache = Cache(str(tmp_path))
    put(cache, b"old")
    tries = []

    def download(path):
        tries.append(os.listdir(tmp_path))
        writing(b"new")(path)
        if len(tries) == 1:
            raise OSError(28, "No space left on device")

    with cache.hold(sum_of(b"new"), download):
        pass
    assert tries == [[sum_of(b"old")], []]
    assert cache.holds() == [sum_of(b"new")]


def test_at_most_32_are_told(tmp_path):
    """The most recent ones: a ping stays small."""
    cache = Cache(str(tmp_path))
    for n in range(40):
        put(cache, b"%d" % n)
    assert cache.holds() == [sum_of(b"%d" % n) for n in range(39, 39 - HOLDS_MAX, -1)]
