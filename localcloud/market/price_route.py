"""DescribeSpotPriceHistory, answered from the prices that are replayed. moto answers one made-up price for everything."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import secrets
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

from localcloud.calls import AwsCall, AwsReply, indexed, refusal
from localcloud.market.price_file import Offer, at
from localcloud.market.prices import Price, Prices, written

XMLNS = "http://ec2.amazonaws.com/doc/2016-11-15/"
PAGE_MAX = 1_000
BACK_MAX_S = 90 * 86_400.0  # EC2 keeps the last 90 days †
FILTERS: dict[str, Callable[[Price], str]] = {
    "availability-zone": lambda p: p.offer.zone,
    "instance-type": lambda p: p.offer.instance_type,
    "product-description": lambda p: p.offer.product,
    "spot-price": lambda p: p.price,
    "timestamp": lambda p: written(p.at),
}
FOUND_KEPT = 4  # long histories are read page by page: what was found is kept for the next page


class PriceRoute:
    """The interceptor. While there are no prices moto answers, as before."""

    def __init__(self, front: Any, prices: Prices) -> None:
        self._prices = prices
        self._found: dict[str, list[Price]] = {}
        front.intercept("ec2", "DescribeSpotPriceHistory", self)

    def __call__(self, call: AwsCall, forward: Callable[[AwsCall], AwsReply]) -> AwsReply:
        offers = self._prices.offers()
        if not offers or call.params.get("DryRun") == "true":
            return forward(call)
        now = self._prices.clock()
        try:
            page = int(call.params.get("MaxResults") or PAGE_MAX)
            first, asked_at, key = _of_token(call.params.get("NextToken") or "") or (0, now, secrets.token_hex(8))
            since = at(call.params["StartTime"]) if "StartTime" in call.params else now - BACK_MAX_S
            until = min(at(call.params["EndTime"]) if "EndTime" in call.params else asked_at, asked_at)
            wanted = _filters(call)
        except ValueError as error:
            return refusal(call, "InvalidParameterValue", str(error), 400)
        if page < 1:
            return refusal(call, "InvalidParameterValue", f"Value ( {page} ) for parameter maxResults is invalid.", 400)
        found = self._found.get(key)
        if found is None:
            here = [offer for offer in offers if offer.zone[:-1] == call.region and _may_match(offer, wanted)]
            found = self._matching(here, max(since, now - BACK_MAX_S), until, wanted)
            self._keep(key, found)
        after = first + min(page, PAGE_MAX)
        token = _token(after, asked_at, key) if after < len(found) else ""
        return _reply(found[first:after], token)

    def _matching(self, offers: list[Offer], since: float, until: float, wanted: dict[str, list[str]]) -> list[Price]:
        found = [
            price
            for offer in offers
            for price in self._prices.newest_first(offer, since, until)
            if all(_is(FILTERS[name](price), patterns) for name, patterns in wanted.items())
        ]
        found.sort(key=lambda price: price.at, reverse=True)
        return found

    def _keep(self, key: str, found: list[Price]) -> None:
        self._found[key] = found
        while len(self._found) > FOUND_KEPT:
            self._found.pop(next(iter(self._found)), None)


def _filters(call: AwsCall) -> dict[str, list[str]]:
    """What is wanted, by a filter's name. Raises ValueError for a filter that EC2 does not have."""
    wanted: dict[str, list[str]] = {}
    number = 1
    while name := call.params.get(f"Filter.{number}.Name"):
        if name not in FILTERS:
            raise ValueError(f"The filter '{name}' is invalid")
        wanted[name] = indexed(call.params, f"Filter.{number}.Value")
        number += 1
    for parameter, name in (("InstanceType", "instance-type"), ("ProductDescription", "product-description")):
        if values := indexed(call.params, parameter):
            wanted[name] = [each for each in wanted.get(name, values) if each in values]
    if zone := call.params.get("AvailabilityZone"):
        wanted["availability-zone"] = [zone]
    if "product-description" in wanted:
        wanted["product-description"] = [each.replace(" (Amazon VPC)", "") for each in wanted["product-description"]]
    return wanted


def _may_match(offer: Offer, wanted: dict[str, list[str]]) -> bool:
    probe = Price(0.0, offer, "0")
    names = ("availability-zone", "instance-type", "product-description")
    return all(_is(FILTERS[name](probe), wanted[name]) for name in names if name in wanted)


def _is(value: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns)


def _token(first: int, asked_at: float, key: str) -> str:
    return base64.urlsafe_b64encode(f"{first} {asked_at!r} {key}".encode()).decode()


def _of_token(token: str) -> tuple[int, float, str] | None:
    if not token:
        return None
    try:
        first, asked_at, key = base64.urlsafe_b64decode(token).decode().split(" ")
        return int(first), float(asked_at), key
    except (binascii.Error, ValueError):
        raise ValueError("The token is not valid.") from None


def _reply(prices: list[Price], token: str) -> AwsReply:
    items = "".join(
        f"<item><instanceType>{escape(price.offer.instance_type)}</instanceType>"
        f"<productDescription>{escape(price.offer.product)}</productDescription><spotPrice>{price.price}</spotPrice>"
        f"<timestamp>{written(price.at)}</timestamp><availabilityZone>{escape(price.offer.zone)}</availabilityZone></item>"
        for price in prices
    )
    request_id = secrets.token_hex(16)
    body = (
        f'<DescribeSpotPriceHistoryResponse xmlns="{XMLNS}"><requestId>{request_id}</requestId>'
        f"<spotPriceHistorySet>{items}</spotPriceHistorySet><nextToken>{token}</nextToken></DescribeSpotPriceHistoryResponse>"
    )
    return AwsReply(200, {"Content-Type": "text/xml;charset=UTF-8", "x-amzn-RequestId": request_id}, body.encode())
