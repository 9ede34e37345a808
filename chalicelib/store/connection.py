"""The one door to DynamoDB: every request is counted here, and every refusal becomes one of two exceptions.

All tables share one botocore client, made at the first request. It waits 2 s for a connection and 5 s for an answer, and tries
three times in all. `AWS_ENDPOINT_URL` and the usual credentials are honoured, because nothing here overrides them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any, TypeVar, cast

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session, get_session
from pynamodb.connection import Connection
from pynamodb.connection._botocore_private import BotocoreBaseClientPrivate
from pynamodb.models import MetaModel, Model

from chalicelib.errors import StoreUnavailable

CONNECT_TIMEOUT_S = 2
READ_TIMEOUT_S = 5
ATTEMPTS_MAX = 3

Row = TypeVar("Row", bound=Model)

WHAT_TO_DO = {
    "ResourceNotFoundException": "the table does not exist; run `spillway bootstrap` for this stage",
    "AccessDeniedException": "access denied; the function's policy must allow this operation on this table",
    "UnrecognizedClientException": "the AWS credentials are not valid",
    "ExpiredTokenException": "the AWS credentials have expired",
    "ThrottlingException": "throttled; try again in a moment",
    "ProvisionedThroughputExceededException": "throttled; try again in a moment",
    "RequestLimitExceeded": "throttled by the account's limit; try again in a moment",
}


class ConditionFailed(Exception):
    """The row is not in the state that the write names: a lost race, which the stores turn into their outcome."""


def done(write: Callable[[], object]) -> bool:
    """Perform a conditional write; False where it lost the race."""
    try:
        write()
    except ConditionFailed:
        return False
    return True


class Requests:
    """How many requests went to DynamoDB, in all and by operation. Retries inside botocore are not counted again."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count: Counter[str] = Counter()

    def add(self, operation: str) -> None:
        with self._lock:
            self._count[operation] += 1

    @property
    def total(self) -> int:
        with self._lock:
            return self._count.total()

    def by_operation(self) -> dict[str, int]:
        with self._lock:
            return dict(self._count)


class CountedConnection(Connection):
    """PynamoDB's connection, shared by all rows of a stage."""

    def __init__(self, region: str, session: Session | None = None) -> None:
        super().__init__(region=region)
        self.requests = Requests()
        self._session = session
        self._lock = Lock()

    @property
    def client(self) -> BotocoreBaseClientPrivate:
        """Ours instead of PynamoDB's: a session that may be shared (70 to 100 ms of a cold start), keep-alive, one maker at a time."""
        with self._lock:
            if self._client is None:
                config = Config(
                    parameter_validation=False,  # PynamoDB has typed everything
                    connect_timeout=CONNECT_TIMEOUT_S,
                    read_timeout=READ_TIMEOUT_S,
                    retries={"mode": "standard", "total_max_attempts": ATTEMPTS_MAX},
                    tcp_keepalive=True,
                )
                session = self._session or get_session()
                self._client = cast(Any, session.create_client("dynamodb", self.region, config=config))
            return self._client

    def dispatch(self, operation_name: str, operation_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Every request passes here. Raises ConditionFailed, StoreUnavailable, or ClientError where our request itself is wrong."""
        self.requests.add(operation_name)
        try:
            return super().dispatch(operation_name, operation_kwargs)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ConditionalCheckFailedException":
                raise ConditionFailed from None
            if code == "ValidationException":
                raise
            what = WHAT_TO_DO.get(code) or f"{code}: {error.response['Error'].get('Message', '')}"
        except BotoCoreError as error:
            what = str(error)
        table = self._get_table_name_for_error_context(operation_kwargs)
        where = f"table {table}" if table else "the stage's tables"  # a batch of statements names several
        raise StoreUnavailable(f"{operation_name} on {where} in {self.region}: {what}")


def bind(row: type[Row], table: str, connection: CountedConnection) -> type[Row]:
    """The row shape `row`, bound to a table by name and to the shared connection; `row` itself stays unbound."""
    meta = type("Meta", (), {"table_name": table, "region": connection.region})
    bound = cast(type[Row], MetaModel(row.__name__, (row,), {"Meta": meta, "__module__": row.__module__}))
    of_table = bound._get_connection()
    with suppress(ValueError):  # several row shapes share a table and its keys
        connection.add_meta_table(of_table.get_meta_table())
    of_table.connection = connection
    return bound
