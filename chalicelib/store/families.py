"""Families in DynamoDB, in the registry table: the newest version of each, and every version there ever was."""

from __future__ import annotations

from chalicelib.core.family import Family
from chalicelib.store.batches import read_all
from chalicelib.store.connection import ConditionFailed
from chalicelib.store.tables import FamilyRow


class DynamoFamilies:
    """`ports.Families`: hash `family`, range the name, and hash `family/<name>`, range the version."""

    def __init__(self, row: type[FamilyRow]) -> None:
        self._row = row

    def all(self) -> list[Family]:
        return [self._row.from_raw_data(item).body for item in read_all(self._row, "family")]

    def get(self, name: str, version: int | None = None) -> Family | None:
        try:
            return self._row.get(*_key(name, version), consistent_read=True).body
        except self._row.DoesNotExist:
            return None

    def versions(self, name: str, limit: int = 100) -> list[Family]:
        newest = self._row.query(f"family/{name}", scan_index_forward=False, limit=limit, consistent_read=True)
        return [row.body for row in newest]

    def put(self, family: Family) -> bool:
        first = family.version == 1
        try:
            self._of(family, version=family.version).save(condition=self._row.name.does_not_exist())
        except ConditionFailed:
            there = self.get(family.name, family.version)
            if there is None or there != family:
                self._point(there, first=first)
                return False
        return self._point(family, first=first)

    def _point(self, family: Family | None, *, first: bool) -> bool:
        """Let the name stand for this version, which follows the one that it stands for now."""
        if family is None:
            return False
        before = self._row.name.does_not_exist() if first else self._row.version == family.version - 1
        try:
            self._of(family).save(condition=before)
        except ConditionFailed:
            return self.get(family.name) == family  # another writer has found this version, and was so kind
        return True

    def _of(self, family: Family, version: int | None = None) -> FamilyRow:
        return self._row(*_key(family.name, version), version=family.version, body=family)


def _key(name: str, version: int | None) -> tuple[str, str]:
    return ("family", name) if version is None else (f"family/{name}", f"{version:06d}")
