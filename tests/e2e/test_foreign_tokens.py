"""Another owner's token is tried on every route that there is (`answers.ROUTES`): it sees nothing, changes nothing, learns nothing.

A route that is new is closed to submitters here until somebody writes down that it is for them: in `OPEN`, or by making what its path
names in `things`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from deployed_once import Deployed
from deployed_town import eventually

import app
from chalicelib.api.answers import ROUTES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

MARK = "x5ecretx"  # in everything that is alice's: no answer to another may have it
OPEN = {  # what any submitter may ask, about things that are everybody's or its own
    ("POST", "/jobs"),
    ("POST", "/jobs/batch"),
    ("POST", "/jobs/bulk"),
    ("GET", "/jobs"),
    ("POST", "/uploads"),
    ("POST", "/arrays"),
    ("GET", "/arrays"),
    ("GET", "/schedules"),
    ("GET", "/families"),
    ("GET", "/families/{family}"),
    ("GET", "/families/{family}/versions"),
    ("GET", "/pools"),
    ("GET", "/pools/{pool}"),
    ("POST", "/pools/{pool}/interest"),
    ("GET", "/pools/{pool}/samples"),
}
TAKEN = {("PUT", "/schedules/{schedule}")}  # 409: a name is taken, whoever has it
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/jobs"): {"command": "true", "timeout_s": 60, "owner": f"alice-{MARK}"},
    ("POST", "/jobs/batch"): {"jobs": [{"command": "true", "timeout_s": 60, "owner": f"alice-{MARK}"}]},
    ("POST", "/jobs/bulk"): {"action": "cancel", "filter": {"owner": f"alice-{MARK}"}},
    ("POST", "/arrays"): {"job": {"command": "true", "timeout_s": 60, "owner": f"alice-{MARK}"}, "count": 2},
    ("PUT", "/schedules/{schedule}"): {"timing": "0 3 29 2 *", "job": {"command": "true", "timeout_s": 60}},
    ("PUT", "/families/{family}"): {"title": "mine"},
    ("PATCH", "/jobs/{job_id}"): {"priority": 0},
    ("POST", "/jobs/{job_id}/retry"): {},
    ("PUT", "/owners/{owner}"): {},
    ("POST", "/tokens"): {"role": "admin", "owner": f"alice-{MARK}"},
    ("PUT", "/pools/{pool}"): {"hosts_max": 1},
    ("PATCH", "/pools/{pool}"): {"hosts_max": 1},
    ("PATCH", "/settings"): {"linger_s": 1},
    ("PUT", "/pools/{pool}/calendar/{booking_id}"): {
        "title": "mine",
        "starts_at": "2030-01-01T10:00Z",
        "ends_at": "2030-01-01T11:00Z",
        "people": 3,
    },
}
QUERIES = ({}, {"owner": f"alice-{MARK}"}, {"pool": "default"}, {"label": f"who:{MARK}"})


@dataclass(frozen=True)
class Town:
    """`names`: what a path may name, of alice's or nobody's. `send`: (method, path, body, query) → the answer to bob."""

    admin: httpx.Client
    names: dict[str, str]
    send: Callable[..., httpx.Response]


@contextmanager
def asking(deployed: Deployed, token: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=deployed.deployment.api_url.rstrip("/"), headers=headers, timeout=30) as client:
        yield client


@pytest.fixture
def town(deployed: Deployed) -> Iterator[Town]:
    admin = deployed.client
    alice, bob = (admin.create_token(owner)["token"] for owner in (f"alice-{MARK}", "bob"))
    with (
        asking(deployed, deployed.deployment.token) as root,
        asking(deployed, alice) as hers,
        asking(deployed, bob) as his,
    ):
        names = things(root, hers, deployed)
        yield Town(root, names, lambda *args, **facts: his.request(*args, **facts))


def things(root: httpx.Client, hers: httpx.Client, deployed: Deployed) -> dict[str, str]:
    """One of each kind that a path may name."""
    spec = {
        "command": f"echo {MARK} | tee out.txt",
        "timeout_s": 60,
        "name": MARK,
        "labels": {"who": MARK},
        "outputs": ["out.txt"],
    }
    installing = {**spec, "install": {"script": f"echo {MARK}"}}
    job = hers.post("/jobs", json=installing).raise_for_status().json()["id"]
    deployed.client.wait([job], timeout_s=60)
    array = hers.post("/arrays", json={"job": {**spec, "queue_ttl_s": 60}, "count": 2}).raise_for_status().json()["id"]
    eventually(lambda: root.get(f"/arrays/{array}").json()["state"] == "succeeded", 60)
    daily = {"timing": "0 3 29 2 *", "job": spec}
    hers.put("/schedules/alices", json=daily).raise_for_status()
    root.put("/families/grading", json={"title": "everybody's", "defaults": {"timeout_s": 60}}).raise_for_status()
    root.put(f"/owners/alice-{MARK}", json={"jobs_max": 77}).raise_for_status()
    root.put(
        "/pools/default/calendar/exam", json={**BODIES["PUT", "/pools/{pool}/calendar/{booking_id}"], "title": MARK}
    )
    token = root.post("/tokens", json={"role": "submitter", "owner": f"alice-{MARK}"}).json()["id"]
    host = root.get(f"/jobs/{job}").json()["host"]
    installs = root.get(f"/hosts/{host}").json()["installs"]
    return {
        "job_id": job,
        "array_id": array,
        "schedule": "alices",
        "family": "grading",
        "host_id": host,
        "version": installs[0]["version"],
        "pool": "default",
        "booking_id": "exam",
        "owner": f"alice-{MARK}",
        "token_id": token,
    }


def filled(path: str, names: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: names[match[1]], path)


def state(town: Town) -> dict[str, Any]:
    """All that bob might have changed, as an admin sees it."""
    names = town.names
    paths = (
        f"/jobs/{names['job_id']}",
        f"/owners/{names['owner']}",
        "/pools/default/calendar",
        "/settings",
        "/schedules/alices",
        f"/arrays/{names['array_id']}/elements",
        f"/jobs?owner={names['owner']}",
    )
    seen = {path: town.admin.get(path).raise_for_status().json() for path in paths}
    pool = town.admin.get("/pools/default").json()
    tokens = [each["id"] for each in town.admin.get("/tokens").json()["items"]]
    return {**seen, "pool": [pool["settings"], pool["generation"], pool["version"]], "tokens": tokens}


def test_every_thing_that_a_path_names_is_made_here(town: Town) -> None:
    """Else a route would be tried with what is not there, and its answer would say nothing."""
    named = {name for (_, path), route in ROUTES.items() if not route.public for name in re.findall(r"\{(\w+)\}", path)}
    assert named - town.names.keys() == set()
    assert len(ROUTES) == sum(map(len, app.app.routes.values())) > 40


def test_a_token_of_another_owner_opens_nothing_of_alices(town: Town) -> None:
    """On no route: closed ones say 403 or 404; open ones know nothing of her, and nothing of hers is changed."""
    before, wrong = state(town), []
    for (method, path), route in sorted(ROUTES.items()):
        if route.public:
            continue
        target = filled(path, town.names)
        for query in QUERIES if method == "GET" and (method, path) in OPEN else QUERIES[:1]:
            body = {"json": BODIES.get((method, path), {})} if method != "GET" else {}
            answer = town.send(method, target, params=query, **body)
            said = answer.text.replace(target, "")
            for name in town.names.values():  # that what it asked for is not there, it may say
                said = re.sub(rf"there is no (job|owner|array) {name}", "", said)
            if (method, path) in OPEN:
                closed = answer.status_code < 500
            else:
                closed = answer.status_code in ((409,) if (method, path) in TAKEN else (403, 404))
            echoed = answer.status_code == 400  # a refusal repeats the field that bob sent
            if (
                not closed
                or (MARK in said and not echoed)
                or any(town.names[name] in said for name in ("job_id", "array_id"))
            ):
                wrong.append(f"{method} {target} {query}: {answer.status_code} {answer.text[:300]}")
    assert wrong == []
    after = state(town)
    assert {path: (before[path], after[path]) for path in before if before[path] != after[path]} == {}


def test_what_another_owner_has_is_to_bobs_jobs_as_if_it_were_not_there(town: Town) -> None:
    """He cannot wait for it, and the refusal is that for a job which never was."""
    spec = {"command": "true", "timeout_s": 60}
    refusals = []
    for subject in (town.names["job_id"], town.names["array_id"], "job-00000000000000000000000000"):
        answer = town.send("POST", "/jobs", json={**spec, "after": [subject]})
        refusals.append((answer.status_code, answer.text.replace(subject, "").replace("array", "job")))
    assert refusals[0][0] == 400
    assert len(set(refusals)) == 1, refusals


def test_without_a_token_nothing_is_answered_at_all(town: Town) -> None:
    """Nor with one that is malformed, or was never made."""
    for (method, path), route in sorted(ROUTES.items()):
        if route.public:
            continue
        for header in ({}, {"Authorization": "Bearer spw_" + "A" * 43}, {"Authorization": "Basic YTpi"}):
            url = f"{town.admin.base_url}".rstrip("/") + filled(path, town.names)
            answer = httpx.request(method, url, headers=header, timeout=30)
            assert answer.status_code in (401, 403), (method, path, header, answer.text)
            assert MARK not in answer.text.replace(filled(path, town.names), "")
