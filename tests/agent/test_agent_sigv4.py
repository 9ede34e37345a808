"""The signature is botocore's, bit for bit."""

from urllib.parse import quote, urlencode

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sigv4 import Credentials, sign

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_characters="\x7f"), max_size=12)
SEGMENT = st.one_of(TEXT, st.sampled_from(["", ".", "..", "a b", "ü", "%41", "~", "*", "+"]))
PATH = st.lists(SEGMENT, max_size=5).map(lambda parts: "/" + "/".join(quote(p, safe="-_.~") for p in parts))
HEADERS = st.dictionaries(
    st.from_regex(r"x-[a-z][a-z0-9-]{0,10}[a-z0-9]", fullmatch=True),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=10).flatmap(
        lambda word: st.sampled_from([word, f"{word}  {word}", f" {word} "])
    ),
    max_size=4,
).filter(lambda headers: not {"x-amz-date", "x-amzn-trace-id"} & set(headers))


@settings(max_examples=400, deadline=None)
@given(
    service=st.sampled_from(["s3", "sqs", "dynamodb", "sts"]),
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"]),
    path=PATH,
    query=st.dictionaries(TEXT, TEXT, max_size=4),
    headers=HEADERS,
    body=st.binary(max_size=40),
    token=st.sampled_from(["", "a/token+with=signs"]),
    at=st.integers(0, 4_000_000_000),
)
def test_a_signature_equals_botocores(service, method, path, query, headers, body, token, at):
    """Whatever method, path, query, headers, payload and token: the oracle signs the same."""
    host = "example-1.amazonaws.com:4566"
    ours = sign(
        method, host, path, query.items(), headers, body, Credentials("AK", "SK", token, 0), service, "eu-west-1", at
    )

    url = f"http://{host}{path}" + ("?" + urlencode(query, quote_via=quote) if query else "")
    request = AWSRequest(method=method, url=url, headers={**headers, "X-Amz-Date": ours["X-Amz-Date"]}, data=body)
    request.context["timestamp"] = ours["X-Amz-Date"]
    credentials = BotoCredentials("AK", "SK", token or None)
    oracle = (S3SigV4Auth if service == "s3" else SigV4Auth)(credentials, service, "eu-west-1")
    if token:
        request.headers["X-Amz-Security-Token"] = token
    if service == "s3":
        request.headers["X-Amz-Content-SHA256"] = ours["X-Amz-Content-SHA256"]
        assert oracle.payload(request) in (ours["X-Amz-Content-SHA256"], "UNSIGNED-PAYLOAD")
    canonical = oracle.canonical_request(request)
    signature = oracle.signature(oracle.string_to_sign(request, canonical), request)
    assert ours["Authorization"].endswith("Signature=" + signature), canonical
