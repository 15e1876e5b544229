"""Everything that a workspace holds, read from its files, by SQL and by `dailies ... --json`.

`python tests/goldens/workspace_contents.py FOLDER OUT` writes it as JSON; with `--use` it then lets the queued job run
and resumes the interrupted run, and writes what became of both.
"""

import argparse
import hashlib
import json
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import record  # noqa: F401 (sets the environment before anything is loaded)

TABLES = ("clips", "campaigns", "campaign_clips", "pairs", "votes", "assignments", "jobs")
ENDED = ("done", "failed", "cancelled", "lost")


def contents(root: Path) -> dict[str, Any]:
    """What is in the workspace at `root`; nothing in it depends on where that is."""
    runs = sorted(one for one in (root / "runs").iterdir() if (one / "resolved.json").is_file())
    campaigns = command(root, "campaigns", "ls")
    return {
        "rows": rows(root / "dailies.db"),
        "clips": {folder.name: clip(folder) for folder in sorted((root / "clips").glob("*/*"))},
        "runs": {folder.name: run(folder) for folder in runs},
        "listed_runs": sorted(command(root, "runs", "ls"), key=lambda one: str(one["run"])),
        "adapters": [without(one, "folder") for one in command(root, "adapters", "ls")],
        "campaigns": campaigns,
        "shown_campaigns": {one["id"]: command(root, "campaigns", "show", one["id"]) for one in campaigns},
        "curricula": {place: read(root / place) for place in names(root, "curricula/*/state.json")},
        "jobs": [{name: one[name] for name in ("id", "kind", "status")} for one in command(root, "jobs", "ls")],
        "presets": {kind: command(root, "presets", "show", kind, key) for kind, key in SAVED},
        "uploads": {file.name: digest(file.read_bytes()) for file in (root / "uploads").rglob("*") if file.is_file()},
    }


SAVED = (("rewards", "small"), ("train", "few_nft"), ("curricula", "short"))


def rows(file: Path) -> dict[str, Any]:
    """Number of rows of every table, and the votes and clips themselves."""
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found: dict[str, Any] = {"count": {}}
    for table in sorted(one for one in tables if not one.startswith("sqlite_")):
        found["count"][table] = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    for table in ("clips", "reports", "votes", "pairs"):
        if table in tables:
            found[table] = sorted((dict(row) for row in connection.execute(f"SELECT * FROM {table}")), key=str)
    connection.close()
    return found


def clip(folder: Path) -> dict[str, Any]:
    """The sidecar, the exact frames, and whether the other media can be decoded."""
    lossless, shown = decoded(folder / "frames.mkv"), decoded(folder / "clip.mp4")
    poster = read_picture(folder / "poster.jpg")
    return {
        "request": read(folder / "request.json"),
        "frames": {"shape": list(lossless.shape), "sha256": digest(lossless.tobytes())},
        "shown": list(shown.shape),
        "poster": poster,
    }


def run(folder: Path) -> dict[str, Any]:
    """What was asked for, every figure, and the weights."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = ("evaluation.json", "lineage.json", "resolved.json")
    listed = [
        name for pattern in ("adapter/*", "checkpoints/*/*.json", "samples/*/*") for name in names(folder, pattern)
    ]
    alarms = folder / "alarms.jsonl"
    return {
        "metrics": lines,
        "alarms": alarms.read_text(encoding="utf-8").splitlines() if alarms.is_file() else [],
        **{name: read(folder / name) for name in kept if (folder / name).is_file()},
        "files": listed,
    }


def decoded(file: Path) -> Any:
    """`uint8[T,H,W,3]`."""
    import av
    import numpy as np

    with av.open(str(file)) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


def read_picture(file: Path) -> list[int]:
    from PIL import Image

    with Image.open(file) as picture:
        picture.load()
        return [picture.width, picture.height]


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def without(facts: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key != name}


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def command(root: Path, *words: str) -> Any:
    import access
    from measure_texts import run as run_command

    code, printed, said = run_command(access.main, [*words, "--json", "--workspace", str(root)])
    assert code == 0, f"dailies {' '.join(words)}: {said}"
    return last_json(printed)


def last_json(printed: str) -> Any:
    """The result of a command, which a training process may have printed its own lines before."""
    starts = [0, *(place + 1 for place, sign in enumerate(printed) if sign == "\n")]
    for start in starts:
        if printed[start : start + 2] in ("{\n", "[\n", "[]", "{}"):
            return json.loads(printed[start:])
    raise AssertionError(f"no JSON in {printed[-500:]!r}")


# ---- Put to use
def use(root: Path) -> dict[str, Any]:
    """Media over HTTP, the queued job done by a worker, the interrupted run trained to its end."""
    served = serve_media(root)
    (queued,) = (one for one in command(root, "jobs", "ls") if one["status"] == "queued")
    command(root, "jobs", "resume")
    deadline = time.monotonic() + 120
    while (job := command(root, "jobs", "show", queued["id"]))["status"] not in ENDED:
        assert time.monotonic() < deadline, f"the queued job is {job['status']} after 2 minutes"
        time.sleep(0.2)
    command(root, "worker", "stop")
    unfinished = [one for one in command(root, "runs", "ls") if one["state"] != "finished"]
    (interrupted,) = (one["run"] for one in unfinished)
    before = len((root / "runs" / interrupted / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    resumed = command(root, "resume", interrupted)
    return {
        "served": served,
        "job": {"status": job["status"], "error": job["error"], "clips": len(job["result"]["clip_ids"])},
        "resumed": {"lines_before": before, "adapter": resumed["adapter"], "metrics": resumed["metrics"]},
    }


def serve_media(root: Path) -> dict[str, int]:
    """Status of the page, and of the video and the poster of every clip."""
    import asyncio

    import access
    from fastapi.testclient import TestClient

    desk = access.AppContext.open(root)

    async def build() -> Any:
        return access.build_server(desk)

    places = ["/", "/label"]
    for folder in sorted((root / "clips").glob("*/*")):
        places += [f"/media/clips/{folder.name}/clip.mp4", f"/media/clips/{folder.name}/poster.jpg"]
    with TestClient(asyncio.run(build()), base_url="http://127.0.0.1") as client:
        found = {place: client.get(place).status_code for place in places}
    desk.store.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--use", action="store_true", help="let the queued job run and resume the interrupted run")
    options = parser.parse_args()
    root = options.folder.resolve()
    found = {"contents": contents(root), **({"used": use(root)} if options.use else {})}
    options.out.write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
