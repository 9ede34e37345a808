"""What only the DynamoDB stores promise: few requests, rows as others read them, patience with batches, and plain words when refused."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from socket import socket
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.session import Session
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from store_records import NOW, a_host, a_job, a_job_in, a_launch, an_assignment

from chalicelib.config import Settings
from chalicelib.core.backlog import entry_of
from chalicelib.core.host import Assignment, HostEvent
from chalicelib.core.job import Finish, JobEvent, JobState, Log, Output
from chalicelib.core.job_spec import Input, JobSpec, Wanted
from chalicelib.core.pool import Pool, PoolSpec, Prospects
from chalicelib.core.settings import Defaults
from chalicelib.core.story import Line
from chalicelib.errors import StoreUnavailable
from chalicelib.store.attributes import Assignments, Float, Floats, Json, Moment, Sparse
from chalicelib.store.open import DynamoStores, dynamo_stores
from chalicelib.store.ports import Token

Behind = Callable[[Any], DynamoStores]
EXPIRES = NOW + 86_400  # a fraction of a second past a whole one
EXPIRES_WHOLE = {"N": str(math.ceil(EXPIRES))}


def rows(dynamodb: Any, settings: Settings, table: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = dynamodb.scan(TableName=settings.table(table))["Items"]
    return items


# ---- Stages


def test_two_stages_of_one_account_share_no_row(
    dynamo: DynamoStores, another_stage: Settings, session: Session
) -> None:
    """The same names in both: pools, defaults, who is looking, tokens, hosts, jobs, backlog, story."""
    other = dynamo_stores(another_stage, session=session)
    job, host = a_job(), a_host()
    dynamo.registry.put_pool("p", PoolSpec(hosts_max=7), version=None, settings={"hosts_max": 7})
    dynamo.registry.put_defaults(Defaults(version=1, settings={"linger_s": 5}))
    dynamo.registry.looking("p", "viewer", EXPIRES)
    dynamo.registry.put_token(Token(sha256="aa", role="admin", owner="ann", created_at=NOW))
    dynamo.hosts.create([host])
    dynamo.jobs.put(job)
    dynamo.backlog.put(entry_of(job))
    dynamo.story.append([Line(at=NOW, subject="pool/p", event="setting", reason="r")], EXPIRES)
    assert other.registry.pools() == []
    assert other.registry.defaults() == Defaults()
    assert other.registry.lookers("p", NOW) == 0
    assert other.registry.token("aa") is None
    assert other.hosts.of_pool("p") == ([], [])
    assert other.jobs.get(job.id) is None
    assert other.backlog.head("p", 9) == []
    assert other.story.of("pool/p") == []
    assert other.registry.put_pool("p", PoolSpec(), version=None) == Pool(name="p", spec=PoolSpec())
    pool = dynamo.registry.pool("p")
    assert pool is not None
    assert pool.spec.hosts_max == 7


def test_lookers_are_counted_over_all_pages(behind: Behind, moto: Any) -> None:
    """A page of DynamoDB ends after 1 MB, whatever it holds: many viewers must not look like few. And a crowd is not counted for ever."""

    def in_small_pages(environ: Any, start_response: Any) -> Any:
        body = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        if environ["HTTP_X_AMZ_TARGET"].endswith(".Query"):
            body["Limit"] = 2
        text = json.dumps(body).encode()
        return moto(environ | {"wsgi.input": BytesIO(text), "CONTENT_LENGTH": str(len(text))}, start_response)

    stores = behind(in_small_pages)
    for n in range(7):
        stores.registry.looking("p", f"viewer-{n}", EXPIRES)
    assert stores.registry.lookers("p", NOW) == 7
    assert stores.requests.by_operation()["Query"] == 4
    assert stores.registry.lookers("p", NOW, most=3) == 4


# ---- Few requests


def test_opening_sends_nothing() -> None:
    """app.py opens the stores while `chalice deploy` looks at it: without credentials, region or network."""
    stores = dynamo_stores(Settings(region="nowhere-1"))
    assert stores.requests.total == 0


def test_every_write_is_one_request(dynamo: DynamoStores) -> None:
    """Accepting a job is two requests, and nothing anywhere reads before it writes."""
    job, host = a_job(), a_host()
    dynamo.jobs.put(job)
    dynamo.backlog.put(entry_of(job))
    assert dynamo.requests.by_operation() == {"PutItem": 2}
    dynamo.hosts.create([host])
    steps: list[Callable[[], object]] = [
        lambda: dynamo.jobs.hold_key("ann", "k", "h", job.id, EXPIRES),
        lambda: dynamo.registry.put_pool("p", PoolSpec(), version=None),
        lambda: dynamo.registry.begin_pass("p"),
        lambda: dynamo.registry.note_pass("p", 1, wake_at=NOW),
        lambda: dynamo.registry.put_pool("p", PoolSpec(), version=1),
        lambda: dynamo.registry.put_calendar("p", [], version=2),
        lambda: dynamo.registry.note_interest("p", 3),
        lambda: dynamo.registry.note_prospects("p", Prospects(at=NOW)),
        lambda: dynamo.registry.looking("p", "viewer", EXPIRES),
        lambda: dynamo.registry.put_defaults(Defaults(version=1)),
        lambda: dynamo.hosts.assign("p", host.id, an_assignment()),
        lambda: dynamo.jobs.move(job.id, JobEvent.ASSIGN, attempt=1, at=NOW, reason="r"),
        lambda: dynamo.claims.take("AROA:i-1", job.id, 1, by="agent", at=NOW, expires_at=EXPIRES),
        lambda: dynamo.hosts.mark("p", host.id, an_assignment().key, accepted_at=NOW),
        lambda: dynamo.hosts.unassign("p", host.id, an_assignment().key, NOW),
        lambda: dynamo.hosts.touch("p", host.id, seen_at=NOW),
        lambda: dynamo.hosts.move("p", host.id, HostEvent.DRAIN, at=NOW, reason="r", empty=True),
        lambda: dynamo.hosts.record("p", host.id, "i-1", "AROA:i-1", 1.0),
        lambda: dynamo.jobs.request_cancel(job.id),
    ]
    for step in steps:
        before = dynamo.requests.total
        assert step() not in (False,), "each step must have its effect"
        assert dynamo.requests.total == before + 1
    assert not {"GetItem", "Query"} & dynamo.requests.by_operation().keys()


def test_many_rows_are_few_requests(dynamo: DynamoStores) -> None:
    """25 writes or 100 reads a request; a list page and a pool are one query each."""
    jobs = [a_job(n) for n in range(101)]
    dynamo.submissions.create(jobs)
    dynamo.jobs.get_many([job.id for job in jobs])
    dynamo.backlog.put_many([entry_of(job) for job in jobs])
    dynamo.backlog.head("p", 101)
    dynamo.jobs.active("p", limit=50)
    dynamo.jobs.of_pool("p", limit=50)
    dynamo.hosts.of_pool("p")
    assert dynamo.requests.by_operation() == {
        "BatchExecuteStatement": 9,  # of jobs with their entries
        "BatchWriteItem": 5,
        "BatchGetItem": 2,
        "Query": 4,
    }


# ---- Rows as others read them


def test_what_ends_expires(dynamo: DynamoStores, settings: Settings, dynamodb: Any) -> None:
    """The time-to-live attribute is a whole number of seconds, and it stands on every row that nobody will ask for again."""
    dynamo.jobs.put(a_job_in(JobState.RUNNING))
    dynamo.jobs.move(a_job().id, JobEvent.SUCCEED, attempt=1, at=NOW, reason="", untold=False, expires_at=EXPIRES)
    dynamo.jobs.hold_key("ann", "k", "h", a_job().id, EXPIRES)
    dynamo.story.append([Line(at=NOW, subject="host-1", event="e", reason="r")], EXPIRES)
    dynamo.hosts.create([a_host()])
    dynamo.hosts.move("p", a_host().id, HostEvent.VANISH, at=NOW, reason="", expires_at=EXPIRES)
    dynamo.hosts.put_launch(a_launch())
    dynamo.hosts.settle_launch(a_launch(), EXPIRES)
    dynamo.claims.take("AROA:i-1", "job-1", 1, by="agent", at=NOW, expires_at=EXPIRES)
    dynamo.registry.put_token(Token(sha256="a", role="admin", owner="o", created_at=NOW, expires_at=EXPIRES))
    found = [row for table in ("jobs", "hosts", "claims", "registry") for row in rows(dynamodb, settings, table)]
    assert len(found) == 7
    assert [row.get("expires_at") for row in found] == [EXPIRES_WHOLE] * 7


def test_what_lives_does_not_expire(dynamo: DynamoStores, settings: Settings, dynamodb: Any) -> None:
    """No live row carries the attribute: DynamoDB would delete it."""
    dynamo.jobs.put(a_job())
    dynamo.jobs.move(a_job().id, JobEvent.ASSIGN, attempt=1, at=NOW, reason="", expires_at=EXPIRES)
    dynamo.backlog.put(entry_of(a_job()))
    dynamo.hosts.create([a_host()])
    dynamo.hosts.put_launch(a_launch())
    dynamo.registry.put_pool("p", PoolSpec(), version=None)
    dynamo.registry.put_token(Token(sha256="a", role="admin", owner="o", created_at=NOW))
    found = [row for table in ("jobs", "backlog", "hosts", "registry") for row in rows(dynamodb, settings, table)]
    assert len(found) == 6
    assert not any("expires_at" in row for row in found)


def test_a_claim_is_what_agents_write(dynamo: DynamoStores, settings: Settings, dynamodb: Any) -> None:
    """Agents put claims with their own client (docs/contracts.md §2): same keys, same attributes, and each sees the other's."""
    dynamo.claims.take("AROA:i-1", "job-1", 2, by="control", at=NOW, expires_at=EXPIRES)
    ours = {"host": {"S": "AROA:i-1"}, "attempt": {"S": "job-1#2"}, "by": {"S": "control"}, "at": {"N": str(NOW)}}
    assert rows(dynamodb, settings, "claims") == [ours | {"expires_at": EXPIRES_WHOLE}]
    theirs = ours | {"attempt": {"S": "job-1#3"}, "by": {"S": "agent"}, "expires_at": EXPIRES_WHOLE}
    put = {"TableName": settings.table("claims"), "Item": theirs, "ConditionExpression": "attribute_not_exists(host)"}
    dynamodb.put_item(**put)
    assert not dynamo.claims.take("AROA:i-1", "job-1", 3, by="control", at=NOW, expires_at=EXPIRES)
    assert dynamo.claims.holder("AROA:i-1", "job-1", 3) == "agent"
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        dynamodb.put_item(**put | {"Item": ours})


