"""`ServerTable`: the part of a declaration that every server has: address, token, limits and pictures."""

from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator

from rewards.models import FiniteModel

SECRET_WORDS = ("key", "token", "secret", "password", "auth")


class ServerTable(FiniteModel):
    """Address, token and limits of a server."""

    url: str
    """Address, http or https."""
    token_env: str | None = Field(None, pattern=r"^[A-Za-z_]\w*$")
    """Environment variable with the token, sent as "Authorization: Bearer"; the token itself is stored nowhere."""
    timeout_s: float = Field(60.0, gt=0)
    """Limit for one attempt."""
    attempts: int = Field(3, ge=1, le=10)
    """Attempts for failures that may pass: no connection, time-out, status 408, 429 and 5xx."""
    backoff_s: float = Field(0.5, ge=0)
    """Wait before the second attempt; it doubles with each further one."""
    concurrency: int = Field(8, ge=1, le=100)
    """Calls at the same time."""
    frames: int | None = Field(None, ge=1)
    """Evenly spaced frames that are sent; None: all."""
    picture: Literal["png", "jpeg"] = "png"
    """Encoding of a frame: png (lossless), or jpeg of quality 95."""

    @field_validator("token_env")
    @classmethod
    def _unwritten(cls, name: str | None) -> str | None:
        """Return the name. Raises ValueError for a variable that is recorded with jobs."""
        if name is not None and name.startswith("DAILIES_"):
            raise ValueError(
                f"{name} is recorded with runs, as every variable DAILIES_*: put the token into one of another name"
            )
        return name

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        """Return the address. Raises ValueError, without the address, when it contains a secret."""
        parts = urlsplit(url)
        if parts.username or parts.password:
            raise ValueError("the address contains a user or a password: put a token into an environment variable")
        if any(word in name.lower() for name, _ in parse_qsl(parts.query) for word in SECRET_WORDS):
            raise ValueError("the address contains a key or a token: put it into an environment variable")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("this is no address of a server: write http://HOST:PORT/PATH")
        return url
