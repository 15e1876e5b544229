"""The external rewards of this process.

They are found in folders, opened once, and named like the built-in ones. After a change of a declaration the next user
gets a new client; those that have the old one keep it. A process may hold declarations, so that all its later users get
what they were: a run has the same rewards from its first step to its last.
"""

import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rewards.errors import RewardError
from rewards.external.clients import ONLY, RewardClient
from rewards.external.declaration import ExternalReward, code_of, fingerprint, read_declaration
from rewards.external.folders import declaration_files
from rewards.import_object import import_object

if TYPE_CHECKING:
    from rewards.external.reward import AnswerSource, DeclaredReward

# Strings, because the modules import OpenCV and SciPy, which looking up names does without.
ANSWERS, DECLARED = "rewards.external.reward:AnswerSource", "rewards.external.reward:DeclaredReward"
HTTP = "rewards.external.http_client:HttpClient"
PYTHON = "rewards.external.python_client:PythonClient"
VLM = "rewards.external.vlm.client:VlmClient"
HEAD = "rewards.external.head_client:HeadClient"

_sources: dict[tuple[str, str, bytes], "AnswerSource"] = {}
_held: dict[Path, tuple["AnswerSource", str]] = {}
_lock = threading.Lock()


def base_declaration(key: str) -> ExternalReward:
    """Return the declaration of a reward or sub-score. Raises RewardError if it is unknown or wrong."""
    return _declaration(_file_of(key))


def external_keys() -> list[str]:
    """Return the names of all external rewards in mixes; wrong declarations have none."""
    keys: list[str] = []
    for file in declaration_files().values():
        try:
            keys += _declaration(file).reward_keys
        except RewardError:
            continue
    return keys


def declaration_problems() -> dict[str, str]:
    """Return the sentence on each wrong declaration by its key."""
    problems: dict[str, str] = {}
    for key, file in declaration_files().items():
        try:
            read_declaration(file)
        except RewardError as error:
            problems[key] = str(error)
    return problems


def is_external(key: str) -> bool:
    """Return True if a declaration exists for the key's first part."""
    return key.split(".")[0] in declaration_files()


def open_external(key: str) -> "DeclaredReward":
    """Return a declared reward. Raises RewardError for a wrong declaration or an unknown sub-score.

    Its client is shared by its sub-scores. After a change of the declaration it is closed with its last user.
    """
    file = _file_of(key)
    declaration = _declaration(file)
    if key not in declaration.reward_keys:
        raise RewardError(
            f"The external reward '{declaration.key}' has no score {key!r}; known are "
            f"{', '.join(declaration.reward_keys)}."
        )
    name = key.partition(".")[2] or ONLY
    reward: DeclaredReward = import_object(DECLARED)(_source(file, declaration), name)
    return reward


def external_fingerprint(keys: Sequence[str]) -> str:
    """Return a short text that changes with the declarations of the external rewards.

    Only those among `keys` count; "" without any.
    """
    files = declaration_files()
    named = sorted({key.split(".")[0] for key in keys} & files.keys())
    return "+".join(f"{key}@{_fingerprint(files[key])}" for key in named)


def hold_declarations(keys: Sequence[str]) -> None:
    """Use the present declarations of the external rewards among `keys` until `release_declarations`.

    Raises RewardError for a wrong declaration.
    """
    for key in {key.split(".")[0] for key in keys if is_external(key)}:
        file = _file_of(key)
        _held[file] = _source(file, _declaration(file)), _fingerprint(file)


def release_declarations() -> None:
    """Read declarations again from now on."""
    _held.clear()


def close_external() -> None:
    """Close all clients; the next use opens them again."""
    _held.clear()
    with _lock:
        for source in _sources.values():
            source.client.close()
        _sources.clear()


def _file_of(key: str) -> Path:
    files = declaration_files()
    base = key.split(".")[0]
    if base not in files:
        raise RewardError(f"There is no external reward {key!r}; known are {', '.join(files) or 'none'}.")
    return files[base]


def _declaration(file: Path) -> ExternalReward:
    return _held[file][0].declaration if file in _held else read_declaration(file)


def _fingerprint(file: Path) -> str:
    return _held[file][1] if file in _held else fingerprint(file, read_declaration(file))


def _source(file: Path, declaration: ExternalReward) -> "AnswerSource":
    if file in _held:
        return _held[file][0]
    identity = str(file.resolve()), declaration.model_dump_json(), code_of(file, declaration)
    with _lock:
        if identity not in _sources:
            for old in [known for known in _sources if known[0] == identity[0]]:
                del _sources[old]
            source = import_object(ANSWERS)(declaration, _client(file, declaration))
            weakref.finalize(source, source.client.close).atexit = False
            _sources[identity] = source
        return _sources[identity]


def _client(file: Path, declaration: ExternalReward) -> RewardClient:
    names = tuple(declaration.scores) or (ONLY,)
    client: RewardClient
    if declaration.http is not None:
        client = import_object(HTTP)(declaration.key, declaration.http, names)
    elif declaration.vlm is not None:
        client = import_object(VLM)(declaration.key, declaration.vlm, names)
    elif declaration.python is not None:
        client = import_object(PYTHON)(declaration.key, declaration.python, file.parent, names)
    else:
        assert declaration.head is not None, "the schema asks for one kind"
        client = import_object(HEAD)(declaration.key, file.parent / declaration.head.file)
    return client
