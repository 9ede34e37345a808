"""An attempt's inputs: fetched by signed URL into the host's cache, verified, and copied or unpacked into the work folder."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import http.client
import os
import random
import re
import shutil
import time
from urllib.parse import urlsplit

from agent import parameters, wire
from agent.cache import Cache
from agent.manifest import Assignment, Input, short
from agent.unpack import Hostile, place, safe_parts, unpack

INPUT_MAX_BYTES = 2 << 30
TRIES_MAX = 4
BLOCK_BYTES = 1 << 18
CODE = re.compile(rb"<Code>(\w{1,100})</Code>")
ADDRESS_CODES = frozenset(  # of S3, which mean the address and not the object: a fresh one may do
    (
        b"AccessDenied",
        b"AuthorizationQueryParametersError",
        b"ExpiredToken",
        b"InvalidAccessKeyId",
        b"InvalidToken",
        b"RequestExpired",
        b"RequestTimeTooSkewed",
        b"SignatureDoesNotMatch",
        b"TokenRefreshRequired",
    )
)
FULL = (errno.ENOSPC, errno.EDQUOT)


class NotUsable(Exception):
    """The attempt cannot be given its inputs. `why` is a `refused` ping's; "" when it is our own fault (network, disk). `path`: of the
    input that could not be made, where it was one."""

    path = ""

    def __init__(self, why: str, reason: str) -> None:
        super().__init__(reason)
        self.why = why


class _Busy(Exception):
    """Worth another try."""


def fetch(url: str, name: str, path: str, sha256: str = "", bytes_max: int = INPUT_MAX_BYTES) -> None:
    """Write the content to the new file `path`, verified where its `sha256` is known. `name` stands in sentences.

    Raises NotUsable, and OSError when the disk is full.
    """
    fault = ""
    for attempt in range(TRIES_MAX):
        if attempt:
            time.sleep(0.3 * 2**attempt * (0.5 + random.random() / 2))
        try:
            _download(url, name, path, sha256, bytes_max)
            return
        except (_Busy, http.client.HTTPException) as error:
            fault = str(error) or type(error).__name__
        except OSError as error:
            if error.errno in FULL:
                raise
            fault = str(error)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    raise NotUsable("", "input %s could not be fetched: %s" % (name, fault))


def _download(url: str, name: str, path: str, sha256: str, bytes_max: int) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise NotUsable("bad_input", "the address of input %s is no HTTP address" % name)
    connection = wire.connect(parts.scheme, parts.netloc, 30.0)
    try:
        connection.request("GET", parts.path + ("?" + parts.query if parts.query else ""))
        answer = connection.getresponse()
        if answer.status != 200:
            raise _refusal(answer.status, answer.read(2000), name)
        digest, size = hashlib.sha256(), 0
        with open(path, "xb") as file:
            while True:
                block = answer.read(BLOCK_BYTES)
                if not block:
                    break
                size += len(block)
                if size > bytes_max:
                    raise NotUsable("bad_input", "input %s is larger than %d bytes" % (name, bytes_max))
                digest.update(block)
                file.write(block)
        expected = answer.getheader("Content-Length")
        if expected is not None and int(expected) != size:
            raise _Busy("the connection ended after %d of %s bytes" % (size, expected))
        if sha256 and digest.hexdigest() != sha256:
            raise NotUsable("bad_input", "input %s has other content than its SHA-256 says" % name)
    finally:
        connection.close()


def _refusal(status: int, body: bytes, name: str) -> Exception:
    if status == 404:
        return NotUsable("bad_input", "input %s is not there (404)" % name)
    if status == 403 and b"<Code>AccessDenied<" in body and b"expired" not in body:
        # What S3 says of an object that is not there to those who may not list; fresh URLs would be asked for without end.
        return NotUsable("bad_input", "input %s is not in the store, or may not be read" % name)
    code = CODE.search(body)
    if status in (400, 403) and code is not None and code.group(1) not in ADDRESS_CODES:
        said = code.group(1).decode()
        return NotUsable("bad_input", "the store does not give input %s away: %s" % (name, said))
    if status in (400, 401, 403):
        detail = body.decode("utf-8", "replace")[:200]
        return NotUsable("urls_expired", "the signed address of input %s is not accepted: %s" % (name, detail))
    return _Busy("the store answered %d" % status)


def prepare(assignment: Assignment, work: str, cache: Cache, disk_bytes: int = INPUT_MAX_BYTES) -> None:
    """Fill the empty folder `work`, with at most so much from each input. Raises NotUsable."""
    if assignment.lacks:
        raise NotUsable("urls_missing", assignment.lacks)
    if assignment.parameters:
        try:
            with open(place(work, parameters.FILE), "w", encoding="utf-8", errors="surrogatepass") as file:
                file.write(parameters.document(assignment.parameters))
        except (Hostile, IsADirectoryError) as error:  # by a repository, which was fetched before
            raise NotUsable("bad_input", "an input is in the way of %s: %s" % (parameters.FILE, error)) from error
    for one in assignment.inputs:
        if one.git is None:  # those were fetched before all else
            try:
                _make(one, assignment, work, cache, disk_bytes)
            except NotUsable as error:
                error.path = one.path
                raise


def _make(one: Input, assignment: Assignment, work: str, cache: Cache, disk_bytes: int) -> None:
    try:
        if one.text is not None:
            with open(place(work, one.path), "w", encoding="utf-8", errors="surrogatepass") as file:
                file.write(one.text)
        elif one.s3:
            _take_object(one, assignment.urls[one.s3], work, disk_bytes)
        else:
            get = functools.partial(fetch, assignment.urls[one.sha256], short(one.sha256), sha256=one.sha256)
            with cache.hold(one.sha256, get) as content:
                _put(one, content, work, disk_bytes)
    except Hostile as error:
        raise NotUsable("bad_input", "input %r: %s" % (one.path, error)) from error
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise NotUsable("bad_input", "input %r collides with another input" % one.path) from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise NotUsable("bad_input", "input %r: a name in it is too long" % one.path[:100]) from error
        raise NotUsable("", "input %r could not be written on the host: %s" % (one.path, error)) from error


def _put(one: Input, content: str, work: str, disk_bytes: int) -> None:
    if not one.unpack:
        target = place(work, one.path)
        shutil.copyfile(content, target)
        os.chmod(target, 0o755)  # scripts may come as plain inputs, and a mode does not travel with bytes
        return
    folder = work if not safe_parts(one.path) else place(work, one.path)
    os.makedirs(folder, exist_ok=True)
    unpack(content, folder, disk_bytes)


def _take_object(one: Input, url: str, work: str, disk_bytes: int) -> None:
    """An object of somebody's bucket: nobody knows its hash beforehand, so it is not kept for others."""
    content = work + ".object"  # beside it: what is unpacked could hold a file of any name
    try:
        fetch(url, one.s3, content, bytes_max=disk_bytes)
        _put(one, content, work, disk_bytes)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(content)
