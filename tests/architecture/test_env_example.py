""".env.example is every setting with its default, and `make env` turns it into secrets of one's own."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import AliasChoices

from settings import EXAMPLE_API_KEY, Settings
from tests.architecture.law import ROOT
from tests.fresh_env import load

EDGE = {"EDGE_DOMAIN", "EDGE_TLS", "EDGE_ADDRESS", "EDGE_HTTP_PORT", "EDGE_HTTPS_PORT"}
PAGES = {"PROMETHEUS_PORT", "GRAFANA_PORT", "KUMA_PORT", "GRAFANA_PASSWORD"}
STORES = {"POSTGRES_PASSWORD", "POSTGRES_ROLE", "REDIS_PASSWORD"}
COMPOSE_ONLY = {"WORKERS", "COMPOSE_PROFILES", "PUBLISH_ADDRESS", *STORES, *EDGE, *PAGES}
EXAMPLE = (ROOT / ".env.example").read_text()
LINES = dict(re.findall(r"(?m)^([A-Z][A-Z_]*)=(.*)$", EXAMPLE))


def _variable(field: str) -> str:
    alias = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else field.upper()


@pytest.fixture
def fresh_env() -> ModuleType:
    return load()


def test_it_names_every_setting_and_nothing_else() -> None:
    """A setting that is added or dropped takes its line along."""
    assert LINES.keys() - COMPOSE_ONLY == {_variable(field) for field in Settings.model_fields}


def test_its_values_are_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of it changes nothing: the program reads the same settings with it as without."""
    for field in Settings.model_fields:
        monkeypatch.delenv(_variable(field), raising=False)
    copy = tmp_path / ".env"
    copy.write_text(EXAMPLE)
    with_copy = Settings(_env_file=copy).model_dump()  # type: ignore[call-arg]
    without = Settings(_env_file=None).model_dump()  # type: ignore[call-arg]
    assert with_copy.pop("api_key").get_secret_value() == EXAMPLE_API_KEY
    del without["api_key"]
    assert with_copy == without


def test_every_line_has_its_meaning_above_it() -> None:
    """No variable without a comment in its paragraph, directly above or above its neighbour."""
    before = ""
    for line in EXAMPLE.splitlines():
        if "=" in line and not line.startswith("#"):
            assert before, f"{line} has no comment"
        before = line


def test_make_env_writes_secrets_once(fresh_env: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mode 0600, long secrets, none of them on the screen; a second call leaves the file as it is."""
    (tmp_path / ".env.example").write_text(EXAMPLE)
    assert fresh_env.main(tmp_path) == 0
    written = (tmp_path / ".env").read_text()
    values = dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", written))
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert all(len(values[name]) >= 43 for name in fresh_env.SECRETS)
    assert fresh_env.main(tmp_path) == 1
    assert (tmp_path / ".env").read_text() == written
    said = capsys.readouterr()
    assert not any(values[name] in said.out + said.err for name in fresh_env.SECRETS)


def test_it_names_whatever_compose_asks_for() -> None:
    """A `${NAME}` of docker-compose.yml that is told of nowhere is a setting that nobody can find."""
    asked = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert asked - LINES.keys() == {"ENV_FILE"}  # which says where the others stand
