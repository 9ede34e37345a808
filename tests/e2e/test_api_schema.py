"""Whatever is sent to the deployed API, it answers as `/openapi.json` says: no 5xx, no undocumented status, no answer off its schema.

Requests are made by schemathesis from the document itself, half of them right and half of them wrong, the same ones each time; with
SPILLWAY_LONG=1 (`make chaos`) many more, other ones each time. Names in paths are real ones half of the time, so that views are reached
behind the look-up. EC2 gives no host meanwhile: what is sent asks for thousands.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from deployed_town import Town, deployed
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi import checks

import app  # noqa: F401  # registers the routes
from chalicelib.api import stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(0 if "SPILLWAY_LONG" in os.environ else 180)]

EXAMPLES = int(os.environ.get("EXAMPLES", "200")) if "SPILLWAY_LONG" in os.environ else 6
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
OPERATIONS = {
    result.ok().label: result.ok() for result in schemathesis.openapi.from_dict(stage.described()).get_all_operations()
}
for _operation in OPERATIONS.values():  # beside those that it knows: gone, changed meanwhile, too large
    _operation.schema.config.checks.negative_data_rejection.expected_statuses = [
        *("400", "401", "403", "404", "412", "413")
    ]
each_operation = pytest.mark.parametrize("label", sorted(OPERATIONS))


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with deployed(tmp_path_factory.mktemp("schema")) as found:
        yield found


@pytest.fixture(scope="module")
def names(town: Town) -> dict[str, list[str]]:
    """What paths can name: a job that ran, one that waits, its host, pools, a booking."""
    town.api.put("pools/fuzzed", json={"hosts_max": 1, "linger_s": 3600}).raise_for_status()
    ran = town.submit(
        "echo hello; echo out > out.txt", pool="fuzzed", outputs=["*.txt"], result="out.txt", install={"script": "true"}
    )
    (ended,) = town.ended([ran])
    installs = town.api.get(f"hosts/{ended['host']}").json()["installs"]
    town.fault("refuse_capacity").raise_for_status()
    town.api.put("pools/other", json={"hosts_max": 0}).raise_for_status()
    waits = town.submit("echo never", pool="other", labels={"course": "c1"})
    booking = {"title": "exam", "starts_at": 4_000_000_000, "ends_at": 4_000_003_600, "people": 5}
    town.api.put("pools/other/calendar/exam", json=booking).raise_for_status()
    family = {"defaults": {"command": "echo x", "timeout_s": 60, "pool": "other"}}
    town.api.put("families/grader", json=family).raise_for_status()
    schedule = {"timing": "0 3 * * *", "job": {"family": "grader"}}
    town.api.put("schedules/nightly", json=schedule).raise_for_status()
    town.api.put("owners/bob", json={"jobs_max": 1000}).raise_for_status()
    token = town.api.post("tokens", json={"role": "submitter", "owner": "bob"}).raise_for_status().json()
    array = {"count": 3, "job": {"pool": "other", "command": "true", "timeout_s": 9}}
    many = town.api.post("arrays", json=array).raise_for_status().json()
    return {
        "array_id": [many["id"]],
        "job_id": [ran, waits],
        "host_id": [ended["host"]],
        "version": [one["version"] for one in installs],
        "pool": ["fuzzed", "other"],
        "booking_id": ["exam"],
        "family": ["grader"],
        "schedule": ["nightly"],
        "owner": ["bob", "admin"],
        "token_id": [token["id"]],
    }


def test_the_deployed_api_describes_itself_to_anybody(town: Town) -> None:
    """With the document that the checks of this file were made from."""
    answer = httpx.get(f"{town.url}/openapi.json", timeout=60)
    assert answer.status_code == 200
    assert answer.json() == httpx.Response(200, text=_json(stage.described())).json()


def test_the_deployed_stage_is_healthy(town: Town, names: dict[str, list[str]]) -> None:
    """It has looked at the pool that had work: no wake can be older than that."""
    checks = httpx.get(f"{town.url}/healthz", timeout=60).raise_for_status().json()["checks"]
    assert checks["tables"]["pools"] >= 3
    assert set(checks["queues"]["depths"]) >= {"submissions", "heartbeats", "wakes", "timers", "wakes-dead"}
    assert 0 <= checks["wakes"]["oldest_s"] < 180


def test_lists_are_filtered_and_paged_by_the_deployed_indexes(town: Town, names: dict[str, list[str]]) -> None:
    """Under the function's own policy: by owner, by pool, and of those that have not ended."""
    ran, waits = names["job_id"]

    def listed(**query: Any) -> list[str]:
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = town.api.get("jobs", params={**query, **cursor, "limit": 1}).raise_for_status().json()
            found += [job["id"] for job in page["items"]]
            if page["next"] is None:
                return found
            cursor = {"cursor": page["next"]}

    assert {ran, waits} <= set(listed(owner="admin"))
    assert listed(owner="admin", pool="fuzzed", state=["succeeded", "failed"]) == [ran]
    assert listed(pool="other", label="course:c1", state="pending") == [waits]
    assert listed(pool="fuzzed", until=1.0) == []


