"""What is asked because of a change, and that silence is never held against it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.host import Offering
from chalicelib.core.pool import PoolSpec
from chalicelib.core.pool_checks import Answers, Template, faults, limits, questions

OFFERINGS = st.builds(
    Offering,
    region=st.sampled_from(["us-east-1", "eu-west-1", "ap-south-1"]),
    instance_type=st.sampled_from(["c7i.large", "c8g.large", "x9.huge"]),
    market=st.sampled_from(["spot", "on_demand"]),
    max_price_usd_h=st.sampled_from([None, 0.0001, 5.0]),
)
SPECS = st.builds(
    PoolSpec,
    offerings=st.lists(OFFERINGS, min_size=1, max_size=5).map(tuple),
    image=st.sampled_from([None, "ami-12345678"]),
    launch_template=st.sampled_from([None, "graders:3"]),
)


@given(SPECS)
def test_what_did_not_change_is_not_asked(spec: PoolSpec) -> None:
    """Whatever else of the pool changes."""
    assert questions(replace(spec, linger_s=spec.linger_s + 1, hosts_max=99), spec) == ()


@given(SPECS, SPECS)
def test_every_offering_of_a_changed_region_is_asked_about_in_one_question(after: PoolSpec, before: PoolSpec) -> None:
    for each in questions(after, None):
        assert [o for _, o in each.offerings] == [o for o in after.offerings if o.region == each.region]
        assert all(after.offerings[index] is o for index, o in each.offerings)
    asked = questions(after, before)
    assert len({each.region for each in asked}) == len(asked)
    assert set(asked) <= set(questions(after, None))
    if (after.image, after.launch_template) != (before.image, before.launch_template):
        assert asked == questions(after, None)


@given(SPECS)
def test_silence_is_no_fault(spec: PoolSpec) -> None:
    for each in questions(spec, None):
        assert [*faults(each, Answers(), spec, "dev"), *limits(each, Answers(), spec)] == []


@given(
    spec=SPECS,
    answers=st.builds(
        Answers,
        refused=st.sampled_from([None, "AuthFailure"]),
        template_found=st.sampled_from([None, True, False]),
        template=st.sampled_from([Template(), Template(image="ami-1"), Template(image="ami-1", subnet="subnet-1")]),
        subnet_zone=st.sampled_from([None, "", "us-east-1b"]),
        image_arch=st.sampled_from([None, "", "x86_64", "arm64"]),
        zones=st.sampled_from([None, {}, {"c7i.large": frozenset({"us-east-1a"})}]),
        spot=st.sampled_from([{}, {"c7i.large": {"us-east-1a": 0.03}}]),
    ),
)
def test_every_fault_names_something_that_the_pool_says(spec: PoolSpec, answers: Answers) -> None:
    """A field that the operator can change, by its place in the list."""
    fields = {"image", "launch_template"}
    for each in questions(spec, None):
        mine = {
            f"offerings[{i}].{name}"
            for i, _ in each.offerings
            for name in ("region", "instance_type", "zone", "max_price_usd_h")
        }
        for fault in (*faults(each, answers, spec, "dev"), *(f for _, f in limits(each, answers, spec))):
            assert fault.field in fields | mine
            assert fault.field != "image" or spec.image is not None
            assert fault.field != "launch_template" or spec.launch_template is not None
