"""The access token: checked by the hub, stored for its owner only, and never taken from the environment."""

from pathlib import Path

import pytest
from huggingface_hub import constants, get_token

from engine.errors import HubAccessError, HubError
from engine.hub.access import forget_token, store_token, token_source
from tests.stub_hub import TOKEN, StubHub


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "home" / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path / "home" / "token"


def test_a_token_is_checked_stored_and_forgotten(hub: StubHub, place: Path) -> None:
    assert token_source() == "none"
    assert store_token(f"  {TOKEN} ") == "test"
    assert (token_source(), get_token()) == ("stored", TOKEN)
    assert place.stat().st_mode & 0o777 == 0o600
    forget_token()
    assert token_source() == "none" and not place.exists()
    forget_token()


@pytest.mark.parametrize("token", ["", "two words", "hf_\n", "hf_\u00e9", "x" * 501])
def test_what_is_no_token_is_not_sent(hub: StubHub, place: Path, token: str) -> None:
    with pytest.raises(HubAccessError, match="That is no access token: copy one from http"):
        store_token(token + "\x00" if token == "hf_\n" else token)
    assert hub.tokens == [] and not place.exists()


def test_a_wrong_token_leaves_the_stored_one(hub: StubHub, place: Path) -> None:
    store_token(TOKEN)
    with pytest.raises(HubAccessError, match="The hub does not accept this access token: copy it again"):
        store_token("hf_wrong")
    assert get_token() == TOKEN


def test_the_environments_token_cannot_be_forgotten(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_environment")
    assert token_source() == "environment"
    with pytest.raises(HubError, match="comes from HF_TOKEN: unset it"):
        forget_token()
