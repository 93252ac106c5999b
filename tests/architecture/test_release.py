"""A release is one command: one version everywhere, a closed changelog, a commit and a tag; and nothing if the gate says no."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.law import ROOT

SCRIPT = ROOT / ".ci" / "release.py"
RELEASE = runpy.run_path(str(SCRIPT))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A repository with the files that name the version, and a changelog of its own: ours has just been closed at a release."""
    for name in RELEASE["PLACES"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n### Added\n- What nobody had before.\n")
    for words in (
        ["init", "--quiet"],
        ["config", "user.email", "a@b"],
        ["config", "user.name", "a"],
        ["add", "."],
        ["commit", "-qm", "a"],
    ):
        git(tmp_path, *words)
    return tmp_path


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def release(folder: Path, version: str, gate: str = "true") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), version, "--root", str(folder), "--gate", gate]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_file_names_the_same_version() -> None:
    assert len(set(RELEASE["versions"]().values())) == 1


def test_a_release_is_a_commit_and_a_tag_with_one_version_everywhere(copy: Path) -> None:
    done = release(copy, "12.3.4")
    assert done.returncode == 0, done.stderr
    assert set(RELEASE["versions"](copy).values()) == {"12.3.4"}
    assert git(copy, "tag").split() == ["v12.3.4"]
    assert git(copy, "status", "--porcelain") == ""
    assert "## Unreleased\n\n## 12.3.4 - 20" in (copy / "CHANGELOG.md").read_text()


def test_a_gate_that_says_no_leaves_everything_as_it_was(copy: Path) -> None:
    before = git(copy, "rev-parse", "HEAD")
    assert release(copy, "12.3.4", gate="false").returncode == 1
    assert (git(copy, "rev-parse", "HEAD"), git(copy, "tag"), git(copy, "status", "--porcelain")) == (before, "", "")


@pytest.mark.parametrize("version", ["0.0.1", "1.2", "v1.2.3", "latest"])
def test_what_is_no_newer_version_is_refused(copy: Path, version: str) -> None:
    done = release(copy, version)
    assert (done.returncode, git(copy, "tag")) == (1, "")
    assert f"VERSION={version}" in done.stderr


def test_uncommitted_changes_and_a_second_time_are_refused(copy: Path) -> None:
    assert release(copy, "12.3.4").returncode == 0
    assert "already" in release(copy, "12.3.4").stderr
    (copy / "settings.py").write_text((copy / "settings.py").read_text() + "\n")
    assert "not committed" in release(copy, "12.3.5").stderr


def test_a_release_of_nothing_is_refused(copy: Path) -> None:
    """Everything that changed stands under the release before."""
    assert release(copy, "12.3.4").returncode == 0
    done = release(copy, "12.3.5")
    assert (done.returncode, "nothing under Unreleased" in done.stderr, git(copy, "tag").split()) == (1, True, ["v12.3.4"])
