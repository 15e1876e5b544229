"""What lies on disk: files with the keys of their JSON, the database's tables, and the fields of checked settings."""

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import access

DIGITS = re.compile(r"\b[0-9a-f]{6,64}\b|\d+")
# These differ with the library versions, or come and go with a process.
PASSING = re.compile(r"\.(lock|log|db(-wal|-shm)?)$|/(cache|tmp|backups|worker|jobs|prompts)(/|$)")


def measure(folder: Path) -> dict[str, Any]:
    """The files of the workspaces in `folder` by their names, digits replaced by #; keys and types of those of JSON."""
    found: dict[str, Any] = {}
    for root in (folder / "workspace", folder / "scored"):
        for path in sorted(one for one in root.rglob("*") if one.is_file()):
            name = path.relative_to(root).as_posix()
            if not PASSING.search(f"/{name}"):
                place = found.setdefault(place_of(name), {})
                merge(place, keys_of(path))
    return found


def place_of(name: str) -> str:
    shelf = re.sub(r"^clips/[0-9a-f]{2}/[0-9a-f]{16}/", "clips/#/#/", name)
    return re.sub(
        r"^(runs|adapters)/(\w+?)-[0-9a-f]{6}/", r"\1/\2-#/", DIGITS.sub("#", shelf) if shelf != name else name
    )


def keys_of(path: Path) -> dict[str, str]:
    """`key/key: type` of a file of JSON or JSON Lines; lists by their elements. Empty for other files."""
    if path.suffix not in (".json", ".jsonl"):
        return {}
    text = path.read_text(encoding="utf-8")
    values = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]
    keys: dict[str, str] = {}
    for value in values:
        merge(keys, dict(types_of(value, "")))
    return keys


def types_of(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from types_of(one, f"{where}/{name}")
    elif isinstance(value, list) and value:
        kinds: dict[str, str] = {}
        for one in value:
            merge(kinds, dict(types_of(one, f"{where}[]")))
        yield from kinds.items()
    else:
        yield where, type(value).__name__


def merge(into: dict[str, str], more: Mapping[str, str]) -> None:
    """A key that has several types has all of them, sorted."""
    for name, kind in more.items():
        into[name] = " | ".join(sorted({*into.get(name, kind).split(" | "), *kind.split(" | ")}))


# ---- Schemas
def schema(folder: Path) -> dict[str, Any]:
    """The SQLite database of the workspace in `folder`, and the JSON schemas of presets and requests."""
    models = (access.GenerationRequest, access.ModelPreset, access.TrainPreset, access.CurriculumPreset)
    return {
        "database": database(folder / "dailies.db"),
        "fields": {model.__name__: without_texts(model.model_json_schema()) for model in models},
        "settings": {
            algorithm: {one.name: [one.kind, one.optional, one.default] for one in access.settings_of(algorithm)}
            for algorithm in access.ALGORITHMS
        },
    }


def database(file: Path) -> dict[str, Any]:
    """Columns (type, not null, default, place in the primary key), foreign keys and indexes of each table."""
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    found = {name: table(connection, name) for (name,) in tables if not name.startswith("sqlite_")}
    connection.close()
    return found


def table(connection: sqlite3.Connection, name: str) -> dict[str, Any]:
    columns = connection.execute(f"PRAGMA table_info('{name}')").fetchall()
    foreign = connection.execute(f"PRAGMA foreign_key_list('{name}')").fetchall()
    query = "SELECT name, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND tbl_name = ? ORDER BY name"
    return {
        "columns": {
            column: [kind, bool(not_null), default, place] for _, column, kind, not_null, default, place in columns
        },
        "foreign_keys": sorted(
            [source, table, target, on_delete] for _, _, table, source, target, _, on_delete, _ in foreign
        ),
        "indexes": {index: sql for index, sql in connection.execute(query, (name,))},
    }


def without_texts(schema: Any) -> Any:
    """A JSON schema without titles and descriptions, which are language."""
    if isinstance(schema, dict):
        kept = {
            name: one for name, one in schema.items() if not (name in ("title", "description") and isinstance(one, str))
        }
        return {name: without_texts(one) for name, one in kept.items()}
    return [without_texts(one) for one in schema] if isinstance(schema, list) else schema
