"""`spillway pool`: settings, defaults and bookings from the command line, against a server that speaks the contract."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from spillway import Client
from spillway.cli.pool import patch_of, without_nulls
from spillway.errors import BadInput, Refused


def test_pools_are_listed(run: Any) -> None:
    done = run("pool", "list", "--json")
    assert (done.code, [pool["name"] for pool in done.json()["items"]]) == (0, ["default"])
    assert run("pool", "list").out.splitlines()[1].startswith("default\t0\t20")


def test_a_pool_is_shown_with_who_set_what(run: Any, server: Any) -> None:
    """The pool's operator, the stage's defaults, or nobody; and what the last pass wanted, and why."""
    server.pools["default"]["hosts_desired"] = 3
    server.calendars["default"] = {"exam": {"id": "exam", "title": "Exam", "people": 300}}
    done = run("pool", "show", "default")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "default, version 7; wants 3 hosts: 12 jobs wait"
    assert {"hosts_desired\t3\tpool", "slo_wait_s\t15\tstage", "linger_s\t60\t"} <= set(lines)
    assert "5 people are looking" in lines
    assert "exam\t\t\t300\t\tExam" in lines
    assert run("pool", "show", "default", "--json").json()["settings"]["hosts_desired"] == 3


def test_offerings_are_shown_as_a_ladder_and_not_as_json(run: Any, server: Any) -> None:
    """A table of their own, with who said them; so are types that were added; what nobody set is blank."""
    server.pools["default"] |= {
        "offerings": [
            {
                "region": "us-east-1",
                "instance_type": "c9i.large",
                "market": "spot",
                "zone": "us-east-1a",
                "max_price_usd_h": 0.05,
            },
            {
                "region": "us-east-1",
                "instance_type": "c7i.large",
                "market": "on_demand",
                "zone": None,
                "max_price_usd_h": None,
            },
        ],
        "types": {"c9i.large": {"vcpus": 2, "memory_mib": 4096, "price_usd_h": 0.09}},
        "parameters": {"factor": 1.5},
        "image": None,
    }
    lines = run("pool", "show", "default").out.splitlines()
    at = lines.index("Offerings, tried from the top down (set by the pool):")
    assert lines[at + 1 : at + 4] == [
        "type\tmarket\twhere\tat most USD/h",
        "c9i.large\tspot\tus-east-1a\t0.05",
        "c7i.large\ton_demand\tus-east-1\t",
    ]
    assert "c9i.large\tx86_64\t2\t4096\t0.09" in lines
    assert {"parameters\tfactor=1.5\tpool", "image\t\tpool"} <= set(lines)
    assert not any("{" in line for line in lines)


def test_settings_are_changed_and_taken_back(run: Any, server: Any) -> None:
    """Words, numbers, truth and whole objects; what changed is shown."""
    done = run("pool", "set", "default", "policy=headroom", "parameters.factor=1.5", "linger_s=5", "hosts_max=")
    assert done.code == 0
    assert server.pools["default"] == {
        "hosts_min": 0,
        "policy": "headroom",
        "parameters": {"factor": 1.5},
        "linger_s": 5,
    }
    assert "linger_s\t5\tpool" in done.out.splitlines()
    assert "hosts_min" not in done.out
    assert run("pool", "set", "default", "linger_s=null", "--json").json()["settings"]["policy"] == "headroom"
    assert "linger_s" not in server.pools["default"]


def test_hosts_are_restarted_killed_and_started(run: Any, server: Any) -> None:
    """Each says what it changed; killing needs to be meant while jobs wait."""
    done = run("pool", "restart", "default")
    assert (done.code, server.pools["default"]["generation"]) == (0, 1)
    assert "generation\t1\tpool" in done.out.splitlines()
    refused = run("pool", "kill", "default")
    assert refused.code == 2
    assert "2 jobs wait" in refused.err
    assert "killed" not in server.pools["default"]
    assert "killed\ttrue\tpool" in run("pool", "kill", "default", "--force").out.splitlines()
    assert run("pool", "start", "default", "--json").json()["killed"] is False


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["set", "none", "linger_s=5"], 2, "no pool none"),
        (["set", "default", "linger=5"], 2, "linger: is not a field"),
        (["set", "default", "linger_s"], 2, "KEY=VALUE"),
        (["set", "default", "=5"], 2, "KEY=VALUE"),
        (["set", "default"], 2, "KEY=VALUE"),
        (["set", "default", "linger_s=5", "--if-version", "6"], 2, "is at version 7"),
        (["show", "none"], 2, "no pool none"),
        (["unbook", "default", "none"], 2, "no booking none"),
        (["book", "default", "x", "--title", "t", "--from", "noon", "--to", "1", "--people", "3"], 2, "--from: 'noon'"),
        (["book", "default", "x", "--title", "t", "--from", "1", "--to", "2"], 2, "either --people or --hosts"),
    ],
)
def test_mistakes_are_sentences(run: Any, server: Any, args: list[str], code: int, sentence: str) -> None:
    before = dict(server.pools["default"])
    done = run("pool", *args)
    assert (done.code, server.pools["default"]) == (code, before)
    assert sentence in done.err
    assert "Traceback" not in done.err


def test_a_pool_is_made_only_when_asked_for(run: Any, server: Any) -> None:
    """A typing mistake in its name must not make a second pool."""
    assert run("pool", "set", "fast", "--create", "hosts_max=3", "image=").code == 0
    assert server.pools["fast"] == {"hosts_max": 3}
    assert run("pool", "set", "fast", "--create", "linger_s=3").code == 0  # it is there: changed, not replaced
    assert server.pools["fast"] == {"hosts_max": 3, "linger_s": 3}


def test_a_version_that_is_there_is_changed(run: Any, server: Any) -> None:
    assert run("pool", "set", "default", "linger_s=5", "--if-version", "7").code == 0
    assert server.pools["default"]["linger_s"] == 5


def test_the_stages_defaults_are_shown_and_changed(run: Any, server: Any) -> None:
    done = run("pool", "defaults", "linger_s=120")
    assert (done.code, server.defaults) == (0, {"linger_s": 120})
    assert {"linger_s\t120\tstage", "hosts_max\t20\t"} <= set(done.out.splitlines())
    assert "version 4, last changed by root" in done.out
    assert run("pool", "defaults", "--json").json()["settings"] == {"linger_s": 120}


def test_capacity_is_booked_shown_and_taken_back(run: Any, server: Any) -> None:
    """Times without a zone are this machine's own; those with one are sent as they are."""
    exam = ["--title", "Exam", "--from", "2026-12-01T14:00", "--to", "2026-12-01T15:00+01:00", "--people", "300"]
    assert run("pool", "book", "default", "exam", *exam).code == 0
    booked = server.calendars["default"]["exam"]
    assert booked["starts_at"] == datetime(2026, 12, 1, 14).astimezone().timestamp()
    assert booked["ends_at"] == datetime.fromisoformat("2026-12-01T15:00:00+01:00").timestamp()
    assert (booked["people"], "hosts" in booked, "jobs_per_person_h" in booked) == (300, False, False)
    assert "exam\t2026-12-01 14:00:00\t" in run("pool", "bookings", "default").out
    assert [b["id"] for b in run("pool", "bookings", "default", "--json").json()["items"]] == ["exam"]
    done = run("pool", "unbook", "default", "exam")
    assert (done.code, done.out.strip()) == (0, "exam is taken back; 0 bookings left")


