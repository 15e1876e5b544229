"""Users of the page: a file of users with hashed passwords, and signed session tokens.

The file is JSON, readable by its owner only. Passwords are hashed by scrypt (RFC 7914) with the parameters that OWASP
recommends for 32 MiB. Tokens are signed by HMAC-SHA256 with a key in the file, and expire if the password changes.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.auth.revoked_sessions import Revoked
from engine.errors import ConfigError, StoreError
from engine.files.atomic import write_text_atomic
from engine.files.locks import locked
from engine.labelling.votes import NAME_LIMIT
from rewards.text_files import EncodingError, read_text

Role = Literal["labeller", "researcher"]
ROLES: tuple[Role, ...] = get_args(Role)
SCRYPT_N, SCRYPT_R, SCRYPT_P, SCRYPT_MEMORY = 2**15, 8, 3, 2**26
SHORTEST_PASSWORD = 8
SESSION_S = 30 * 24 * 3600
CLOCK_MARGIN_S = 3600
"""Maximum time by which the clock may be set back without ending sessions."""
TOKEN_LIMIT = 2048  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    name: str
    role: Role


class Account(BaseModel):
    """One user of the file; `salt` and `hash` in base64."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    salt: str
    hash: str

    def matches(self, password: str) -> bool:
        return hmac.compare_digest(scrypt(password, self.salt), self.hash)


class UserList(BaseModel):
    """The file; `key` signs tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(min_length=32)
    users: dict[str, Account] = Field(default_factory=dict)


class Users:
    """A users file, reloaded when it has changed, so that a removed user is logged out immediately."""

    def __init__(self, path: Path) -> None:
        """Load the file. Raises ConfigError if it does not exist or cannot be read."""
        self.path = path
        self._read_at: tuple[int, int] | None = None
        self._list = self.read()
        self._revoked = Revoked(path.with_name(f"{path.name}.ended"))

    def read(self) -> UserList:
        """Return the current content of the file. Raises ConfigError."""
        try:
            stat = self.path.stat()
            if self._read_at != (stat.st_mtime_ns, stat.st_size):
                self._list = UserList.model_validate_json(read_text(self.path))
                self._read_at = (stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError as error:
            raise ConfigError(
                f"There is no users file {self.path}: make it with `dailies users add NAME --role researcher "
                f"--file {self.path}`."
            ) from error
        except (OSError, ValidationError, EncodingError) as error:
            raise ConfigError(f"The users file {self.path} cannot be read: fix or remove it.") from error
        return self._list

    def check(self, name: str, password: str) -> User | None:
        """Return the user, None if name or password is wrong. Takes the same 0.2 s and 32 MiB in both cases."""
        account = self.read().users.get(name)
        right = (account or _NOBODY).matches(password[:1024])
        return User(name=name, role=account.role) if account and right else None

    def token(self, name: str, purpose: str = "session", seconds: int = SESSION_S) -> str:
        """Return a token of the user `name`. Raises ConfigError if there is no such user."""
        users = self.read()
        if name not in users.users:
            raise ConfigError(f"There is no user {name[:40]!r} in {self.path}.")
        until, session = int(time.time()) + seconds, secrets.token_hex(8)
        claim = _encode(json.dumps([purpose, name, until, session]).encode())
        return f"{claim}.{_signature(users, name, claim)}"

    def user_of(self, token: str, purpose: str = "session") -> User | None:
        """Return the user of a token, None if it is invalid, expired or revoked."""
        claim, now_s = self._claim(token), time.time()
        if claim is None or claim.purpose != purpose or claim.session in self._revoked:
            return None
        if not now_s < claim.until <= now_s + SESSION_S + CLOCK_MARGIN_S:  # or made while the clock was ahead
            return None
        return User(name=claim.name, role=self.read().users[claim.name].role)

    def end(self, token: str) -> None:
        """Revoke the session of a token and of its copies. Raises ConfigError if that cannot be stored."""
        if claim := self._claim(token):
            self._revoked.add(claim.session, claim.until)

    def _claim(self, token: str) -> "_Claim | None":
        """Return the claim of a token, None if the signature is wrong."""
        claim, _, signature = token[:TOKEN_LIMIT].partition(".")
        if not token.isascii():
            return None
        users = self.read()
        try:
            parsed = _Claim(*json.loads(_decode(claim)))
        except (ValueError, TypeError, RecursionError):
            return None
        if not isinstance(parsed.name, str) or parsed.name not in users.users:
            return None
        right = hmac.compare_digest(signature.encode(), _signature(users, parsed.name, claim).encode())
        return parsed if right else None


class _Claim(NamedTuple):
    """Content of a token; its types are guaranteed only after the signature was verified."""

    purpose: str
    name: Any
    until: int
    session: str


def add_user(path: Path, name: str, role: Role, password: str) -> None:
    """Add a user or change role and password of one; create the file if needed. Raises ConfigError."""
    if not 0 < len(name) <= NAME_LIMIT or name != " ".join(name.split()) or not name.isprintable():
        raise ConfigError(f"A user's name has 1 to {NAME_LIMIT} printable characters, but got {name[:40]!r}.")
    if len(password) < SHORTEST_PASSWORD:
        raise ConfigError(f"The password has {len(password)} characters: choose {SHORTEST_PASSWORD} or more.")
    salt = _encode(secrets.token_bytes(16))
    account = Account(role=role, salt=salt, hash=scrypt(password, salt))
    with _locked(path):
        before = Users(path).read() if path.exists() else UserList(key=secrets.token_hex(32))
        _write(path, before.model_copy(update={"users": {**before.users, name: account}}))


def add_first_user(path: Path, name: str) -> str | None:
    """Create the users file with one researcher and return the random password; None if it exists."""
    if path.exists():
        return None
    password = secrets.token_urlsafe(12)
    add_user(path, name, "researcher", password)
    return password


def remove_user(path: Path, name: str) -> None:
    """Remove a user. Raises ConfigError if there is no such user."""
    Users(path).read()  # a mistyped path gets no lock file
    with _locked(path):
        before = Users(path).read()
        if name not in before.users:
            raise ConfigError(f"There is no user {name[:40]!r} in {path}.")
        others = {key: account for key, account in before.users.items() if key != name}
        _write(path, before.model_copy(update={"users": others}))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock for changes of the users file; create its folder if needed. Raises ConfigError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock")):
            yield
    except (OSError, StoreError) as error:
        raise ConfigError(f"The users file {path} cannot be changed: {error}") from error


def scrypt(password: str, salt: str) -> str:
    hashed = hashlib.scrypt(
        password.encode(), salt=_decode(salt), n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, maxmem=SCRYPT_MEMORY, dklen=32
    )
    return _encode(hashed)


def _signature(users: UserList, name: str, claim: str) -> str:
    """Sign the claim with the password's hash, so that a new password invalidates old tokens."""
    message = f"{claim} {users.users[name].hash}".encode()
    return _encode(hmac.digest(users.key.encode(), message, "sha256"))


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _write(path: Path, users: UserList) -> None:
    """Write the file atomically, readable by its owner only from the first byte."""
    try:
        write_text_atomic(path, users.model_dump_json(indent=2) + "\n", private=True)
    except OSError as error:
        raise ConfigError(
            f"The users file {path} cannot be written ({error.strerror or error}): it is as before."
        ) from error


_NOBODY = Account(role="labeller", salt="A" * 22, hash="")
