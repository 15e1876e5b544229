"""The users file: hashed passwords, tokens that end, a file for its owner only."""

import base64
import io
import json
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.__main__ import check_reach, main
from app.auth.users import User, Users, add_user, remove_user
from engine.errors import ConfigError

PASSWORD = "correct horse"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "users.json"
    add_user(file, "anna", "labeller", PASSWORD)
    return file


def test_a_password_is_right_or_wrong(path: Path) -> None:
    users = Users(path)
    assert users.check("anna", PASSWORD) == User(name="anna", role="labeller")
    assert users.check("anna", PASSWORD + "!") is None and users.check("bob", PASSWORD) is None


def test_the_file_has_no_password_and_is_its_owners(path: Path) -> None:
    assert PASSWORD not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_token_is_its_users_until_it_ends(path: Path) -> None:
    users = Users(path)
    token = users.token("anna")
    assert users.user_of(token) == User(name="anna", role="labeller")
    assert users.user_of(users.token("anna", seconds=-1)) is None
    assert users.user_of(users.token("anna", "link")) is None and users.user_of(users.token("anna", "link"), "link")
    for forged in (token[:-2] + "AA", "x" + token, "", ".", token.split(".")[0], "bm8.x", token + "\udcff"):
        assert users.user_of(forged) is None


def test_a_clock_that_jumps_ahead_and_back_makes_no_session_longer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users, today_s = Users(path), time.time()
    ended, kept = users.token("anna"), users.token("anna")
    users.end(ended)
    monkeypatch.setattr(time, "time", lambda: today_s + 365 * 24 * 3600)
    assert users.user_of(kept) is None
    early = users.token("anna")
    users.end(users.token("anna"))  # writes the file of ended sessions while all older ones seem to be expired
    monkeypatch.setattr(time, "time", lambda: today_s + 60)
    assert users.user_of(ended) is None, "an ended session"
    assert users.user_of(early) is None, "a session that would last for a year"
    assert users.user_of(kept)
    monkeypatch.setattr(time, "time", lambda: today_s - 60)
    assert users.user_of(kept), "a small correction of the clock ends no session"


def test_a_deeply_nested_claim_is_no_session(path: Path) -> None:
    assert Users(path).user_of(base64.urlsafe_b64encode(b"[" * 1500).decode() + ".x") is None


def test_users_added_at_once_are_all_there(path: Path) -> None:
    together = threading.Barrier(3)

    def add(name: str) -> None:
        together.wait(10)
        add_user(path, name, "labeller", PASSWORD)

    with ThreadPoolExecutor(3) as shells:
        list(shells.map(add, ("bob", "cleo", "dan")))
    assert {"anna", "bob", "cleo", "dan"} <= Users(path).read().users.keys()


def test_a_new_password_and_a_removal_end_tokens_at_once(path: Path) -> None:
    users = Users(path)
    token = users.token("anna")
    add_user(path, "anna", "researcher", "another password")
    assert users.user_of(token) is None and users.check("anna", "another password") == User(
        name="anna", role="researcher"
    )
    token = users.token("anna")
    remove_user(path, "anna")
    assert users.user_of(token) is None


@pytest.mark.parametrize(("name", "password"), [("anna", "short"), ("", PASSWORD), (" a", PASSWORD), ("a\n", PASSWORD)])
def test_what_will_not_do_changes_nothing(path: Path, name: str, password: str) -> None:
    before = path.read_text()
    with pytest.raises(ConfigError):
        add_user(path, name, "labeller", password)
    assert path.read_text() == before


def test_a_damaged_file_lets_nobody_in(path: Path) -> None:
    users = Users(path)
    path.write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        users.check("anna", PASSWORD)
    with pytest.raises(ConfigError, match="There is no users file"):
        Users(path.with_name("other.json"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_no_login(host: str) -> None:
    check_reach(host, has_auth=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "203.0.113.5", "example.invalid", ""])
def test_others_need_one(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="anyone on the network"):
        check_reach(host, has_auth=False)
    check_reach(host, has_auth=True)
    assert main(["--host", host, "--port", "0"]) == 2
    assert "--auth FILE" in capsys.readouterr().err


def test_users_are_managed_from_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "users.json")
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD + "\n"))
    assert main(["users", "add", "eva", "--role", "researcher", "--file", file]) == 0
    assert main(["users", "link", "eva", "--file", file, "--url", "http://box:7860/"]) == 0
    link = capsys.readouterr().out.splitlines()[-1]
    assert link.startswith("http://box:7860/login?link=")
    assert Users(Path(file)).user_of(link.partition("link=")[2], "link") == User(name="eva", role="researcher")
    assert main(["users", "ls", "--file", file]) == 0 and "researcher" in capsys.readouterr().out
    assert main(["users", "remove", "eva", "--file", file]) == 0
    assert main(["users", "remove", "eva", "--file", file]) == 2


def test_a_users_file_that_an_editor_saved_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "users.json"
    text = json.dumps({"key": "k" * 32, "users": {}})
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_text(text, encoding=encoding)
        assert Users(path).read().key == "k" * 32
    path.write_bytes(text.encode() + b"\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        Users(path)
