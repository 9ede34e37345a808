"""Names of secrets: an owner's job can name its own owner's, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core import secrets
from chalicelib.core.job_spec import GitSource, Input, JobSpec

WORDS = st.text(alphabet="ab./_-:*$", min_size=1, max_size=12)
OWNERS = st.from_regex(r"[ab][ab._-]{0,3}", fullmatch=True)


@given(name=WORDS, owner=OWNERS, other=OWNERS)
def test_no_accepted_name_leads_to_another_owners_secret(name: str, owner: str, other: str) -> None:
    """Whatever stands after the colon: it stays below the owner's own prefix, without steps up and without wildcards."""
    spec = JobSpec(command="x", timeout_s=1, secrets={"A": f"ssm:{name}"})
    if list(secrets.faults(spec)):
        return
    where = secrets.place(f"ssm:{name}", "dev", owner)
    assert where == f"ssm:/spillway/dev/{owner}/{name}"
    parts = where.split("/")
    assert "" not in parts[1:]
    assert not {".", ".."} & set(parts)
    if other != owner:
        assert not where.startswith(f"ssm:/spillway/dev/{other}/")


@pytest.mark.parametrize("variable", ["UID", "SHELLOPTS", "SPILLWAY_JOB"])
def test_a_variable_that_no_shell_sets_is_refused(variable: str) -> None:
    """The command would never begin, and the sentence would be the shell's."""
    (fault,) = secrets.faults(JobSpec(command="x", timeout_s=1, secrets={variable: "ssm:a"}))
    assert fault.field == f"secrets.{variable}"


def test_the_token_of_a_repository_is_a_secret_too() -> None:
    spec = JobSpec(
        command="x",
        timeout_s=1,
        secrets={"A": "ssm:a"},
        inputs=(Input(path="code", git=GitSource(url="https://h/r", token="secretsmanager:../bob/t")),),
    )
    assert secrets.names(spec) == {"ssm:a", "secretsmanager:../bob/t"}
    (fault,) = secrets.faults(spec)
    assert fault.field == "inputs[0].git.token"


def test_a_value_is_never_in_a_representation() -> None:
    """Tracebacks and log lines show records by their representation."""
    assert "xyz" not in repr(secrets.Secret("xyz"))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"ssm:a": "x\0"}, "NUL"),
        ({"ssm:a": "x" * 70_000}, "longer than 65536"),
        ({"ssm:a": "x" * 60_000, "ssm:b": "x" * 60_000, "ssm:c": "x" * 60_000}, "together"),
        ({"ssm:a": "ä" * 100}, ""),
    ],
)
def test_what_no_environment_holds_is_said(values: dict[str, str], says: str) -> None:
    assert says in secrets.too_much(values)
    assert bool(says) == bool(secrets.too_much(values))
