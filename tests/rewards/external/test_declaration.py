"""Declarations of external rewards: what is read, and one sentence for what is wrong."""

import pytest

from rewards import is_reward, known_rewards, reward_spec
from rewards.errors import RewardError
from rewards.external.declaration import Anchors, fingerprint, read_declaration
from rewards.external.registry import open_external
from rewards.mix import read_mix
from rewards.registry import reward_problems

HTTP = 'title = "Judge"\n[http]\nurl = "http://127.0.0.1:1/score"\n'


def test_declared_rewards_are_known_like_built_in_ones(declarations):
    declarations(
        "judge",
        'title = "Judge"\nquestion = "Good?"\n[http]\nurl = "http://h/score"\n[calibration]\nbad = -2\ngood = 2',
    )
    declarations(
        "align", 'title = "Align"\n[scores.vq]\ntitle = "Quality"\n[scores.mq]\n[http]\nurl = "http://h/score"\n'
    )
    assert known_rewards()[-3:] == ["align.vq", "align.mq", "judge"]
    assert is_reward("judge") and is_reward("align.vq") and not is_reward("align") and not is_reward("align.tq")
    spec = reward_spec("judge")
    assert (spec.key, spec.title, spec.question, spec.low, spec.high) == ("judge", "Judge", "Good?", -2, 2)
    assert [reward_spec(key).title for key in ("align.vq", "align.mq")] == ["Quality", "Align: mq"]


def test_declaration_of_an_old_editor_has_lines_like_any_other(declarations):
    path = declarations("judge", "")
    path.write_bytes(HTTP.replace("\n", "\r").encode())
    assert read_declaration(path).title == "Judge"


def test_declaration_that_cannot_be_read_leaves_the_others(declarations):
    declarations("deep", "title = " + "[" * 50_000)
    declarations("judge", HTTP)
    assert known_rewards()[-1] == "judge" and "too deeply" in reward_problems()["deep"]


def test_raw_range_maps_linearly_and_is_flat_outside():
    rising, falling = Anchors(bad=-1, good=3), Anchors(bad=10, good=0)
    assert [rising.value(raw) for raw in (-5, -1, 1, 3, 9)] == [0, 0, 0.5, 1, 1]
    assert [falling.value(raw) for raw in (12, 10, 2.5, -1)] == [0, 0, 0.75, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('title = "x"', "exactly one of the tables python, http, vlm, head, but none is given"),
        (HTTP + '[head]\nfile = "a"', "http and head are given"),
        (HTTP + "[calibration]\nbad = 1\ngood = 1", "bad and good are both 1.0"),
        (HTTP + "[calibration]\nbad = nan\ngood = 1", "wrong at calibration.bad"),
        (HTTP.replace("http://127", "ftp://127"), "no address of a server"),
        (HTTP.replace("//127", "//me:secret@127"), "contains a user or a password"),
        (HTTP + 'tokn_env = "A"', "wrong at http.tokn_env"),
        (HTTP + "timeout_s = 0", "wrong at http.timeout_s"),
        (HTTP + '[scores."a b"]', "letters, digits"),
        (HTTP + "[calibration]\nbad = 0\ngood = 1\n[scores.a]", r"\[scores.NAME.calibration\]"),
        ('title = "x"\n[python]\nfunction = "nothing"', "wrong at python.function"),
        ('title = "x"\nkey = "y"\n' + '[head]\nfile = "a"', "leave it out"),
        ("title = ", "cannot be read"),
        ("title = " + "[" * 50_000, "cannot be read: brackets are nested too deeply"),
    ],
)
def test_wrong_declaration_is_one_sentence(declarations, text, message):
    path = declarations("judge", text)
    with pytest.raises(RewardError, match=message) as raised:
        read_declaration(path)
    assert "judge" in str(raised.value) and "\n" not in str(raised.value).strip()
    assert "secret" not in str(raised.value) or "user or a password" in message


def test_a_wrong_declaration_hides_no_other_one(declarations):
    declarations("judge", "title = ")
    declarations("other", HTTP)
    assert known_rewards()[-1] == "other"
    with pytest.raises(RewardError, match="cannot be read"):
        open_external("judge")


def test_a_mix_that_names_a_wrong_declaration_says_what_is_wrong(declarations, tmp_path):
    declarations("judge", HTTP + "timeout_s = 0")
    declarations("aesthetic", HTTP)
    assert set(reward_problems()) == {"judge", "aesthetic"}
    assert "built-in" in reward_problems()["aesthetic"] and known_rewards().count("aesthetic") == 1
    mix = tmp_path / "mine.toml"
    for key in ("judge", "judge.vq"):
        mix.write_text(f'title = "Mine"\n[weights]\n"{key}" = 1\n')
        with pytest.raises(RewardError, match=rf"mine.toml names the reward '{key}'.*wrong at http.timeout_s"):
            read_mix(mix)
    mix.write_text('title = "Mine"\n[weights]\nframin = 1\n')
    with pytest.raises(RewardError, match="Did you mean 'framing'"):
        read_mix(mix)


def test_unknown_keys_get_a_suggestion(declarations):
    declarations("judge", HTTP)
    with pytest.raises(RewardError, match="Did you mean 'judge'"):
        reward_spec("judg")
    declarations("align", 'title = "Align"\n[scores.vq]\n[http]\nurl = "http://h/score"\n')
    with pytest.raises(RewardError, match=r"no score 'align.tq'; known are align.vq"):
        reward_spec("align.tq")


def test_fingerprint_changes_with_what_affects_scores_alone(declarations, tmp_path):
    code = tmp_path / "external_rewards" / "mine.py"
    code.write_text("a = 1")
    path = declarations("mine", 'title = "Mine"\n[python]\nfunction = "mine.py:f"')
    first = fingerprint(path, read_declaration(path))
    code.write_text("a = 2")
    second = fingerprint(path, read_declaration(path))
    path.write_text(path.read_text().replace("Mine", "Ours") + "\ntimeout_s = 7\n")
    assert first != second == fingerprint(path, read_declaration(path))
    path.write_text('version = "2"\n' + path.read_text())
    assert fingerprint(path, read_declaration(path)) not in (first, second)


@pytest.mark.parametrize(
    "url", ["me:planted@h/x", "me:planted@h:1", "ftp://h/planted", "//me:planted@h", "http:me:planted@h", "planted"]
)
def test_an_address_that_is_refused_is_not_repeated(declarations, url):
    path = declarations("judge", HTTP.replace("http://127.0.0.1:1/score", url))
    with pytest.raises(RewardError, match="address") as raised:
        read_declaration(path)
    assert "planted" not in str(raised.value)


def test_a_variable_that_is_recorded_with_runs_holds_no_token(declarations):
    path = declarations("judge", HTTP + 'token_env = "DAILIES_JUDGE"\n')
    with pytest.raises(RewardError, match="put the token into one of another name"):
        read_declaration(path)


SERVER = 'title = "Judge"\n[scores.a]\ntitle = "A"\n[http]\nurl = "http://h/score"\n'


@pytest.mark.parametrize("line", ["timeout_s = 5", "attempts = 1", "concurrency = 2", "batch = 4", 'token_env = "T"'])
def test_limits_of_calls_need_no_new_scores(declarations, line):
    path = declarations("judge", SERVER)
    first = fingerprint(path, read_declaration(path))
    path.write_text(SERVER.replace('title = "A"', 'title = "B"') + line)
    assert fingerprint(path, read_declaration(path)) == first
    path.write_text(SERVER + "frames = 4")
    assert fingerprint(path, read_declaration(path)) != first
