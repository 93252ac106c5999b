"""`make release VERSION=1.2.3`: the version into every file that names it, the changelog closed, the gate, a commit, a tag.

Nothing leaves this machine: pushing the tag is what releases, and it is for a person to do.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SEMVER = r"\d+\.\d+\.\d+"
# the file, and what stands around the version in it
PLACES = {
    "settings.py": r'(?m)(?<=^VERSION = "){}(?="$)',
    "pyproject.toml": r'(?m)(?<=^version = "){}(?="$)',
    "uv.lock": r'(?<=\nname = "continual-ml"\nversion = "){}(?=")',
    "copier.yml": r"(?m)(?<=^  default: v){}$",
    "deploy/kubernetes/base/kustomization.yaml": r"(?<=newTag: ){}",
    "deploy/kubernetes/overlays/stores/kustomization.yaml": r"(?<=newTag: ){}",
}


class Refused(Exception):
    """There is no release to be made; the text says why."""


def versions(root: Path = ROOT) -> dict[str, str]:
    """The version that each file names.

    Raises:
        Refused: a file names none, or several.
    """
    found = {}
    for name, pattern in PLACES.items():
        said = re.findall(pattern.format(SEMVER), (root / name).read_text())
        if len(said) != 1:
            raise Refused(f"{name} names {len(said)} versions: expected one.")
        found[name] = said[0]
    return found


def write(root: Path, version: str, today: str) -> None:
    """Put the version everywhere, and close the changelog.

    Raises:
        Refused: it is no newer version, the files differ, or nothing is under Unreleased.
    """
    before = versions(root)
    if len(set(before.values())) != 1:
        raise Refused(f"The files name several versions: {before}.")
    now = next(iter(before.values()))
    if not re.fullmatch(SEMVER, version) or _numbers(version) < _numbers(now):
        raise Refused(f"VERSION={version}: expected three numbers, {now} or later.")
    changelog = root / "CHANGELOG.md"
    text = changelog.read_text()
    if not re.search(r"(?m)^## Unreleased\n+(### \w+\n)+- ", text):
        raise Refused("CHANGELOG.md has nothing under Unreleased.")
    if f"\n## {version} " in text:
        raise Refused(f"CHANGELOG.md has a {version} already.")
    changelog.write_text(text.replace("## Unreleased\n", f"## Unreleased\n\n## {version} - {today}\n", 1))
    for name, pattern in PLACES.items():
        file = root / name
        file.write_text(re.sub(pattern.format(SEMVER), version, file.read_text()))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def main() -> int:
    """Make it; 1 if it was refused or did not pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version")
    parser.add_argument("--gate", default=".ci/run", help="what has to pass (default: %(default)s)")
    parser.add_argument("--root", type=Path, default=ROOT)
    asked = parser.parse_args()
    try:
        if _git(asked.root, "status", "--porcelain"):
            raise Refused("There are changes that are not committed.")
        if f"v{asked.version}" in _git(asked.root, "tag").split():
            raise Refused(f"There is a tag v{asked.version} already.")
        write(asked.root, asked.version, f"{datetime.now(UTC):%Y-%m-%d}")
    except Refused as why:
        print(why, file=sys.stderr)
        return 1
    _git(asked.root, "commit", "--all", "--message", f"Release {asked.version}")
    if subprocess.run(asked.gate, shell=True, cwd=asked.root, check=False).returncode:  # noqa: S602 - the operator's own words
        _git(asked.root, "reset", "--quiet", "--hard", "HEAD~1")
        print(f"{asked.gate} did not pass: there is no release {asked.version}.", file=sys.stderr)
        return 1
    _git(asked.root, "tag", "--annotate", f"v{asked.version}", "--message", f"Release {asked.version}")
    print(f"✓ release {asked.version}: a commit and the tag v{asked.version}. It is out with: git push --follow-tags")
    return 0


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
