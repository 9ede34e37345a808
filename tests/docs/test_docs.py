"""Documentation that can drift is compared with what it describes."""

from __future__ import annotations

from chalicelib.core.scaling.bounds import parameters
from chalicelib.core.scaling.policies import POLICIES
from docs import generate


def test_the_states_page_is_what_the_tables_say() -> None:
    assert generate.STATES.read_text() == generate.states(), "run `python -m docs.generate`"


def test_the_policies_page_is_what_the_policies_say() -> None:
    assert generate.POLICIES_PAGE.read_text() == generate.policies(), "run `python -m docs.generate`"


def test_the_policies_page_names_every_policy_and_parameter() -> None:
    page = generate.policies()
    for policy in POLICIES.values():
        assert f"## `{policy.name}`" in page
        for parameter in parameters(policy.parameters):
            assert f"| `{parameter.name}` | {parameter.default:g} |" in page
