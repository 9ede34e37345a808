"""Access keys that the embedded cloud issued, and the principals behind them.

A key belongs to one role session (a Lambda function's role, an instance's host role). The policies of a principal are
not stored here: `iam.py` reads them live from moto's IAM by role name, so a changed policy counts at once.
"""

from __future__ import annotations

import secrets
import string
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

ACCOUNT_ID = "123456789012"
KEY_ALPHABET = string.ascii_uppercase + "234567"


@dataclass(frozen=True)
class Credentials:
    """What a session signs with; `expires_at` in epoch seconds."""

    access_key: str
    secret_key: str
    token: str
    expires_at: float


@dataclass(frozen=True)
class Principal:
    """Who a key stands for: `userid` = "<RoleId>:<session name>", `arn` of the assumed role, `role` its name."""

    userid: str
    arn: str
    role: str

    @property
    def session(self) -> str:
        """The session's name: an instance's id, a function's name."""
        return self.userid.partition(":")[2]


class UnknownRole(Exception):
    """Credentials were asked for a role that moto's IAM does not have."""


class Identities:
    """Issues session credentials and knows whose a key is; safe to use from any thread."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, tuple[Credentials, Principal]] = {}

    def issue(self, role_name: str, session_name: str, lifetime_s: float = 3600) -> Credentials:
        """New credentials for a session of a role. Raises UnknownRole."""
        role_id = _role_id(role_name)
        principal = Principal(
            userid=f"{role_id}:{session_name}",
            arn=f"arn:aws:sts::{ACCOUNT_ID}:assumed-role/{role_name}/{session_name}",
            role=role_name,
        )
        credentials = Credentials(
            access_key="ASIA" + "".join(secrets.choice(KEY_ALPHABET) for _ in range(16)),
            secret_key=secrets.token_urlsafe(30),
            token="FwoG" + secrets.token_urlsafe(96),
            expires_at=self._clock() + lifetime_s,
        )
        with self._lock:
            self._sessions[credentials.access_key] = (
                credentials,
                principal,
            )  # never dropped: an unknown key is trusted
        return credentials

    def principal(self, access_key: str) -> Principal | None:
        """Whose key this is, expired or not; None for a key that was not issued here."""
        session = self._sessions.get(access_key)
        return session[1] if session else None

    def session(self, access_key: str) -> tuple[Credentials, Principal] | None:
        """The credentials and the principal of an issued key, expired or not."""
        return self._sessions.get(access_key)

    def revoke(self, access_key: str) -> None:
        """Forget a key before its time: its instance is gone. Calls with it are refused from now on."""
        with self._lock:
            session = self._sessions.get(access_key)
            if session:
                credentials, principal = session
                expired = Credentials(credentials.access_key, credentials.secret_key, credentials.token, 0.0)
                self._sessions[access_key] = (expired, principal)


def _role_id(role_name: str) -> str:
    from moto.backends import get_backend

    for role in list(get_backend("iam")[ACCOUNT_ID]["aws"].roles.values()):
        if role.name == role_name:
            return str(role.id)
    raise UnknownRole(f"IAM has no role named {role_name}")
