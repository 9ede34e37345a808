"""Which Spillway a command talks to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from spillway.config import Target, local_state, resolve
from spillway.errors import BadInput, Unreachable

EMBEDDED = {"api_url": "http://127.0.0.1:1/api", "token": "spw_embedded", "pid": os.getpid()}


def put(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def test_options_come_before_variables(tmp_path: Path) -> None:
    environ = {"SPILLWAY_URL": "http://variable", "SPILLWAY_TOKEN": "v"}
    assert resolve("http://option", "o", environ=environ, folder=tmp_path) == Target("http://option", "o", "--url")
    assert resolve(environ=environ, folder=tmp_path) == Target("http://variable", "v", "SPILLWAY_URL")


def test_the_embedded_cloud_comes_before_a_stage(tmp_path: Path) -> None:
    """Also from a folder below."""
    put(tmp_path / ".spillway-local" / "status.json", EMBEDDED)
    put(tmp_path / ".spillway" / "dev.json", {"api_url": "http://stage", "token": "s"})
    (tmp_path / "below").mkdir()
    assert resolve(environ={}, folder=tmp_path / "below").token == "spw_embedded"


def test_what_comes_first_is_not_stopped_by_what_comes_after(tmp_path: Path) -> None:
    """A stage that is not deployed yet, or several stages, are nothing to who has an embedded cloud."""
    put(tmp_path / ".spillway-local" / "status.json", EMBEDDED)
    put(tmp_path / ".spillway" / "dev.json", {"api_url": None, "token": "s"})
    assert resolve(environ={}, folder=tmp_path).token == "spw_embedded"
    put(tmp_path / ".spillway" / "prod.json", {"api_url": "http://prod", "token": "s"})
    assert resolve(environ={}, folder=tmp_path).token == "spw_embedded"


def test_an_embedded_cloud_that_has_ended_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path / ".spillway-local" / "status.json", {**EMBEDDED, "pid": 2**22 + 1})
    put(tmp_path / ".spillway" / "dev.json", {"api_url": "http://stage", "token": "s"})
    assert resolve(environ={}, folder=tmp_path).url == "http://stage"


def test_a_folder_below_has_the_same_embedded_cloud(tmp_path: Path) -> None:
    """`spillway local status` and `down` mean the cloud that `spillway submit` sends to; one that has ended is nobody's."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert local_state({}, below) == below / ".spillway-local"
    put(tmp_path / ".spillway-local" / "status.json", {**EMBEDDED, "api_url": None})
    assert local_state({}, below) == tmp_path / ".spillway-local"
    assert local_state({"SPILLWAY_LOCAL_STATE": "x"}, below) == Path("x")
    put(tmp_path / ".spillway-local" / "status.json", {**EMBEDDED, "pid": 2**22 + 1})
    assert local_state({}, below) == below / ".spillway-local"


def test_a_stage_may_have_its_url_from_chalice(tmp_path: Path) -> None:
    """`chalice deploy` knows the URL before anybody has written it into the client's file."""
    put(tmp_path / ".spillway" / "dev.json", {"api_url": None, "token": "s"})
    with pytest.raises(Unreachable, match=r"infra\.deploy --stage dev"):
        resolve(environ={}, folder=tmp_path)
    deployed = {"resources": [{"resource_type": "rest_api", "rest_api_url": "https://x/api/"}]}
    put(tmp_path / ".chalice" / "deployed" / "dev.json", deployed)
    assert resolve(environ={}, folder=tmp_path) == Target("https://x/api/", "s", str(tmp_path / ".spillway/dev.json"))


def test_several_stages_must_be_chosen_from(tmp_path: Path) -> None:
    for stage in ("dev", "prod"):
        put(tmp_path / ".spillway" / f"{stage}.json", {"api_url": f"http://{stage}", "token": stage})
    with pytest.raises(BadInput, match="dev, prod"):
        resolve(environ={}, folder=tmp_path)
    assert resolve(stage="prod", environ={}, folder=tmp_path).token == "prod"
    assert resolve(environ={"SPILLWAY_STAGE": "dev"}, folder=tmp_path).token == "dev"


def test_nothing_named_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="spillway demo --keep"):
        resolve(environ={}, folder=tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    put(tmp_path / ".spillway" / "dev.json", ["no", "object"])
    with pytest.raises(BadInput, match=r"dev\.json"):
        resolve(environ={}, folder=tmp_path)
