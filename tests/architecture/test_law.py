"""The code keeps to the house's law."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture import law

LONGEST_FILE = 400
MAY_READ_ENVIRONMENT = {
    "registry/mlflow_registry.py",  # puts back what MLflow's client had found, after having set it for one call
    "workers/app.py",  # its role, announced by the process that it was forked from
}


@pytest.mark.parametrize("name", sorted(law.MAY_IMPORT))
def test_each_room_of_the_law_exists(name: str) -> None:
    """A room that was renamed takes its line of the law along."""
    assert law.files(name)


def test_each_package_at_the_root_is_a_room_of_the_law() -> None:
    """No code stands outside: a new room says first what it may import."""
    packages = {path.parent.name for path in law.ROOT.glob("*/__init__.py")}
    assert packages - {"tests", "benchmarks", "examples"} <= law.MAY_IMPORT.keys()


def test_rooms_import_what_they_may_and_nothing_else() -> None:
    """Over the AST, so that imports inside functions count too."""
    assert law.broken_laws() == []


def test_imports_make_no_circle() -> None:
    """Any module can be read, and imported, before those that use it."""
    assert law.circles(law.module_graph()) == []


def test_a_circle_would_be_found() -> None:
    """The finder itself: a ring of three is told as the path that closes it."""
    assert law.circles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == [["a", "b", "c", "a"]]


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    """A longer one does two things."""
    sources = [path for name in law.MAY_IMPORT for path in law.files(name)]
    sources += sorted((law.ROOT / "tests").rglob("*.py"))
    lengths = {str(path.relative_to(law.ROOT)): len(path.read_text().splitlines()) for path in sources}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_the_api_starts_without_the_heavy_packages() -> None:
    """Importing it loads neither scikit-learn, MLflow, pandas nor numpy: they take 200 MB."""
    code = (
        "import pkgutil, importlib, sys, api\n"
        "names = [m.name for m in pkgutil.walk_packages(api.__path__, 'api.')]\n"
        "for name in names: name.endswith('__main__') or importlib.import_module(name)\n"
        "print(*{'sklearn', 'mlflow', 'pandas', 'numpy', 'scipy', 'pyarrow'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=law.ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_only_the_settings_read_the_environment() -> None:
    """Every setting passes through one door; embedded/ alone hands the environment on to its children."""
    readers = {
        str(path.relative_to(law.ROOT))
        for name in law.MAY_IMPORT.keys() - {"settings", "embedded"}
        for path in law.files(name)
        if _reads_environment(path)
    }
    assert readers <= MAY_READ_ENVIRONMENT


def test_no_exception_is_swallowed() -> None:
    """No handler whose whole body is `pass` or `continue`."""
    swallowed = [
        f"{path.relative_to(law.ROOT)}:{node.lineno}"
        for name in law.MAY_IMPORT
        for path in law.files(name)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and all(isinstance(b, ast.Pass | ast.Continue) for b in node.body)
    ]
    assert swallowed == []


def test_the_page_about_the_law_is_current() -> None:
    """docs/architecture.md is what `python -m tests.architecture` prints."""
    assert (law.ROOT / "docs" / "architecture.md").read_text() == law.as_markdown()


def _reads_environment(path: Path) -> bool:
    """Whether a file looks a variable up; setting one for a library is no reading."""
    return any(
        (isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.getenv", "os.environ.get"})
        or (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and ast.unparse(node.value) == "os.environ")
        for node in ast.walk(ast.parse(path.read_text()))
    )
