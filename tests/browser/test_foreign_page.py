"""A foreign page in the same browser cannot act on this one, nor show or read it; and the page's own policy holds."""

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser

FOREIGN = b"<!doctype html><title>foreign</title><p>foreign</p>"


class Foreign(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(FOREIGN)))
        self.end_headers()
        self.wfile.write(FOREIGN)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def foreign_port() -> Iterator[int]:
    """A page on another port of this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Foreign)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


# Sends what can be sent without asking: a form's content types, answers unread.
ATTACK = """async ({ address, requests }) => {
  const outcomes = [];
  for (const [path, body] of requests) {
    const headers = { "content-type": "text/plain" };
    const init = { method: "POST", mode: "no-cors", credentials: "include", headers, body };
    outcomes.push(await fetch(address + path, init).then((reply) => reply.type, () => "failed"));
  }
  const form = new FormData();
  form.append("files", new Blob(["stolen"]), "stolen.mp4");
  await fetch(address + "gradio_api/upload", { method: "POST", mode: "no-cors", body: form }).catch(() => null);
  const read = await fetch(address + "config", { credentials: "include" }).then((reply) => reply.text(), () => "");
  const frame = document.body.appendChild(Object.assign(document.createElement("iframe"), { src: address }));
  await new Promise((done) => { frame.addEventListener("load", done); setTimeout(done, 5000); });
  return { outcomes, read };
}"""


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_foreign_page_changes_and_reads_nothing(idle: Any, browser: Browser, foreign_port: int, name: str) -> None:
    board = component_of(idle, "masthead")
    calls = [("gradio_api/component_server/", call(board, word)) for word in ("pause", "cancel_pending", "go_on")]
    calls.append(("voting/next", '{"campaign": "x", "labeller": "y"}'))
    context = browser.new_context()
    page = context.new_page()
    statuses: dict[str, list[int]] = {}
    page.on("response", lambda reply: statuses.setdefault(reply.url, []).append(reply.status))
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.goto(f"http://{name}:{foreign_port}/")
    found = page.evaluate(ATTACK, {"address": idle.address, "requests": calls})
    frames = [frame for frame in page.frames if frame != page.main_frame]
    inside = "".join(frame.content() for frame in frames)
    context.close()
    assert {idle.address + path for path, _ in calls} <= set(sent)
    # Chromium shows a page no answer that it may not have: what it does show was refused.
    assert {status for url, seen in statuses.items() if url.startswith(idle.address) for status in seen} == {403}
    assert found["read"] == "" and "gradio" not in inside
    assert not idle.workspace.pause_flag.exists()
    uploads = idle.workspace.uploads
    assert not uploads.is_dir() or not list(uploads.rglob("*.mp4"))


def test_the_same_calls_from_the_page_itself_are_served(idle: Any, page: Page) -> None:
    """Otherwise the test above would hold for a page that refuses everybody."""
    page.goto(idle.address)
    expect(page.locator("#tabs")).to_be_visible()
    board = component_of(idle, "masthead")
    send = """async ([body]) => (await fetch("/gradio_api/component_server/", { method: "POST", body,
      headers: { "content-type": "application/json" } })).status"""
    assert page.evaluate(send, [call(board, "pause")]) == 200 and idle.workspace.pause_flag.exists()
    assert page.evaluate(send, [call(board, "go_on")]) == 200 and not idle.workspace.pause_flag.exists()


def test_an_inline_script_that_is_not_the_pages_own_does_not_run(idle: Any, page: Page, watched: Any) -> None:
    page.goto(idle.address)
    expect(page.locator("#tabs")).to_be_visible()
    plant = """() => {
      const image = document.body.appendChild(document.createElement("div"));
      image.innerHTML = '<img src="x" onerror="window.planted = 1">';
      const script = document.createElement("script");
      script.textContent = "window.planted = 2";
      document.body.append(script);
    }"""
    with watched.expecting("Content Security Policy|Content-Security-Policy|404|violates"):
        page.evaluate(plant)
        page.wait_for_timeout(300)
    assert page.evaluate("window.planted ?? 0") == 0


def component_of(bench: Any, elem_id: str) -> int:
    """The number of a component, as the page's config says."""
    import json
    import urllib.request

    with urllib.request.urlopen(f"{bench.address}config") as reply:
        config = json.load(reply)
    return next(one["id"] for one in config["components"] if one["props"].get("elem_id") == elem_id)


def call(component: int, name: str) -> str:
    import json

    return json.dumps({"component_id": component, "fn_name": name, "session_hash": "foreign", "data": []})
