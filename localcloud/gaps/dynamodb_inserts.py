"""PartiQL INSERTs with parameters in BatchExecuteStatement: moto's parser takes a `?` for a value of its own and fails.

Each is a put on condition that the row does not exist; where it does, that statement alone says DuplicateItem, as DynamoDB does.
"""

from __future__ import annotations

import re
from typing import Any

_INSERT = re.compile(r"""INSERT INTO "([A-Za-z0-9_.-]+)" VALUE \{((?:'[^']+': \?(?:, )?)+)\}\Z""")
_NAME = re.compile(r"'([^']+)': \?")


def inserted(statement: str, parameters: list[Any]) -> tuple[str, dict[str, Any]] | None:
    """(table, item) of an INSERT whose values are all parameters; None for anything else."""
    found = _INSERT.match(statement)
    if found is None:
        return None
    names = _NAME.findall(found[2])
    return (found[1], dict(zip(names, parameters, strict=True))) if len(names) == len(parameters) else None


def install() -> None:
    """Answer them in moto's backend, for as long as this process lives."""
    from moto.dynamodb.models import DynamoDBBackend

    own: Any = DynamoDBBackend.batch_execute_statement
    if getattr(own, "inserts", False):
        return

    def batch_execute_statement(backend: Any, statements: list[dict[str, Any]]) -> list[dict[str, Any]]:
        inserts = [inserted(s["Statement"], s.get("Parameters", [])) for s in statements]
        if None in inserts:
            answers: list[dict[str, Any]] = own(backend, statements)
            return answers
        return [_put(backend, *insert) for insert in inserts if insert is not None]

    vars(batch_execute_statement)["inserts"] = True
    setattr(DynamoDBBackend, "batch_execute_statement", batch_execute_statement)  # noqa: B010  # moto's types forbid the plain way


def _put(backend: Any, table: str, item: dict[str, Any]) -> dict[str, Any]:
    from moto.dynamodb.exceptions import ConditionalCheckFailed

    if table not in backend.tables:
        return {"Error": {"Code": "ResourceNotFound", "Message": "Requested resource not found"}}
    key = backend.tables[table].hash_key_attr
    try:
        backend.put_item(
            table, item, condition_expression="attribute_not_exists(#k)", expression_attribute_names={"#k": key}
        )
    except ConditionalCheckFailed:
        message = "Duplicate primary key exists in table"
        return {"TableName": table, "Error": {"Code": "DuplicateItem", "Message": message}}
    return {"TableName": table}
