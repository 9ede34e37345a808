"""A pool that names what EC2 does not have is refused by the deployed API, which asks EC2 under its own policy."""

from __future__ import annotations

from typing import Any

import pytest
from deployed_once import Deployed

from spillway.errors import Refused

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

HERE = {"region": "us-east-1", "instance_type": "c7i.large"}


@pytest.mark.parametrize(
    ("settings", "field", "sentence"),
    [
        (
            {"offerings": [{**HERE, "instance_type": "c7i.lareg"}]},
            "offerings[0].instance_type",
            "did you mean c7i.large",
        ),
        (
            {"offerings": [{**HERE, "instance_type": "c7g.large"}]},
            "offerings[0].instance_type",
            "is an image for x86_64",
        ),
        ({"launch_template": "nobodys"}, "launch_template", "no launch template nobodys"),
        ({"image": "ami-0123456789abcdef0"}, "image", "there is no image"),
        (
            {"offerings": [{**HERE, "market": "spot", "max_price_usd_h": 1e-9}]},
            "offerings[0].max_price_usd_h",
            "EC2 takes no limit that is not above",
        ),
        (
            {"offerings": [{**HERE, "region": "eu-west-3"}]},
            "offerings[0].region",
            "spillway bootstrap --stage local --host-region eu-west-3",
        ),
    ],
    ids=["type", "architecture", "template", "image", "price", "region"],
)
def test_what_ec2_does_not_have_is_refused_when_the_pool_is_written(
    deployed: Deployed, settings: dict[str, Any], field: str, sentence: str
) -> None:
    with pytest.raises(Refused) as caught:
        deployed.client.put_pool("mistaken", settings)
    assert caught.value.status == 400
    assert [f.field for f in caught.value.fields] == [field]
    assert sentence in caught.value.fields[0].message
    assert not any(pool.name == "mistaken" for pool in deployed.client.pools())


def test_what_can_be_is_written_without_a_warning(deployed: Deployed) -> None:
    """The function may ask all that it wants to know: a missing permission would be told as a warning."""
    spot = {**HERE, "market": "spot", "max_price_usd_h": 0.08}
    made = deployed.client.put_pool("careful", {"offerings": [spot, HERE], "hosts_max": 0})
    assert made.document["warnings"] == []