def test_two_stages_share_nothing(dynamo: DynamoStores, settings: Settings) -> None:
    """Table names are bound when the stores are opened: another stage in the same process has its own, here none."""
    dynamo.jobs.put(a_job())
    with pytest.raises(StoreUnavailable):
        dynamo_stores(Settings(stage="another")).jobs.get(a_job().id)
    assert dynamo.jobs.get(a_job().id) == a_job()


def test_only_the_store_knows_pynamodb() -> None:
    """Rows are the store's own business: nothing outside of chalicelib/store imports PynamoDB."""
    root = Path(__file__).parents[2]
    store = root / "chalicelib" / "store"
    for path in [*root.glob("*.py"), *root.glob("chalicelib/**/*.py"), *root.glob("spillway/**/*.py")]:
        if store in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "pynamodb" for name in names), path


# ---- Values come back to the last bit

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.floats(min_value=0, max_value=4e9, allow_subnormal=False) | st.integers(0, 4 * 10**15).map(
    lambda us: us / 1e6
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(TEXT, TEXT, max_size=3)
SPECS = st.builds(
    JobSpec,
    command=TEXT,
    timeout_s=st.integers(1, 10**6),
    family=st.none() | TEXT,
    cpu=NUMBERS,
    environment=MAPPINGS,
    inputs=st.lists(
        st.builds(Input, path=TEXT, text=st.none() | TEXT, sha256=st.none() | TEXT, unpack=st.booleans())
    ).map(tuple),
    outputs=st.lists(st.builds(Wanted, glob=TEXT, name=TEXT), max_size=3).map(tuple),
    parameters=st.dictionaries(TEXT, JSON, max_size=2),
    secrets=MAPPINGS,
    result=st.none() | TEXT,
    labels=MAPPINGS,
    idempotency_key=st.none() | TEXT,
)
FINISHES = st.builds(
    Finish,
    outcome=TEXT,
    reason=TEXT,
    started_at=st.none() | TIMES,
    finished_at=TIMES,
    exit_code=st.none() | st.integers(-300, 300),
    cpu_s=st.none() | NUMBERS,
    log=st.builds(Log, bytes=st.integers(0, 2**40), cut=st.booleans(), text=st.none() | TEXT),
    result=JSON,
    outputs=st.lists(st.builds(Output, path=TEXT, bytes=st.integers(0, 2**50)), max_size=3).map(tuple),
)
ASSIGNMENTS = st.builds(
    Assignment,
    job=TEXT,
    attempt=st.integers(1, 10**6),
    cpu=st.floats(0, 1000),
    memory_mib=st.integers(0, 10**7),
    slots=st.integers(0, 1000),
    timeout_s=st.integers(1, 10**6),
    assigned_at=TIMES,
    inline=st.booleans(),
    accepted_at=st.none() | TIMES,
    started_at=st.none() | TIMES,
    cancel=st.booleans(),
)


@given(SPECS, FINISHES)
@example(
    JobSpec(command="", timeout_s=1, inputs=(Input(path="empty", text=""),)),
    Finish(outcome="", reason="", finished_at=0.0),
)
@hypothesis_settings(max_examples=80, deadline=None)
def test_records_survive_as_json_text(spec: JobSpec, finish: Finish) -> None:
    """Mappings, tuples, nested records, any JSON result: what is decoded equals what was encoded."""
    for attribute, record in ((Sparse(JobSpec), spec), (Json(Finish), finish)):
        text = attribute.serialize(record)  # type: ignore[arg-type]
        assert attribute.deserialize(text) == record
        assert json.loads(text), "readable by anything that reads JSON"


def test_text_that_is_no_unicode_does_not_keep_a_job_from_ending(dynamo: DynamoStores) -> None:
    """A program's JSON result may hold half a character ("\\ud800"): the job ends all the same, with "?" in its place."""
    dynamo.jobs.put(a_job_in(JobState.RUNNING))
    finish = Finish(outcome="succeeded", reason="", finished_at=NOW, result=json.loads('{"said": ["\\ud800", "é"]}'))
    ended = dynamo.jobs.move(a_job().id, JobEvent.SUCCEED, attempt=1, at=NOW, reason="", untold=False, finish=finish)
    assert ended is not None
    assert ended.finish is not None
    assert ended.finish.result == {"said": ["?", "é"]}


@given(TIMES, st.dictionaries(TEXT, TIMES, max_size=3), st.lists(ASSIGNMENTS, max_size=3))
@hypothesis_settings(max_examples=80, deadline=None)
def test_numbers_survive_dynamodbs_notation(at: float, entered: dict[str, float], carried: list[Assignment]) -> None:
    """Milliseconds and microseconds of the epoch come back as they were; a time to live is never too early."""
    assert Float().deserialize(Float().serialize(at)) == at
    assert Floats().deserialize(Floats().serialize(entered)) == entered
    by_key = {assignment.key: assignment for assignment in carried}
    assert Assignments().deserialize(Assignments().serialize(by_key)) == by_key
    assert int(Moment().serialize(at)) == math.ceil(at)


def test_microseconds_survive_the_table(dynamo: DynamoStores) -> None:
    """… and through the server, which keeps numbers as decimals of 38 digits."""
    for n, at in enumerate([1_770_000_000.123456, 0.1 + 0.2, 1e-7, 1_770_000_000.0, 123456789.987654321]):
        dynamo.jobs.put(a_job(n, submitted_at=at, entered={"pending": at}))
        assert dynamo.jobs.get(a_job(n).id) == a_job(n, submitted_at=at, entered={"pending": at})


def test_the_largest_job_is_far_below_dynamodbs_limit(dynamo: DynamoStores, settings: Settings, dynamodb: Any) -> None:
    """A log of 8 KiB and a result of 32 KiB fit into a row many times over (the limit is 400 KB)."""
    dynamo.jobs.put(a_job_in(JobState.RUNNING))
    log = Log(bytes=8192, text="\x01" * 8192)  # JSON writes six bytes for each
    finish = Finish(outcome="succeeded", reason="", finished_at=NOW, log=log, result={"text": "ü" * 16_000})
    dynamo.jobs.move(a_job().id, JobEvent.SUCCEED, attempt=1, at=NOW, reason="", untold=False, finish=finish)
    (row,) = rows(dynamodb, settings, "jobs")
    assert sum(len(name) + len(str(value).encode()) for name, value in row.items()) < 200_000


# ---- What DynamoDB leaves undone is sent again


class Stingy:
    """Does only the first two of each batch and gives the rest back unprocessed, as DynamoDB does when it throttles."""

    def __init__(self, moto: Any) -> None:
        self._moto = moto
        self.calls = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        operation = environ["HTTP_X_AMZ_TARGET"].split(".")[1]
        if not operation.startswith("Batch"):
            return self._moto(environ, start_response)  # type: ignore[no-any-return]
        self.calls += 1
        request = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        if operation == "BatchExecuteStatement":
            return self._inserts(request, environ, start_response)
        ((table, asked),) = request["RequestItems"].items()
        if operation == "BatchWriteItem":
            request["RequestItems"][table], left = asked[:2], asked[2:]
            undone = {"UnprocessedItems": {table: left} if left else {}}
        else:
            left = asked["Keys"][2:]
            request["RequestItems"][table] = asked | {"Keys": asked["Keys"][:2]}
            undone = {"UnprocessedKeys": {table: {"Keys": left}} if left else {}}
        body = json.dumps(request).encode()
        environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        answer = json.loads(b"".join(self._moto(environ, lambda status, headers, *_: None)))
        start_response("200 OK", [("Content-Type", "application/x-amz-json-1.0")])
        return [json.dumps(answer | undone).encode()]

    def _inserts(self, request: Any, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """Each statement has an answer of its own: those beyond the second say that they were throttled."""
        done, left = request["Statements"][:2], request["Statements"][2:]
        body = json.dumps({"Statements": done}).encode()
        environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        answer = json.loads(b"".join(self._moto(environ, lambda status, headers, *_: None)))
        answer["Responses"] += [{"Error": {"Code": "ThrottlingError", "Message": "slower"}} for _ in left]
        start_response("200 OK", [("Content-Type", "application/x-amz-json-1.0")])
        return [json.dumps(answer).encode()]


def test_unprocessed_parts_of_a_batch_are_sent_again(behind: Behind, moto: Any) -> None:
    """Nothing is lost when DynamoDB does two rows a time: puts, reads and deletes all arrive."""
    stingy = Stingy(moto)
    dynamo = behind(stingy)
    jobs = [a_job(n) for n in range(7)]
    entries = [entry_of(job) for job in jobs]
    for job in jobs:
        dynamo.jobs.put(job)
    assert dynamo.jobs.get_many([job.id for job in jobs]) == {job.id: job for job in jobs}
    dynamo.backlog.put_many(entries)
    assert dynamo.backlog.head("p", 10) == entries
    dynamo.backlog.remove(entries[:6])
    assert dynamo.backlog.head("p", 10) == entries[6:]
    assert stingy.calls == 4 + 4 + 3


def test_throttled_parts_of_a_submission_are_sent_again(behind: Behind, moto: Any) -> None:
    """Two rows a time: all jobs and entries arrive, and who existed is still known as such."""
    stingy = Stingy(moto)
    dynamo = behind(stingy)
    jobs = [a_job(n) for n in range(5)]
    dynamo.jobs.put(jobs[3])
    assert dynamo.submissions.create(jobs) == {jobs[3].id}
    assert stingy.calls == 5
    assert dynamo.jobs.get_many([job.id for job in jobs]) == {job.id: job for job in jobs}
    assert dynamo.backlog.head("p", 10) == [entry_of(job) for job in jobs]


# ---- Refusals in plain words


class Refusing:
    """Answers every request with one of DynamoDB's errors."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.calls = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.calls += 1
        start_response("400 Bad Request", [("Content-Type", "application/x-amz-json-1.0")])
        return [json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{self.code}", "message": "no"}).encode()]


@pytest.mark.parametrize(
    ("code", "sentence", "calls"),
    [
        ("ThrottlingException", "throttled; try again in a moment", 3),
        ("AccessDeniedException", "access denied; the function's policy must allow", 1),
        ("ResourceNotFoundException", "run `spillway bootstrap`", 1),
        ("ExpiredTokenException", "credentials have expired", 1),
        ("SomethingNew", "SomethingNew: no", 1),
    ],
)
def test_a_refusal_says_which_table_and_what_to_do(
    behind: Behind, settings: Settings, code: str, sentence: str, calls: int
) -> None:
    """Throttling is retried twice, by botocore; every refusal ends as one exception with a sentence."""
    refusing = Refusing(code)
    with pytest.raises(StoreUnavailable, match=sentence) as caught:
        behind(refusing).jobs.get("job-1")
    assert settings.table("jobs") in str(caught.value)
    assert "GetItem" in str(caught.value)
    assert refusing.calls == calls


def test_batches_and_queries_are_refused_alike(behind: Behind) -> None:
    dynamo = behind(Refusing("AccessDeniedException"))
    calls: list[Callable[[], object]] = [
        lambda: dynamo.jobs.put(a_job()),
        lambda: dynamo.submissions.create([a_job()]),
        lambda: dynamo.jobs.get_many(["job-1"]),
        lambda: dynamo.jobs.active("p"),
        lambda: dynamo.hosts.of_pool("p"),
        lambda: dynamo.backlog.head("p", 5),
        lambda: dynamo.registry.begin_pass("p"),
        lambda: dynamo.claims.take("AROA:i-1", "job-1", 1, by="agent", at=NOW, expires_at=EXPIRES),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="access denied"):
            call()


def test_an_unreachable_dynamodb_is_told_as_such(opened_at: Callable[[str], DynamoStores]) -> None:
    """Where nobody listens, the stores say which endpoint and table, after three quick attempts."""
    with socket() as held:
        held.bind(("127.0.0.1", 0))  # taken, but not listening
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match=f'GetItem on table .* endpoint URL: "{url}'):
            opened_at(url).jobs.get("job-1")


def test_a_request_that_is_wrong_is_our_fault(behind: Behind) -> None:
    """DynamoDB's ValidationException is a defect of ours: it must not look like bad weather that passes."""
    with pytest.raises(Exception, match="ValidationException") as caught:
        behind(Refusing("ValidationException")).jobs.get("job-1")
    assert not isinstance(caught.value, StoreUnavailable)
