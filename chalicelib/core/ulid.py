"""ULIDs: 48 bits of milliseconds, 80 bits that make them unique, in Crockford's base 32: they sort by time. (https://github.com/ulid/spec)"""

from __future__ import annotations

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(at: float, entropy: bytes) -> str:
    """26 characters from epoch seconds and 10 bytes."""
    number = (int(at * 1000) << 80) | int.from_bytes(entropy, "big")
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
