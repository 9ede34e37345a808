"""A git repository as an input: its newest state of one branch (or tag), without history, fetched by the `git` of the host.

It runs in the sandbox as the attempt's own user, with network, before anything else of the attempt is in its work folder: what a job
brings along can so put no configuration, hook or filter in git's way. The token is a header in git's environment, never an argument and
never in the repository's configuration, where only the fetched commit is known.
"""

from __future__ import annotations

import base64
import random
import re
import shlex
import time
from typing import Callable, Mapping, NamedTuple, Optional
from urllib.parse import urlsplit

from agent.inputs import NotUsable
from agent.manifest import Git
from agent.unpack import Hostile, safe_parts

TIMEOUT_S = 600.0
TRIES_MAX = 3
SAID_MAX_BYTES = 4096
NO_PROGRAM = 127
MEMORY_BYTES = 4 << 30
TOKEN_USER = "x-access-token"  # GitHub's; GitLab takes any. A token with a colon is `user:password`
PASSES = re.compile(
    r"resolve host|Connection (refused|reset|timed out)|[Ff]ailed to connect|timed out|early EOF|unexpected disconnect|"
    r"returned error: (5\d\d|429)|RPC failed|transfer closed|Empty reply|SSL_"
)
CONFIGURATION = (
    ("credential.helper", ""),
    ("core.hooksPath", "/dev/null"),
    ("advice.detachedHead", "false"),
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "60"),
)


class Ran(NamedTuple):
    """How a program of ours ended; `killed` as in supervise.Ended."""

    exit_code: Optional[int]
    killed: str
    said: str


class Failure(NamedTuple):
    """`passes`: worth another try; `hosts`: no fault of the job's."""

    sentence: str
    passes: bool
    hosts: bool


def fetch(
    path: str,
    git: Git,
    token: str,
    run: Callable[[str, Mapping[str, str], Mapping[str, str]], Ran],
    stopped: Callable[[], bool],
) -> None:
    """Put it at `path`; `run(command, environment, secrets)` runs git. Raises NotUsable, unless somebody stops it."""
    try:
        wanted = command(path, git)
    except Hostile as error:
        raise NotUsable("bad_input", "input %r: %s" % (path, error)) from error
    hidden = secrets(git, token)
    blot = tuple(word for word in (token, *(value.rpartition(" ")[2] for value in hidden.values())) if len(word) > 3)
    for attempt in range(TRIES_MAX):
        if attempt:
            time.sleep(2**attempt * (0.5 + random.random() / 2))
        ran = run(wanted, {name: text for name, text in environment().items() if name not in hidden}, hidden)
        if stopped() or (ran.exit_code == 0 and not ran.killed):
            return
        why = failure(git, ran.exit_code, ran.killed, ran.said, blot)
        if not why.passes:
            break
    raise NotUsable("" if why.hosts else "bad_input", why.sentence)


def command(path: str, git: Git) -> str:
    """The shell command that puts it at `path` in the folder that it is run in. Raises unpack.Hostile."""
    folder = "/".join(safe_parts(path)) or "."
    steps = (
        "mkdir -p -- %s" % shlex.quote(folder),
        "cd -- %s" % shlex.quote(folder),
        "{ [ ! -s .git/FETCH_HEAD ] || { echo 'fatal: two repositories in one folder'; exit 1; }; }",
        "rm -rf .git",  # of a try that failed
        "git init -q --template=",
        "git fetch -q --depth 1 --no-tags -- %s %s" % (shlex.quote(git.url), shlex.quote(git.branch or "HEAD")),
        "git checkout -q --detach FETCH_HEAD",
    )
    return " && ".join(steps)


def environment() -> dict[str, str]:
    """Nothing of the host's or of the job's configuration is read, nobody is asked, and no other protocol is spoken."""
    found = {
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "http:https",
        "GIT_CONFIG_COUNT": str(len(CONFIGURATION)),
    }
    for number, (key, value) in enumerate(CONFIGURATION):
        found["GIT_CONFIG_KEY_%d" % number] = key
        found["GIT_CONFIG_VALUE_%d" % number] = value
    return found


def secrets(git: Git, token: str) -> dict[str, str]:
    """The further variables that let it in: the header goes to the repository's own host only."""
    if not token:
        return {}
    parts, number = urlsplit(git.url), len(CONFIGURATION)
    pair = token if ":" in token else "%s:%s" % (TOKEN_USER, token)
    return {
        "GIT_CONFIG_COUNT": str(number + 1),
        "GIT_CONFIG_KEY_%d" % number: "http.%s://%s/.extraHeader" % (parts.scheme, parts.netloc),
        "GIT_CONFIG_VALUE_%d" % number: "Authorization: Basic %s" % base64.b64encode(pair.encode()).decode(),
    }


def failure(git: Git, exit_code: Optional[int], killed: str, said: str, hidden: tuple[str, ...]) -> Failure:
    """What went wrong, for people. `hidden` is blotted out wherever it stands."""
    for word in hidden:
        said = said.replace(word, "***")
    name = git.url + (" (%s)" % git.branch if git.branch else "")
    if killed == "disk":
        return Failure("the repository %s is larger than the disk that the job asked for" % name, False, False)
    if killed:
        return Failure("the repository %s could not be fetched within %d s" % (name, TIMEOUT_S), False, True)
    if exit_code == NO_PROGRAM:
        return Failure("there is no git on this host, and the job has a repository as an input", False, True)
    if "could not read Username" in said:  # what git says of 401 when there is nobody to ask
        wants = (
            "does not accept the secret %s" % git.token if git.token else "wants a token: name the secret that holds it"
        )
        return Failure("the repository %s could not be fetched: its server %s" % (name, wants), False, False)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "")
    passes = bool(PASSES.search(said))
    return Failure("the repository %s could not be fetched: %s" % (name, told[:300]), passes, passes)
