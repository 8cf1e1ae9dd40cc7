"""What is released: a wheel and an sdist, built without a network, that hold all of it and run by themselves."""

import asyncio
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import cambwatch

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "daemon" / "cambwatch"
BUILD_S = 60
# What finds the pinned dependencies and nothing of ours: neither this checkout nor an index of packages.
OFFLINE = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(*words, cwd, **environ):
    ended = subprocess.run(
        words, cwd=cwd, env=OFFLINE | environ, capture_output=True, text=True, timeout=BUILD_S, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def build(source, folder, *targets):
    run(sys.executable, "-m", "hatchling", "build", "-d", str(folder), *targets, cwd=source)
    return folder


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(dist):
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(dist, tmp_path_factory):
    """The folder in the sdist."""
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        sdist.extractall(tmp_path_factory.mktemp("sdist"), filter="data")
        return next((tmp_path_factory.getbasetemp()).glob(f"sdist*/{path.name.removesuffix('.tar.gz')}"))


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """The folder `bin` of a venv that has the wheel and its dependencies, and is no part of this checkout."""
    folder = tmp_path_factory.mktemp("bare")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder), cwd=folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", f"--python={python}", "install", "-q", "--no-deps", str(wheel), cwd=folder)
    site = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    others = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("\n".join(sorted(others)))
    where = run(str(python), "-c", "import cambwatch; print(cambwatch.__file__)", cwd=folder).strip()
    assert Path(where).is_relative_to(folder)
    return folder / "bin"


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel):
    """Steps of the schema, templates of Alembic, whatever is in the folder."""
    files = {
        str(path.relative_to(PACKAGE.parent))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == files
    assert {name for name in held if "/migrations/versions/0" in name}


def test_the_version_stands_in_one_place(wheel, unpacked):
    """In the package; both files are named after it."""
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert wheel.name.startswith(f"cambwatch-{cambwatch.__version__}-")
    assert unpacked.name == f"cambwatch-{cambwatch.__version__}"
    said = [path for path in PACKAGE.rglob("*.py") if f'"{cambwatch.__version__}"' in path.read_text()]
    assert said == [PACKAGE / "__init__.py"]


def test_the_sdist_is_enough_to_build_the_same_wheel(wheel, unpacked, tmp_path):
    """Byte for byte; and it holds what the README sends its readers to."""
    (again,) = build(unpacked, tmp_path, "-t", "wheel").glob("*.whl")
    assert again.read_bytes() == wheel.read_bytes()
    for name in ("CHANGELOG.md", "config.example.yaml", "Makefile", "requirements/runtime.txt", "tests/conftest.py"):
        assert (unpacked / name).is_file(), name
    links = re.findall(r"\]\(((?!https?:|#)[^)#]+)", (unpacked / "README.md").read_text())
    assert [link for link in links if not (unpacked / link).exists() and not link.startswith("http")] == []


def test_both_hold_the_licence_and_name_it(wheel, unpacked):
    """As PEP 639 has it: whoever passes one of them on passes the licence on with it."""
    text = (ROOT / "LICENSE").read_bytes()
    assert text.startswith(b"MIT License\n\nCopyright (c) 2026 The cambwatch authors\n")
    info = f"cambwatch-{cambwatch.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(f"{info}/licenses/LICENSE") == text
        said = archive.read(f"{info}/METADATA").decode()
    assert (unpacked / "LICENSE").read_bytes() == text
    for metadata in (said, (unpacked / "PKG-INFO").read_text()):
        assert {"License-Expression: MIT", "License-File: LICENSE"} <= set(metadata.splitlines())


async def test_an_installed_wheel_shows_the_whole_job(bare, unpacked, tmp_path):
    """Version, configuration, database, deliveries: without a checkout, from an unrelated folder."""
    command = str(bare / "cambwatch")

    async def of(*words, **environ):
        return await asyncio.to_thread(run, command, *words, cwd=tmp_path, **environ)

    assert (await of("--version")).strip() == cambwatch.__version__
    example = str(unpacked / "config.example.yaml")
    slack = "https://hooks.slack.com/services/a/b/c"
    assert ": ok, " in await of("check", "--config", example, CAMB_API_KEY="k", SLACK_WEBHOOK_URL=slack)
    assert await of("demo")
    for words in (("backup", "--help"), ("schema",)):
        assert await of(*words)
