"""Files of clips over HTTP: ranges, ETags, permalinks, and nothing else of the disk."""

from collections.abc import Callable

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.documentation import documentation_routes
from app.api.media import media_routes
from app.context import AppContext
from engine.config.presets import load_train_preset
from engine.runs.run import Run
from engine.storage.images import save_picture
from engine.storage.library import ClipRecord

MakeClip = Callable[..., ClipRecord]


@pytest.fixture
def client(context: AppContext) -> TestClient:
    server = FastAPI()
    server.include_router(media_routes(context))
    return TestClient(server, follow_redirects=False)


@pytest.mark.parametrize(
    ("name", "kind"), [("clip.mp4", "video/mp4"), ("poster.jpg", "image/jpeg"), ("frames.mkv", "video/x-matroska")]
)
def test_a_clips_files_are_served_as_they_are(
    client: TestClient, context: AppContext, make_clip: MakeClip, name: str, kind: str
) -> None:
    record = make_clip(files=True)
    reply = client.get(f"/media/clips/{record.id}/{name}")
    assert (reply.status_code, reply.headers["content-type"]) == (200, kind)
    assert reply.content == (context.workspace.clip_folder(record.id) / name).read_bytes()


def test_a_kept_picture_is_served(client: TestClient, context: AppContext) -> None:
    name = save_picture(context.workspace, np.full((8, 8, 3), 7, np.uint8))
    reply = client.get(f"/media/pictures/{name}.png")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")
    assert reply.content == (context.workspace.pictures / f"{name}.png").read_bytes()


def test_the_preview_of_a_running_job_is_served_and_empty_once_it_is_gone(
    client: TestClient, context: AppContext
) -> None:
    context.workspace.job_preview("0123abcd").write_bytes(b"a picture")
    reply = client.get("/media/jobs/0123abcd/preview?at=1")
    assert (reply.status_code, reply.headers["content-type"], reply.content) == (200, "image/jpeg", b"a picture")
    context.workspace.job_preview("0123abcd").unlink()
    assert (client.get("/media/jobs/0123abcd/preview?at=1")).status_code == 204, "an error would be in the console"


def test_a_range_is_part_of_the_file(client: TestClient, make_clip: MakeClip) -> None:
    url = f"/media/clips/{make_clip(files=True).id}/clip.mp4"
    whole, part = client.get(url).content, client.get(url, headers={"Range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == whole[10:20]
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert client.get(url, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416


def test_what_the_browser_has_is_not_sent_again(client: TestClient, make_clip: MakeClip) -> None:
    url = f"/media/clips/{make_clip(files=True).id}/poster.jpg"
    first = client.get(url)
    again = client.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "private" in first.headers["cache-control"]


@pytest.mark.parametrize(
    "path",
    [
        "/media/clips/{id}/request.json",
        "/media/clips/{id}/../../../dailies.db",
        "/media/clips/{id}/..%2F..%2F..%2Fdailies.db",
        "/media/clips/..%2F../dailies.db",
        "/media/clips/%2e%2e/clip.mp4",
        "/media/clips/0000000000000000/clip.mp4",
        "/media/clips/NOTANID/clip.mp4",
        "/media/clips/{id}/clip.mp4%00",
        "/media/pictures/..%2F..%2Fdailies.png",
        "/media/jobs/..%2F..%2Fdailies/preview",
        "/media/jobs/NOTANID/preview",
        f"/media/pictures/{'0' * 64}.png",
    ],
)
def test_nothing_else_has_an_address(client: TestClient, make_clip: MakeClip, path: str) -> None:
    reply = client.get(path.replace("{id}", make_clip(files=True).id))
    assert reply.status_code == 404


def test_a_permalink_opens_the_clip_in_the_library(client: TestClient, make_clip: MakeClip) -> None:
    record = make_clip()
    reply = client.get(f"/clip/{record.id}")
    assert (reply.status_code, reply.headers["location"]) == (307, f"/?clip={record.id}")


@pytest.mark.parametrize("clip_id", ["0000000000000000", "<script>", "..%2Fx"])
def test_a_permalink_to_nothing_says_so(client: TestClient, clip_id: str) -> None:
    reply = client.get(f"/clip/{clip_id}")
    assert reply.status_code == 404
    assert "script" not in reply.text


@pytest.mark.parametrize("name", ["x" * 300, "a%00b", "a%0Ab", "%2e%2e", "%ED%A0%80"])
def test_a_name_that_no_file_has_is_not_found(context: AppContext, make_clip: MakeClip, name: str) -> None:
    server, clip = FastAPI(), make_clip(files=True).id
    for routes in (media_routes(context), documentation_routes()):
        server.include_router(routes)
    run = Run.create(context.workspace, load_train_preset("mini_nft")).id
    (context.workspace.runs / run / "samples").mkdir()
    paths = [f"/media/clips/{name}/clip.mp4", f"/media/clips/{clip}/{name}", f"/media/clips/{clip}/overlays/{name}"]
    paths += [f"/media/jobs/{name}/preview", f"/media/pictures/{name}.png", f"/docs/{name}.md"]
    paths += [f"/media/runs/{name}/a/b.mp4", f"/media/runs/{run}/{name}/b.mp4", f"/media/runs/{run}/a/{name}.mp4"]
    with TestClient(server) as client:
        assert {path: client.get(path).status_code for path in paths} == dict.fromkeys(paths, 404)
