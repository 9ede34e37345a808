"""Families in memory."""

from __future__ import annotations

from threading import Lock

from chalicelib.core.family import Family


class MemoryFamilies:
    """`ports.Families`: versions by name, oldest first."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._families: dict[str, list[Family]] = {}

    def all(self) -> list[Family]:
        with self._lock:
            return [self._families[name][-1] for name in sorted(self._families)]

    def get(self, name: str, version: int | None = None) -> Family | None:
        with self._lock:
            versions = self._families.get(name, [])
            wanted = len(versions) if version is None else version
            return versions[wanted - 1] if 1 <= wanted <= len(versions) else None

    def versions(self, name: str, limit: int = 100) -> list[Family]:
        with self._lock:
            return self._families.get(name, [])[::-1][:limit]

    def put(self, family: Family) -> bool:
        with self._lock:
            versions = self._families.setdefault(family.name, [])
            if family.version != len(versions) + 1:
                return False
            versions.append(family)
            return True
