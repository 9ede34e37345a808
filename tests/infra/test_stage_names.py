"""Names of stages and regions."""

from __future__ import annotations

import pytest

from infra.errors import InfraError
from infra.stage import FUNCTIONS, check_region, check_stage


@pytest.mark.parametrize("name", ["dev", "local", "a", "course-101", "x" * 20])
def test_plain_names_are_taken(name: str) -> None:
    """Lower-case letters, digits, hyphens."""
    assert check_stage(name) == name


@pytest.mark.parametrize("name", ["", "Dev", "1st", "-a", "a-", "a_b", "a.b", "x" * 21, "dév", "a b", "a\n", "../a"])
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    """The sentence names the rule; the name becomes part of file paths, ARNs and DNS names."""
    with pytest.raises(InfraError, match="1 to 20 lower-case letters"):
        check_stage(name)


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if "_" not in f])
def test_a_stage_cannot_be_called_like_anothers_function(function: str) -> None:
    """The API of stage `dev-tick` would be the function `spillway-dev-tick`, which is the tick of `dev`."""
    with pytest.raises(InfraError, match=f"function '{function}' of the stage 'dev'"):
        check_stage(f"dev-{function}")


def test_an_unknown_region_is_refused_with_a_guess() -> None:
    """A slip of the finger must not become a minute of connection attempts."""
    assert check_region("eu-central-1") == "eu-central-1"
    with pytest.raises(InfraError, match="Did you mean us-east-1"):
        check_region("us-eats-1")


def test_no_region_at_all_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither argument nor environment nor profile."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(InfraError, match="--region"):
        check_region(None)
