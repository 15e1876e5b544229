"""What every test gets: its own workspace, no network beyond this machine, the same random draws at each run."""

import gc
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything of ours or of the libraries is imported: nothing may ask a hub, report home or touch a real workspace.
# A process has caches of its own: `datasets` takes a table of an earlier run that has the same relative name.
HUB_CACHE = tempfile.TemporaryDirectory(prefix="dailies-hub-")
os.environ["HF_HOME"] = HUB_CACHE.name
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see the Makefile
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as there: sums of more threads are others
# Of the shell's own settings and keys only what tests look for.
for name in [name for name in os.environ if name.startswith(("DAILIES_", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))]:
    if name != "DAILIES_WEIGHTS" and not name.startswith("DAILIES_TEST_"):
        del os.environ[name]

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

if TYPE_CHECKING:
    from engine.storage.library import Library
    from engine.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
POSTGRES_URL = os.environ.get("DAILIES_TEST_POSTGRES_URL")

# The shapes written in the maths modules are checked while testing, and cost nothing in use.
install_import_hook(["engine.sampling.steps", "engine.algorithms"], "beartype.beartype")

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("repeatable")


MANY_OBJECTS = 200_000
USERS_OF_STORE = ("tests/app/", "tests/engine/jobs/handlers/", "tests/engine/jobs/runs/", "tests/engine/runs/")


def find_chromium() -> str | None:
    """Debian's Chromium; Playwright's own download is not used."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def has_accelerator() -> bool:
    import torch

    return torch.cuda.is_available()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Make the second run of a test, on PostgreSQL, a slow one where SQL is not what the test is of."""
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if params.get("database") == "postgresql" and item.nodeid.startswith(USERS_OF_STORE):
        item.add_marker(pytest.mark.slow)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot do, and say why."""
    if any(item.get_closest_marker("gpu") for item in items) and not has_accelerator():
        skip_marked(items, "gpu", "no CUDA or ROCm device on this machine")
    if find_chromium() is None:
        skip_marked(items, "browser", "no chromium on this machine: apt-get install chromium")


def pytest_collection_finish() -> None:
    """Take what was imported out of the collector's sight: each training and each freed model collects garbage, which
    would otherwise look at some million objects of libraries and tests, for half a second each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def few_objects_in_the_collectors_sight() -> None:
    """Take what earlier modules imported out of it too."""
    if len(gc.get_objects()) > MANY_OBJECTS:
        gc.collect()
        gc.freeze()


def skip_marked(items: list[pytest.Item], marker: str, reason: str) -> None:
    for item in items:
        if item.get_closest_marker(marker):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def own_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh workspace folder for each test, also for the processes that it starts."""
    workspace = tmp_path / "workspace"
    monkeypatch.setenv("DAILIES_WORKSPACE", str(workspace))
    return workspace


@pytest.fixture
def workspace(own_workspace: Path) -> "Workspace":
    """The test's workspace with its folders made."""
    from engine.workspace import Workspace

    return Workspace(own_workspace).prepare()


@pytest.fixture
def no_worker(workspace: "Workspace") -> Iterator[None]:
    """Jobs are queued but not run: the test holds the worker's lock."""
    from engine.files.locks import try_lock

    lock = try_lock(workspace.worker_lock)
    assert lock is not None
    yield
    os.close(lock)


@contextmanager
def new_schema() -> Iterator[str]:
    """A new, empty schema of the PostgreSQL database that DAILIES_TEST_POSTGRES_URL names; gives its URL."""
    from sqlalchemy import create_engine, text

    from engine.storage.database import parse_url

    url, schema = parse_url(str(POSTGRES_URL)), f"test_{secrets.token_hex(6)}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    yield url.update_query_dict({"options": f"-csearch_path={schema}"}).render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture(scope="session")
def emptied_schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """`emptied_schema()`: the URL of a schema with today's tables, one for all tests, after its rows were deleted.

    Migrations take 0.35 s a test: half of the time of most tests of the store.
    """
    from sqlalchemy import create_engine, text

    from engine.storage.migrate import upgrade_to_head
    from engine.storage.schema import METADATA
    from engine.workspace import Workspace

    own = "relkind = 'S' AND relnamespace = current_schema()::regnamespace"
    with new_schema() as url:
        engine = create_engine(url)
        upgrade_to_head(engine.url, Workspace(tmp_path_factory.mktemp("migrated")).prepare(), busy_timeout_s=10)

        def empty() -> str:
            with engine.begin() as connection:
                for table in reversed(METADATA.sorted_tables):
                    connection.execute(table.delete())
                connection.execute(text(f"SELECT setval(oid, 1, false) FROM pg_class WHERE {own}"))
            return url

        yield empty
        engine.dispose()


@pytest.fixture(params=["sqlite", *(["postgresql"] if POSTGRES_URL else [])])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Runs a test on SQLite and, where DAILIES_TEST_POSTGRES_URL is set, again on that database.

    There a test with `store` gets tables without rows, another one an empty schema.
    """
    with ExitStack() as stack:
        if request.param == "postgresql":
            shared = "store" in request.fixturenames
            url = request.getfixturevalue("emptied_schema")() if shared else stack.enter_context(new_schema())
            monkeypatch.setenv("DAILIES_DATABASE_URL", url)
        yield request.param


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with today's tables and no rows: a copy takes a tenth of the time of its migrations."""
    from engine.storage.library import Library
    from engine.workspace import Workspace

    workspace = Workspace(tmp_path_factory.mktemp("migrated")).prepare()
    Library(workspace).close()
    return workspace.database


@pytest.fixture
def store(workspace: "Workspace", migrated: Path, database: str) -> "Iterator[Library]":
    """The open store of the test's workspace."""
    from engine.storage.library import Library

    if database == "sqlite" and not workspace.database.exists():
        shutil.copyfile(migrated, workspace.database)
    store = Library(workspace)
    yield store
    store.close()


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def mini_folder(root: Path) -> Path:
    """The embedded model's folder; skips where it has not been trained yet."""
    folder = root / "assets" / "mini"
    if not (folder / "model_index.json").is_file():
        pytest.skip("assets/mini is not there yet: run `make mini`")
    return folder


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter that runs the tests, for tests that start a process of their own."""
    return sys.executable


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path, for tests marked `browser`."""
    path = find_chromium()
    assert path is not None, "this fixture is for tests marked `browser`"
    return path
