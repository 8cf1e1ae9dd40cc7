"""The architecture is kept: imports point one way, the core is pure, no file outgrows a head."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = sorted((ROOT / "daemon" / "cambwatch").rglob("*.py"))
CORE = [path for path in PRODUCT if "core" in path.relative_to(ROOT / "daemon" / "cambwatch").parts]
MOST_LINES = 400
# What asks a clock, throws dice or touches the machine without an import that a contract could forbid.
IMPURE_CALLS = frozenset({"now", "utcnow", "today", "uuid1", "uuid4", "open", "print", "input", "exec", "eval"})


def named(path: Path) -> str:
    return str(path.relative_to(ROOT / "daemon"))


def test_the_product_is_where_it_is_looked_for() -> None:
    """So that the tests below are about something."""
    assert len(PRODUCT) > 50
    assert len(CORE) > 15


def test_imports_keep_their_contracts() -> None:
    """Those of pyproject.toml: the layers, the pure core, adapters that do not know each other."""
    lint = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    # A process of its own, because the linter sets up logging for all of it.
    checked = subprocess.run(
        [sys.executable, "-c", lint],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "daemon")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "3 kept, 0 broken" in checked.stdout


@pytest.mark.parametrize("path", CORE, ids=named)
def test_the_core_asks_neither_clock_nor_dice(path: Path) -> None:
    """Time and chance are arguments; nothing is read, written or printed."""
    calls = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    assert not calls & IMPURE_CALLS


def test_the_command_line_starts_without_the_daemon() -> None:
    """`--version`, `--help` and client commands import neither the daemon nor what only it needs."""
    found = subprocess.run(
        [sys.executable, "-c", "import sys, cambwatch.cli.daemon; print(*sys.modules)"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "daemon")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    heavy = {"sqlalchemy", "alembic", "apscheduler", "prometheus_client", "uvloop"}
    ours = {"cambwatch.app", "cambwatch.loops", "cambwatch.web"}
    assert not (heavy | ours) & set(found)


def test_no_file_outgrows_a_head() -> None:
    """A file has one subject, and its limit is 400 lines."""
    lines = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PRODUCT}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize("path", PRODUCT, ids=named)
def test_every_file_says_what_it_is_about(path: Path) -> None:
    """In its first statement; empty files have nothing to say."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not tree.body or ast.get_docstring(tree)


def test_no_file_is_a_drawer_for_the_rest() -> None:
    """Names like these say that nobody knew where it belongs."""
    drawers = {"utils.py", "util.py", "helpers.py", "common.py", "base.py", "manager.py", "misc.py"}
    assert [named(path) for path in PRODUCT if path.name in drawers] == []
