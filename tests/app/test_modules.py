"""The page's ES modules: their addresses, how long browsers keep them, who may load them, what they import."""

import asyncio
import importlib
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import modules
from app.auth.login import OF_LABELLERS
from app.components.base import Component
from app.context import AppContext
from app.page import PATHS, build_server

IMPORT = re.compile(r"""^import (?:[^"]* from )?"([^"]+)";$""", re.MULTILINE)
TRIGGER = re.compile(r'\btrigger\("(\w+)"')


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One for all tests here: a server takes seconds to build."""
    context = AppContext.open(tmp_path_factory.mktemp("modules") / "workspace")

    async def build() -> Any:
        return build_server(context)

    yield TestClient(asyncio.run(build()), base_url="http://127.0.0.1")
    context.store.close()


def imported(name: str) -> list[str]:
    """The paths of what a module imports, e.g. "scripts/dom.js"."""
    found = IMPORT.findall(modules.sources()[name].decode())
    return [posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) for path in found]


def component_classes() -> list[type[Component]]:
    for path in (modules.HERE / "components").glob("*.py"):
        importlib.import_module(f"app.components.{path.stem}")
    return Component.__subclasses__()


def test_a_module_is_kept_for_good_under_the_hash_of_its_content(client: TestClient) -> None:
    reply = client.get(modules.address("scripts/dom"))
    assert reply.status_code == 200 and reply.content == modules.sources()["scripts/dom.js"]
    assert reply.headers["content-type"].startswith("text/javascript")
    assert reply.headers["cache-control"] == "private, max-age=31536000, immutable"


@pytest.mark.parametrize(
    "path",
    [
        "0000000000000000/scripts/dom.js",
        "{digest}/scripts/none.js",
        "{digest}/page.py",
        "{digest}/scripts/%2e%2e/%2e%2e/page.py",
        "{digest}/",
    ],
)
def test_other_content_and_other_files_have_no_address(client: TestClient, path: str) -> None:
    reply = client.get("/modules/" + path.format(digest=modules.digest()))
    assert (reply.status_code, reply.headers["cache-control"]) == (404, "no-store")


def test_the_hash_changes_with_any_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    digests = []
    for text in ("export const a = 1;", "export const a = 2;"):
        (tmp_path / "scripts").mkdir(exist_ok=True)
        (tmp_path / "scripts" / "a.js").write_text(text)
        monkeypatch.setattr(modules, "HERE", tmp_path)
        modules.sources.cache_clear()
        modules.digest.cache_clear()
        digests.append(modules.digest())
    monkeypatch.undo()
    modules.sources.cache_clear()
    modules.digest.cache_clear()
    assert len({*digests, modules.digest()}) == 3


def test_a_page_loads_its_modules_before_gradio(client: TestClient) -> None:
    for path, component in (("/", "components/run_list"), ("/label/", "components/voting_panel")):
        page = client.get(path, headers={"accept": "text/html"}).text
        loads = re.findall(r'<script type="module"[^>]*src="([^"]+)"', page)
        assert loads[0] == modules.address("scripts/page")
        assert modules.address(component) in loads and loads[-1].startswith("./assets/"), path
    assert modules.address("components/run_list") not in loads, "the labellers' page has the voting panel alone"


def test_pages_have_their_full_length(client: TestClient) -> None:
    reply = client.get("/", headers={"accept": "text/html"})
    assert int(reply.headers["content-length"]) == len(reply.content)
    assert client.head("/", headers={"accept": "text/html"}).status_code in (200, 405)


def test_words_cannot_end_the_script_that_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules.general, "COPY_WORDS", {"done": "</script><script>alert(1)"})
    head = modules.page_head([], PATHS)
    assert "alert(1)" in head and "</script><script>alert" not in head


def test_one_function_calls_the_functions_of_components() -> None:
    """It alone knows that Gradio resolves to nothing where no answer came."""
    calls = {name for name, text in modules.sources().items() if re.search(rb"^[^/`]*\bserver(\.\w+\(|\[)", text, re.M)}
    assert calls == {"scripts/server.js"}


def test_every_import_names_a_module() -> None:
    found = {name: imported(name) for name in modules.sources()}
    assert sum(map(len, found.values())) > 50
    missing = {name: [path for path in paths if path not in found] for name, paths in found.items()}
    assert {name: paths for name, paths in missing.items() if paths} == {}


def test_modules_share_by_imports_and_leave_no_names_in_the_window() -> None:
    for name, text in modules.sources().items():
        assert "window.dailies" not in text.decode() and "globalThis" not in text.decode(), name


def test_components_declare_the_events_that_their_modules_trigger() -> None:
    """Gradio offers no listener for an event that is not declared."""
    triggered = {name: set(TRIGGER.findall(text.decode())) for name, text in modules.sources().items()}
    declared = {event for one in component_classes() for event in one.custom_events}
    assert len(component_classes()) > 12
    assert {event for events in triggered.values() for event in events} - declared == set()
    texts = "".join(text.decode() for text in modules.sources().values())
    assert [event for event in declared if f'"{event}"' not in texts] == []


def test_a_labeller_may_load_modules() -> None:
    assert OF_LABELLERS.fullmatch(modules.address("components/voting_panel"))
    assert not OF_LABELLERS.fullmatch("/modules/../config?")
