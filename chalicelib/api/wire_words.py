"""What a document is told that its schema refuses: msgspec's sentences, in words for people, with the path of what is wrong.

msgspec says which rule was broken, in Python's words ("Expected `str` matching regex '^ami-…'"). Whoever typed a pool's settings needs to
know what should stand there instead: that is what `LOOKS` is for.
"""

from __future__ import annotations

import re

from chalicelib.core.job import JobState
from chalicelib.errors import Fault

_NAME = "letters, digits, '.', '_' and '-', beginning with a letter or a digit, at most 64"

# Field → what it should be, where a pattern or a list of words decides.
LOOKS = {
    "action": "cancel, retry or reprioritise",
    "adverse": "skip or submit",
    "after": "ids of jobs or arrays, or #3 for the batch's own job 3",
    "after_on": "success or finish",
    "arch": "x86_64 or arm64",
    "array": "an array's id",
    "branch": "the name of a branch or a tag",
    "capacity": "ec2 or asg",
    "container_image": "a container's image, such as prairielearn/grader-python:latest or ghcr.io/course/grader@sha256:…",
    "container_user": "job or image",
    "cursor": "the `next` of the page before",
    "family": _NAME,
    "folder": "a folder directly under the root, such as /job",
    "ids": "ids of jobs",
    "image": "an image's id, such as ami-0123456789abcdef0",
    "images": "refuse or ignore",
    "label": "NAME or NAME:VALUE",
    "labels": f"named by {_NAME}",
    "launch_template": "a launch template's name, or name:version, such as graders:3",
    "market": "spot or on_demand",
    "misfire": "skip or once",
    "overlap": "allow, skip, queue or replace",
    "owner": _NAME,
    "placement": "best_fit, spread or random",
    "pool": _NAME,
    "role": "submitter, operator or admin",
    "s3": "an object's address, such as s3://bucket/path/of/it",
    "adapter": "command, gradescope, prairielearn or coursera",
    "by": "files or criu",
    "sandbox": "auto, bwrap, docker or none",
    "schedule": _NAME,
    "secrets": "a secret's name, such as ssm:grader-token or secretsmanager:grader-token",
    "sha256": "64 hexadecimal digits, in small letters",
    "state": f"one of {', '.join(JobState)}",
    "token": "a secret's name, such as ssm:grader-token or secretsmanager:grader-token",
    "types": "named like an instance type, such as c9i.large",
    "url": "an address that begins with https:// or http://, without a user's name in it",
    "webhook": "a URL that begins with https://",
    "zone": "an IANA time zone, such as Europe/Berlin",
}
_KINDS = {
    "array": "a list",
    "object": "an object",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
}
_BOUNDS = {">": "more than", ">=": "at least", "<": "less than", "<=": "at most"}

_AT = re.compile(r" - at `(?:key` in `)?\$\.?(?P<path>[^`]*)`$")
_INDEX = re.compile(r"\[[^\]]*\]")  # of a list, or `[...]`: so msgspec hides the key of a mapping
_UNKNOWN = re.compile(r"unknown field `(?P<field>[^`]+)`")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")
_KIND = re.compile(r"Expected `([^`]+)`, got `([^`]+)`$")
_LENGTH = re.compile(r"Expected `(array|object|str)` of length (>=|<=) (\d+)$")
_BOUND = re.compile(r"Expected `(?:int|float)` (>=|<=|>|<) (\S+)$")
_CHOICE = re.compile(r"Expected `str` matching regex|Invalid enum value (?P<value>'.*')$", re.DOTALL)


def fault(sentence: str) -> Fault:
    """Our fault out of msgspec's sentence: "Expected `int`, got `str` - at `$.jobs[3].cpu`"."""
    at = _AT.search(sentence)
    path = at["path"] if at else ""
    message = sentence[: at.start()] if at else sentence
    for pattern, says in ((_UNKNOWN, "is not a field that is known here"), (_MISSING, "is required")):
        if (named := pattern.search(message)) is not None:
            return Fault(f"{path}.{named['field']}".lstrip("."), says)
    return Fault(path, _in_words(message, path))


def _in_words(message: str, path: str) -> str:
    if found := _KIND.match(message):
        wanted, got = (" or ".join(_KINDS.get(kind, kind) for kind in side.split(" | ")) for side in found.groups())
        return f"must be {wanted}, not {'one with a fraction' if found.groups() == ('int', 'float') else got}"
    if found := _LENGTH.match(message):
        kind, sign, length = found.groups()
        unit = {"str": "character", "array": "entry"}.get(kind, "name")
        many = {"entry": "entries"}.get(unit, f"{unit}s")
        return f"must have {_BOUNDS[sign]} {length} {unit if length == '1' else many}"
    if found := _BOUND.match(message):
        return f"must be {_BOUNDS[found[1]]} {float(found[2]):g}"
    looks = LOOKS.get(_INDEX.sub("", path).rpartition(".")[2])
    if looks and (found := _CHOICE.match(message)):
        return f"must be {looks}" + (f", not {found['value']}" if found["value"] else "")
    return message
