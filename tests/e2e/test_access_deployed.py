"""Tokens of the deployed system: through API Gateway's authorizer, under each function's own policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from deployed_once import Deployed

from spillway.client import Client
from spillway.errors import NotAllowed, Refused

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
