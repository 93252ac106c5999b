"""Settings: what is wrong is said in one line, secrets stay hidden, and may come from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from settings import Settings, WrongSetting, read

Set = Callable[..., Settings]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Set:
    """The settings of an environment that holds just these, in a folder without a `.env`."""
    monkeypatch.chdir(tmp_path)

    def made(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return read()

    return made


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("API_PORT", "99999", "API_PORT=99999: expected a port from 1 to 65535."),
        ("CHECK_INTERVAL_SECONDS", "soon", "CHECK_INTERVAL_SECONDS=soon: expected a number, seconds between two checks"),
        ("REDIS_URL", "http://x", "REDIS_URL=http://x: expected redis://host:port/number."),
        ("ALIVE_FILE", "/nowhere/alive", "ALIVE_FILE=/nowhere/alive: expected a file in a folder that exists."),
        ("DISCORD_WEBHOOK_URL", "http://evil.test/s3cret", "DISCORD_WEBHOOK_URL=(hidden): expected an https:// address."),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(given: Set, name: str, value: str, said: str) -> None:
    """One line with variable, value and expectation; a secret's value is not repeated."""
    with pytest.raises(WrongSetting) as wrong:
        given(**{name: value})
    assert str(wrong.value).startswith(said)


def test_a_secret_may_stand_in_a_file(given: Set, tmp_path: Path) -> None:
    """NAME_FILE, under older names too; the line break at its end is none of the secret's."""
    (tmp_path / "key").write_text("from-a-file\n")
    (tmp_path / "url").write_text("redis://:pa55@host:6379/0\n")
    settings = given(API_KEY_FILE=str(tmp_path / "key"), STREAMLIT_PASSWORD_FILE=str(tmp_path / "key"), REDIS_URL_FILE="url")
    assert settings.api_key is not None and settings.api_key.get_secret_value() == "from-a-file"
    assert settings.dashboard_password is not None and settings.dashboard_password.get_secret_value() == "from-a-file"
    assert settings.redis_url == "redis://:pa55@host:6379/0"


def test_files_may_be_named_in_the_env_file(given: Set, tmp_path: Path) -> None:
    """`.env` works for NAME_FILE as it does for NAME."""
    (tmp_path / "token").write_text("m")
    (tmp_path / ".env").write_text("METRICS_TOKEN_FILE=token\n")
    token = given().metrics_token
    assert token is not None and token.get_secret_value() == "m"


@pytest.mark.parametrize(
    ("content", "also", "said"),
    [
        (None, {}, "API_KEY_FILE=key: expected a file that can be read (FileNotFoundError)."),
        ("  \n", {}, "API_KEY_FILE=key: expected a file with a value, got an empty one."),
        ("k", {"API_KEY": "other"}, "API_KEY and API_KEY_FILE are both set: expected one of them."),
    ],
)
def test_a_secret_s_file_that_is_no_good_stops_the_start(
    given: Set, tmp_path: Path, content: str | None, also: dict[str, str], said: str
) -> None:
    """Missing, empty, or contradicted by the plain variable: one line, and no start without the secret."""
    if content is not None:
        (tmp_path / "key").write_text(content)
    with pytest.raises(WrongSetting) as wrong:
        given(API_KEY_FILE="key", **also)
    assert str(wrong.value) == said
