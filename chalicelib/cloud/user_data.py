"""User data: the boot script with the launch's manifest in it, gzipped (docs/contracts.md §4).

The same manifest and script give the same bytes, always: a launch that is sent again must not differ in one byte, or EC2 refuses it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any

from chalicelib.errors import SpillwayError

USER_DATA_BYTES_MAX = 16_384  # EC2's limit, before base64
PLACEHOLDER = "MANIFEST = r'''{}'''"


class ManifestTooLarge(SpillwayError):
    """User data over EC2's limit: launch fewer hosts at once, or hand their assignments over in their inboxes."""

    def __init__(self, size_bytes: int, hosts: int) -> None:
        super().__init__(
            f"user data for {hosts} hosts has {size_bytes} bytes gzipped and EC2 takes {USER_DATA_BYTES_MAX}; "
            "launch fewer hosts at once or leave their assignments to the inbox"
        )
        self.size_bytes = size_bytes


class BootScriptUnknown(SpillwayError):
    """The boot script has no place for a manifest: it is not the one that belongs to this version."""


def user_data(manifest: Mapping[str, Any], boot_script: str) -> bytes:
    """The gzipped script that a host's first boot runs. Raises ManifestTooLarge, BootScriptUnknown."""
    lines = boot_script.split("\n")
    places = [number for number, line in enumerate(lines) if line == PLACEHOLDER]
    if len(places) != 1:
        raise BootScriptUnknown(
            f"the boot script has {len(places)} lines `{PLACEHOLDER}` where one is needed; run `spillway bootstrap` again"
        )
    text = json.dumps(manifest, separators=(",", ":")).replace("'", "\\u0027")
    lines[places[0]] = PLACEHOLDER.replace("{}", text)
    packed = gzip.compress("\n".join(lines).encode(), mtime=0)
    if len(packed) > USER_DATA_BYTES_MAX:
        raise ManifestTooLarge(len(packed), len(manifest.get("hosts", ())))
    return packed
