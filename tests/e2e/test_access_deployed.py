"""Tokens of the deployed system: through API Gateway's authorizer, under each function's own policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from deployed_once import Deployed

from spillway.client import Client
from spillway.errors import NotAllowed, OverQuota, Refused

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


@pytest.fixture
def bearer(deployed: Deployed) -> Iterator[Callable[[str], Client]]:
    """Clients with other tokens."""
    with ExitStack() as clients:
        yield lambda token: clients.enter_context(Client(deployed.deployment.api_url, token))


def test_tokens_are_made_listed_used_and_revoked(deployed: Deployed, bearer: Callable[[str], Client]) -> None:
    """One that was never used before is refused at the first try after its end; nobody but an admin deals with tokens."""
    admin = deployed.client
    made = {role: admin.create_token("cs101", role=role, note=f"a {role}") for role in ("submitter", "operator")}
    job = bearer(made["submitter"]["token"]).submit("true", timeout_s=60)
    assert job.owner == "cs101"
    for role in made:
        client = bearer(made[role]["token"])
        with pytest.raises(NotAllowed, match="it needs admin"):
            client.tokens()
        with pytest.raises(NotAllowed, match="it needs admin"):
            client.create_token("eve", role="admin")
        with pytest.raises(NotAllowed, match="it needs admin"):
            client.revoke_token(made[role]["id"])
    listed = {each["id"]: each for each in admin.tokens()}
    assert listed[made["submitter"]["id"]]["used_at"] is not None
    assert listed[made["submitter"]["id"]]["created_by"] == "admin"
    assert not any("token" in each for each in listed.values())
    unused = admin.create_token("cs101", days=None)
    assert unused["expires_at"] is None
    assert admin.revoke_token(unused["id"])["within_s"] == 60
    with pytest.raises(NotAllowed):
        bearer(unused["token"]).jobs([job.id])
    with pytest.raises(Refused, match="there is no token"):
        admin.revoke_token(unused["id"])
    told = [line.reason for line in admin.story("settings") if unused["id"] in line.reason]
    assert [sentence.split(":")[0] for sentence in told] == [f"{unused['id']} made", f"{unused['id']} revoked"]


def test_a_token_that_makes_no_sense_is_refused_with_its_fields(deployed: Deployed) -> None:
    for facts, field in (({"role": "root"}, "role"), ({"days": 0}, "days"), ({"note": "x" * 101}, "note")):
        with pytest.raises(Refused) as caught:
            deployed.client.create_token("cs101", **facts)
        assert [fault.field for fault in caught.value.fields] == [field]


def test_quotas_are_set_seen_and_enforced(deployed: Deployed, bearer: Callable[[str], Client]) -> None:
    """Refused at submit as a whole batch, with a sentence and without being tried again; what has ended is charged."""
    admin = deployed.client
    made = admin.put_owner("cs202", {"jobs_max": 2, "cpu_max": 1, "usd_per_day": 50})
    assert (made["version"], made["jobs_max"], made["changed_by"]) == (1, 2, "admin")
    with pytest.raises(Refused) as caught:
        admin.put_owner("cs202", {}, version=7)
    assert caught.value.status == 412
    alice = bearer(admin.create_token("cs202")["token"])
    eve = bearer(admin.create_token("cs303")["token"])
    jobs = alice.submit_many([{"command": "sleep 1", "timeout_s": 60, "cpu": 0.5}] * 2)
    with pytest.raises(OverQuota, match="cs202 may have 2 jobs that have not ended, and has 2: 3 more") as over:
        alice.submit_many([{"command": "true", "timeout_s": 60}] * 3)
    assert (over.value.status, over.value.exit_code, [f.field for f in over.value.fields]) == (429, 3, ["owner"])
    with pytest.raises(Refused, match="cpu: is 2; cs202 may have 1 cores"):
        alice.submit("true", timeout_s=60, cpu=2)
    with pytest.raises(NotAllowed):
        alice.put_owner("cs202", {})
    with pytest.raises(Refused, match="there is no owner cs202"):
        eve.owner("cs202")
    assert {job.state for job in alice.wait([job.id for job in jobs], timeout_s=60)} == {"succeeded"}
    used = alice.owner("cs202")["used"]
    assert used["jobs"] == 0
    assert 0 < used["usd_today"] < 0.01
    assert [row["owner"] for row in admin.owners()].count("cs202") == 1