@each_operation
def test_an_operation_answers_as_its_description_says(label: str, town: Town, names: dict[str, list[str]]) -> None:
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @settings(
            max_examples=EXAMPLES,
            derandomize="SPILLWAY_LONG" not in os.environ,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        @given(OPERATIONS[label].as_strategy(generation_mode=mode), st.data())
        def play(case: Any, data: st.DataObject) -> None:
            wrong = {where for where, part in case.meta.components.items() if part.mode is GenerationMode.NEGATIVE}
            for name in (case.path_parameters or {}) if ParameterLocation.PATH not in wrong else ():
                if known := names.get(name):
                    case.path_parameters[name] = data.draw(st.sampled_from([*known, case.path_parameters[name]]))
            if wrong != {ParameterLocation.HEADER}:  # else what is wrong is that there is no token
                case.headers["Authorization"] = f"Bearer {town.token}"
            case.validate_response(case.call(base_url=town.url, timeout=60), checks=CHECKS)

        try:
            play()
        except Unsatisfiable:  # there is no wrong request where nothing can be said
            assert mode is GenerationMode.NEGATIVE


@pytest.mark.skipif("SPILLWAY_LONG" not in os.environ, reason="takes minutes: set SPILLWAY_LONG=1")
def test_every_bound_of_every_field_is_kept(town: Town, names: dict[str, list[str]], tmp_path: Path) -> None:
    """Schemathesis' own list of edges: each value at, below and above its bound, each field missing or of another type."""
    config = tmp_path / "schemathesis.toml"
    known = "".join(f'"path.{name}" = {json.dumps(values[0])}\n' for name, values in names.items())
    expected = "\n[checks.negative_data_rejection]\nexpected-statuses = [400, 401, 403, 404, 412, 413, 415]\n"
    config.write_text(f"[parameters]\n{known}{expected}")
    command = ["schemathesis.cli", f"--config-file={config}", "run", f"{town.url}/openapi.json", f"--url={town.url}"]
    options = [
        "--phases=coverage",
        "--exclude-method=DELETE",
        "--continue-on-failure",
        "--request-timeout=60",
        "--no-color",
    ]
    wanted = "--checks=" + ",".join(check.__name__ for check in CHECKS)
    token = f"--header=Authorization: Bearer {town.token}"
    done = subprocess.run(
        [sys.executable, "-m", *command, *options, wanted, token], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("DELETE", "/jobs", {}, 404),
        ("GET", "/jobs", {}, 401),
        ("GET", "/jobs", {"Authorization": "Bearer spw_" + "x" * 43}, 403),
        ("POST", "/jobs", {"Content-Type": "text/csv"}, 415),
        ("POST", "/jobs", {}, 413),
        ("POST", "/pools/fuzzed/interest", {}, 413),
    ],
    ids=lambda value: str(value) if isinstance(value, str | int) else "",
)
def test_refusals_are_problems_whoever_makes_them(
    town: Town, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """API Gateway, Chalice, or us."""
    if status in (413, 415):
        headers = {"Authorization": f"Bearer {town.token}", **headers}
    answer = httpx.request(
        method, town.url + path, headers=headers, content=b" " * 200_000 if status == 413 else None, timeout=60
    )
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["type"], problem["errors"]) == (status, "about:blank", [])
    assert len(problem["detail"]) > 20


def _json(document: Any) -> str:
    from chalicelib.api.wire import to_json

    return to_json(document)
