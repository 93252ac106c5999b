"""Every setting, read once from the environment (and `.env`), checked at the door and frozen.

The only reader of `os.environ` in the house. A wrong value stops the start with one line that
names the variable, the value and what was expected (`load` prints it; `read` raises it).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

VERSION = "0.1.0"
EXAMPLE_API_KEY = "your-secure-api-key-here"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
IN_FILES = {  # what holds a secret, or an address with a password in it
    *("api_key", "metrics_token", "dashboard_password", "flower_basic_auth"),
    *("redis_url", "database_url", "mlflow_tracking_uri", "discord_webhook_url", "apprise_urls", "kuma_push_url"),
}
BROKER_URL = "broker/url"  # below DATA_DIR: where the embedded broker is, with its password
DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}


class WrongSetting(ValueError):
    """A variable holds something that the program cannot work with; the text is one line for a person."""


class Files(PydanticBaseSettingsSource):
    """What may be secret, from files: `NAME_FILE` names one, whose content without the space around it is NAME's value."""

    def __init__(self, settings: type[BaseSettings], given: Mapping[str, str | None]) -> None:
        """`given`: the environment and `.env`, names in lower case."""
        super().__init__(settings)
        self._given = given

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value, under the first name that the field is read by."""
        names = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else [field_name]
        for name in map(str, names):
            file = self._given.get(f"{name}_file".lower())
            if file:
                if self._given.get(name.lower()):
                    raise WrongSetting(f"{name.upper()} and {name.upper()}_FILE are both set: expected one of them.")
                return _content(name.upper(), file), str(names[0]), False
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        fields = {name: field for name, field in self.settings_cls.model_fields.items() if name in IN_FILES}
        found = (self.get_field_value(field, name) for name, field in fields.items())
        return {key: value for value, key, _ in found if value is not None}


def _content(name: str, file: str) -> str:
    try:
        text = Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise WrongSetting(f"{name}_FILE={file}: expected a file that can be read ({type(fault).__name__}).") from None
    if not text:
        raise WrongSetting(f"{name}_FILE={file}: expected a file with a value, got an empty one.")
    return text


class Settings(BaseSettings):
    """Typed, frozen settings; each field's description is its line in `.env.example`."""

    model_config = SettingsConfigDict(frozen=True, env_file=".env", extra="ignore", env_ignore_empty=True)

    api_key: SecretStr | None = Field(None, description="admin token; unset on loopback: made and kept in DATA_DIR/api_key")
    api_host: str = Field(
        "127.0.0.1",
        validation_alias=AliasChoices("API_HOST", "FASTAPI_HOST"),
        description="address the API listens on",
    )
    api_port: int = Field(
        8000,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("API_PORT", "FASTAPI_PORT"),
        description="a port from 1 to 65535",
    )
    api_base_url: str = Field("", description="URL clients reach the API at; empty: http://API_HOST:API_PORT")
    api_threads: int = Field(128, ge=4, le=1024, description="threads of the API: each waiting client holds one")
    redis_url: str = Field("", description="redis://… of the broker; empty: embedded")
    database_url: str = Field("", description="SQLAlchemy URL of the ledger; empty: SQLite under DATA_DIR")
    data_dir: Path = Field(Path("data"), description="where all state lives")
    mlflow_tracking_uri: str = Field("", description="MLflow's URI; empty: embedded under DATA_DIR")
    performance_threshold: float = Field(0.8, ge=0, le=1, description="floor of the built-in model's accuracy, 0 to 1")
    check_interval_seconds: float = Field(30.0, ge=0.2, le=86_400, description="seconds between two checks, fractions allowed")
    problems_dir: Path | None = Field(None, description="folder of problem files (NAME.toml, NAME.py)")
    task_retries: int = Field(2, ge=0, le=20, description="retries of a job after an unexpected error")
    retry_delay_seconds: float = Field(1.0, ge=0, le=3600, description="seconds between such retries")
    discord_webhook_url: SecretStr | None = Field(
        None, description="https webhook; unset or with REPLACE: notifications go to the log"
    )
    apprise_urls: SecretStr | None = Field(
        None, description="addresses of further channels for Apprise, with spaces between them; needs the extra `apprise`"
    )
    dashboard_url: str = Field("", description="URL people reach the dashboard at; empty: http://127.0.0.1:DASHBOARD_PORT")
    flower_url: str = Field("", description="URL people reach Flower at; empty: http://127.0.0.1:FLOWER_PORT")
    kuma_push_url: SecretStr | None = Field(None, description="address of an uptime monitor that every check calls")
    notify_every_check: bool = Field(False, description="tell of every check that found nothing, not only a daily digest")
    dashboard_password: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("DASHBOARD_PASSWORD", "STREAMLIT_PASSWORD"),
        description="login of the dashboard; unset on loopback: made and kept in DATA_DIR/dashboard_password",
    )
    dashboard_host: str = Field("127.0.0.1", description="address the dashboard listens on")
    dashboard_port: int = Field(8501, ge=1, le=65535, description="a port from 1 to 65535")
    flower_basic_auth: SecretStr | None = Field(None, description="user:password of Flower")
    flower_port: int = Field(5555, ge=1, le=65535, description="a port from 1 to 65535")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="a port from 1 to 65535")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    log_format: Literal["text", "json"] = Field("text", description="text or json")
    log_file_mb: int = Field(20, ge=1, le=10_000, description="MiB of a log under `make up` before it is put aside")
    log_files: int = Field(5, ge=1, le=100, description="logs put aside that are kept, for each process")
    metrics_token: SecretStr | None = Field(None, description="bearer token that /metrics asks for; unset: open")
    alive_file: Path | None = Field(
        None, description="file touched at each sign of life of a worker, beat or sweeper, for a health check; empty: none"
    )
    worker_concurrency: int = Field(2, ge=1, le=256, description="processes of a prefork worker")
    job_lease_s: float = Field(30.0, ge=1, le=3600, description="seconds a silent worker keeps a job")
    job_limit_s: float = Field(3600.0, ge=1, description="seconds that one attempt may take; some kinds have less")
    max_attempts: int = Field(4, ge=1, le=20, description="attempts before a job is dead")
    max_body_mb: int = Field(64, ge=1, le=4096, description="largest request body in MiB")
    max_queued: int = Field(100_000, ge=1, description="jobs that may wait before a POST is 429")
    no_model_wait_s: float = Field(60.0, ge=0, le=86_400, description="seconds a prediction waits for a first champion")
    proxy_hops: int = Field(
        0, ge=0, le=5, description="proxies before API and dashboard whose X-Forwarded-* are believed, 0 to 5"
    )
    rate_limit: str = Field("", description="requests per token, as 100/minute; empty: none")
    retention_days: float = Field(
        90.0, gt=0, description="days that finished jobs are kept, and files of versions that nobody needs"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then `.env`; what may be secret also from files that these name."""
        given: dict[str, str | None] = {}
        for source in (dotenv_settings, env_settings):
            if isinstance(source, DotEnvSettingsSource | EnvSettingsSource):
                given |= source.env_vars
        return init_settings, env_settings, dotenv_settings, file_secret_settings, Files(settings_cls, given)

    @field_validator("rate_limit")
    @classmethod
    def _rate(cls, value: str) -> str:
        if value:
            parse_rate(value)
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in {"redis", "rediss", "redis+socket", "unix"}:
            raise ValueError("expected redis://host:port/number")
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        scheme, colon, rest = value.partition("://")
        value = DRIVERS.get(scheme, scheme) + colon + rest
        if value and not value.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("expected sqlite:///file or postgresql://user:password@host/name")
        return value

    @field_validator("alive_file")
    @classmethod
    def _alive(cls, value: Path | None) -> Path | None:
        if value and not value.parent.is_dir():
            raise ValueError("expected a file in a folder that exists")
        return value

    @field_validator("api_key", "discord_webhook_url", "apprise_urls", "kuma_push_url", "metrics_token", mode="after")
    @classmethod
    def _secret(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None or not value.get_secret_value().strip() else value

    @field_validator("discord_webhook_url", mode="after")
    @classmethod
    def _webhook(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or "REPLACE" in value.get_secret_value():
            return None
        url = urlsplit(value.get_secret_value())
        if url.scheme != "https" and url.hostname not in LOOPBACK:
            raise ValueError("expected an https:// address")
        return value

    @model_validator(mode="after")
    def _open_door(self) -> Settings:
        key = self.api_key.get_secret_value() if self.api_key else ""
        if self.api_host not in LOOPBACK and key in ("", EXAMPLE_API_KEY):
            raise ValueError(
                f"API_KEY is {'the example value' if key else 'unset'} while API_HOST={self.api_host} is open to other "
                "machines: expected a secret of your own (`make env` writes one), or API_HOST=127.0.0.1."
            )
        return self

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger, embedded or given."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'ledger.db'}"

    @property
    def broker_url(self) -> str:
        """Where the broker is, embedded or given; empty where none was given and none was ever started here."""
        kept = self.data_dir / BROKER_URL
        return self.redis_url or (kept.read_text().strip() if kept.exists() else "")

    @property
    def registry_uri(self) -> str:
        """MLflow tracking URI, embedded or given."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.data_dir.resolve() / 'mlflow' / 'mlflow.db'}"

    @property
    def base_url(self) -> str:
        """Where a person's browser finds the API."""
        host = "127.0.0.1" if self.api_host in {"0.0.0.0", "::"} else self.api_host  # noqa: S104 - compared, not bound
        return self.api_base_url.rstrip("/") or f"http://{host}:{self.api_port}"

    @property
    def secrets(self) -> list[str]:
        """What may stand in no log."""
        given = (getattr(self, name) for name in type(self).model_fields)
        return [value.get_secret_value() for value in given if isinstance(value, SecretStr)]

    @property
    def dashboard_page(self) -> str:
        """Where a person's browser finds the dashboard."""
        return self.dashboard_url.rstrip("/") or f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def flower_page(self) -> str:
        """Where a person's browser finds Flower."""
        return self.flower_url.rstrip("/") or f"http://127.0.0.1:{self.flower_port}"


def parse_rate(text: str) -> tuple[int, float]:
    """A rate as (requests, seconds): `100/minute`, `5/s`, `2000/hour`.

    Raises:
        ValueError: the text has another form.
    """
    seconds = {
        "s": 1.0,
        "second": 1.0,
        "m": 60.0,
        "min": 60.0,
        "minute": 60.0,
        "h": 3600.0,
        "hour": 3600.0,
        "d": 86400.0,
        "day": 86400.0,
    }
    count, _, unit = text.partition("/")
    if not count.strip().isdigit() or int(count) < 1 or unit.strip() not in seconds:
        raise ValueError("expected requests/unit, for example 100/minute")
    return int(count), seconds[unit.strip()]


def read(**overrides: Any) -> Settings:
    """The settings of this process.

    Raises:
        WrongSetting: with one line naming variable, value and what was expected.
    """
    try:
        return Settings(**overrides)
    except ValidationError as wrong:
        raise WrongSetting("; ".join(_sentence(error) for error in wrong.errors())) from None


def load() -> Settings:
    """As `read`, but a wrong setting ends the process with its one line on stderr and exit status 2."""
    try:
        return read()
    except WrongSetting as wrong:
        sys.exit(_stop(str(wrong)))


def _stop(line: str) -> int:
    print(line, file=sys.stderr)
    return 2


def _sentence(error: Any) -> str:
    if not error["loc"]:
        return str(error["ctx"]["error"])
    given = str(error["loc"][0])
    name = given.upper()
    field = Settings.model_fields.get(given.lower()) or next(
        (
            f
            for f in Settings.model_fields.values()
            if isinstance(f.validation_alias, AliasChoices) and name in f.validation_alias.choices
        ),
        None,
    )
    secret = field is not None and "SecretStr" in str(field.annotation)
    value = "(hidden)" if secret else os.environ.get(name, error["input"])
    cause = str(error.get("ctx", {}).get("error", ""))
    wanted = cause.removeprefix("expected ") or _expected(error, field)
    return f"{name}={value}: expected {wanted}."


def _expected(error: Any, field: Any) -> str:
    what = {
        "int_parsing": "a whole number",
        "float_parsing": "a number",
        "bool_parsing": "true or false",
    }.get(error["type"], "")
    return ", ".join(part for part in (what, field.description if field else error["msg"]) if part)
