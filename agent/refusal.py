"""An attempt that is given back before it began."""

from __future__ import annotations

import re
from typing import Any

from agent.manifest import Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}\Z")  # never an option of a program that is given it


class Refusal(Exception):
    """The attempt is given back, not begun. `why` is a `refused` ping's; `fields` are what else it says."""

    def __init__(self, why: str, reason: str, **fields: Any) -> None:
        super().__init__(reason)
        self.why = why
        self.fields = fields


def refuse_image(image: str, settings: Settings, containers: bool) -> None:
    """Nothing runs in other surroundings than were asked for: not without the container of its image. Raises Refusal."""
    if containers and image and NAME.match(image) is None:
        raise Refusal("bad_input", "%s is no name of an image" % image)
    if containers and not image and not settings.container_image:
        raise Refusal("bad_input", "it names no image to run in, and its pool has none for such jobs (container_image)")
    if image and not containers and settings.images != "ignore":
        raise Refusal("no_sandbox", "it names the image %s, and this host was launched to run no containers" % image)