def test_who_looks_is_said(spillway: Client, server: Any) -> None:
    spillway.interest("default", "student-1")
    spillway.interest("default", "student-2", seconds=30)
    assert server.lookers == [("default", "student-1", 120), ("default", "student-2", 30)]


def test_a_change_of_another_version_is_refused(spillway: Client) -> None:
    for change in (spillway.patch_pool, spillway.put_pool):
        with pytest.raises(Refused, match="at version 7") as caught:
            change("default", {"linger_s": 5}, version=6)
        assert caught.value.status == 412
    assert spillway.patch_pool("default", {"linger_s": 5}, version=7).settings["linger_s"] == 5


@pytest.mark.parametrize(
    ("changes", "patch"),
    [
        (
            ["a=1", "b=word", "c=", "d=null", 'e="1"', "f=true"],
            {"a": 1, "b": "word", "c": None, "d": None, "e": "1", "f": True},
        ),
        (["p.x=1.5", "p.y="], {"p": {"x": 1.5, "y": None}}),
        (["p=", "image=ami-1"], {"p": None, "image": "ami-1"}),
        (["t=a=b"], {"t": "a=b"}),
        (["types.m4.large=", "types.c9i.large={}"], {"types": {"m4.large": None, "c9i.large": {}}}),
    ],
)
def test_changes_are_a_merge_patch(changes: list[str], patch: dict[str, Any]) -> None:
    assert patch_of(changes) == patch


def test_numbers_that_json_does_not_have_are_words_and_never_a_traceback() -> None:
    assert patch_of(["a=NaN", "b=-Infinity", "c=1e999"]) == {"a": "NaN", "b": "-Infinity", "c": "1e999"}


@pytest.mark.parametrize("text", ["[{region: us-east-1}]", '[{"max_price_usd_h": NaN}]', '{"a": 1e999}', '"open'])
def test_what_begins_like_json_must_be_json(text: str) -> None:
    """Sent as a word it would be refused for being text, and nobody would find the missing quotation mark."""
    with pytest.raises(BadInput, match=r"^offerings: what follows the = begins like JSON and is none"):
        patch_of([f"offerings={text}"])


def test_a_change_within_a_change_is_refused() -> None:
    with pytest.raises(BadInput, match="contradicts"):
        patch_of(["parameters=1", "parameters.x=2"])


def test_a_new_pool_has_nothing_to_take_back() -> None:
    assert without_nulls({"a": None, "p": {"x": None, "y": 1}}) == {"p": {"y": 1}}


def test_what_a_change_could_not_be_checked_for_is_said(run: Any, server: Any) -> None:
    """It is written all the same, so nobody would know otherwise."""
    server.warnings = [{"field": "offerings[0].region", "message": "was not checked with EC2: it is silent"}]
    done = run("pool", "set", "default", "linger_s=5")
    assert done.code == 0
    assert "Warning: offerings[0].region was not checked with EC2: it is silent" in done.out.splitlines()
    assert "warnings\t" not in done.out
    assert "Warning: " in run("pool", "defaults", "linger_s=5").out
