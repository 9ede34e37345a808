"""Images of containers: whose fault a pull is that fails, what a tag is pinned to, and which of them go when there are too many."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine import Engine, Said
from agent.images import Images, Pinned, beyond, note, pinned, unusable
from agent.inputs import NotUsable


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (
            "Error response from daemon: manifest for course/grader:9 not found: manifest unknown: manifest unknown",
            "bad_input",
        ),
        (
            "Error response from daemon: pull access denied for x, repository does not exist or may require 'docker login'",
            "bad_input",
        ),
        (
            "Error response from daemon: no matching manifest for linux/arm64/v8 in the manifest list entries",
            "bad_input",
        ),
        ("invalid reference format", "bad_input"),
        (
            'Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host',
            "",
        ),
        (
            'Error response from daemon: Get "https://r/v2/": net/http: request canceled (Client.Timeout exceeded while awaiting headers)',
            "",
        ),
        ("toomanyrequests: You have reached your pull rate limit.", ""),
        ("Error response from daemon: received unexpected HTTP status: 503 Service Unavailable", ""),
        ("failed to register layer: Error processing tar file(exit status 1): write /x: no space left on device", ""),
        ("", ""),
    ],
)
def test_who_is_to_blame_for_a_pull_that_failed(error, why):
    """A name that no registry knows fails its job; a registry that does not answer costs it nothing."""
    found = unusable("course/grader:9", Said(1, "", error))
    assert found.why == why
    assert "course/grader:9" in str(found)


@pytest.mark.parametrize(
    ("image", "digests", "found"),
    [
        ("course/grader:1", ["mirror/grader@sha256:1", "course/grader@sha256:2"], "course/grader@sha256:2"),
        ("localhost:5000/grader", ["localhost:5000/grader@sha256:2"], "localhost:5000/grader@sha256:2"),
        ("localhost:5000/grader:x@sha256:2", ["localhost:5000/grader@sha256:2"], "localhost:5000/grader@sha256:2"),
        ("docker.io/library/debian:12", ["debian@sha256:2"], "debian@sha256:2"),
        ("grader", [], "sha256:id"),
    ],
)
def test_an_image_is_told_by_the_digest_of_the_name_that_was_asked_for(image, digests, found):
    document = {"Id": "sha256:id", "RepoDigests": digests, "Size": 7, "Config": {"Volumes": {"/data": {}}}}
    assert pinned(image, document) == Pinned("sha256:id", found, ("/data",), 7)


@given(
    st.lists(st.integers(0, 100), max_size=12),
    st.integers(0, 300),
    st.sets(st.integers(0, 11)),
)
def test_images_go_the_longest_unused_first_and_never_one_in_use(sizes, limit, used):
    """And no more of them than must."""
    kept = [(str(n), size) for n, size in enumerate(sizes)]
    users = {str(n): 1 for n in used}
    gone = beyond(kept, limit, users)
    assert not set(gone) & set(users)
    free = [name for name, _ in reversed(kept) if name not in users]
    assert gone == free[: len(gone)]
    left = sum(size for name, size in kept if name not in gone)
    assert left <= limit or len(gone) == len(free)
    if gone:
        assert left + dict(kept)[gone[-1]] > limit


class Registry(Engine):
    """An engine and a registry: `tags` are what a name means just now, `disk` what has been pulled."""

    def __init__(self, **tags):
        super().__init__("docker", "")
        self.tags, self.disk, self.asked, self.down, self.busy = tags, {}, [], False, set()

    def ask(self, *told, timeout_s=0.0, stopped=lambda: False):
        self.asked.append(told)
        name = told[-1]
        if told[0] == "pull":
            time.sleep(0.02)
            if self.down:
                return Said(1, "", "dial tcp: connection refused")
            if name not in self.tags:
                return Said(1, "", f"manifest for {name} not found: manifest unknown")
            self.disk[name] = self.disk[f"{name}@{self.tags[name]}"] = self.tags[name]
            return Said(0, name, "")
        if told[:2] == ("image", "inspect"):
            if name not in self.disk:
                return Said(1, "", "No such image")
            digests = [f"{name.partition('@')[0]}@{self.disk[name]}"]
            return Said(0, json.dumps({"Id": "sha256:" + self.disk[name], "RepoDigests": digests, "Size": 10}), "")
        if told[:2] == ("image", "rm"):
            for each in told[2:]:
                if self.disk[each] in self.busy:
                    return Said(1, "", "image is being used by running container")
                del self.disk[each]
        return Said(0, "/", "")

    def count(self, verb):
        return sum(told[0] == verb or told[:2] == ("image", verb) for told in self.asked)


def no():
    return False


def test_an_image_that_many_wait_for_is_pulled_once_and_stays_pinned(tmp_path):
    """Also when its tag has moved on meanwhile: who asks next runs what the others ran."""
    registry = Registry(a="one")
    images = Images(registry, str(tmp_path / "images"))
    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(lambda _: images.take("a", no), range(6)))
    registry.tags["a"] = "two"
    taken.append(images.take("a", no))
    assert {one.digest for one in taken} == {"a@one"}
    assert registry.count("pull") == 1


def test_an_image_named_by_its_digest_is_asked_for_only_where_it_is_not(tmp_path):
    registry = Registry(a="one")
    images = Images(registry, str(tmp_path / "images"))
    images.take("a", no)
    assert images.take("a@one", no).digest == "a@one"
    assert registry.count("pull") == 1


def test_what_is_on_the_disk_is_used_while_no_registry_answers(tmp_path):
    """A course must not stop for that. And nobody asks again for each attempt: that takes seconds."""
    registry = Registry(a="one")
    registry.disk["a"] = "zero"
    registry.down = True
    images = Images(registry, str(tmp_path / "images"))
    assert [images.take("a", no).digest for _ in range(3)] == ["a@zero"] * 3
    assert registry.count("pull") == 1
    with pytest.raises(NotUsable) as refused:
        images.take("b", no)
    assert refused.value.why == ""


def test_images_beyond_the_bound_go_unless_an_attempt_or_a_container_has_them(tmp_path):
    """Those that came with the machine stay; so does a tag that means another image by now."""
    registry = Registry(a="one", b="two", c="three")
    registry.disk["machine"] = "zero"
    images = Images(registry, str(tmp_path / "images"), limit_bytes=10)
    first = images.take("a", no)
    images.take("machine", no)
    second = images.take("b", no)
    assert {"a", "b", "machine"} <= set(registry.disk), "both are in use"
    images.give_back(second)
    assert "b" not in registry.disk
    assert "a" in registry.disk
    registry.busy.add("one")
    images.give_back(first)
    images.trim(0)
    assert "a" in registry.disk, "the engine says that a container runs from it"
    registry.busy.clear()
    registry.disk["a"] = "newer"
    images.trim(0)
    assert registry.disk == {"a": "newer", "machine": "zero"}
    assert Images(registry, str(tmp_path / "images")).trim(0) is False, "nothing is remembered that is not there"


def test_what_an_attempt_runs_in_is_known_to_the_agent_that_adopts_it(tmp_path):
    """And kept for it; a note that cannot be read is none."""
    registry = Registry(a="one")
    first = Images(registry, str(tmp_path / "images"))
    note(str(tmp_path / "note"), first.take("a", no))
    second = Images(registry, str(tmp_path / "images"), limit_bytes=1)
    taken = second.take_again(str(tmp_path / "note"))
    assert taken.digest == "a@one"
    second.trim()
    assert "a" in registry.disk
    second.give_back(taken)
    assert "a" not in registry.disk
    (tmp_path / "note").write_text('["tor')
    assert second.take_again(str(tmp_path / "note")) is None


def test_a_full_disk_gives_up_images_before_it_gives_up(tmp_path):
    registry = Registry(a="one", b="two")
    images = Images(registry, str(tmp_path / "images"))
    images.give_back(images.take("a", no))
    pull = registry.ask
    registry.ask = lambda *told, **how: (
        Said(1, "", "write /x: no space left on device")
        if told[0] == "pull" and "a" in registry.disk
        else pull(*told, **how)
    )
    assert images.take("b", no).digest == "b@two"
    assert "a" not in registry.disk
