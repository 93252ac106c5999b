"""The processes of one machine's stack, in the order in which they start."""

from __future__ import annotations

import json
import re
import shlex
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from urllib.error import URLError
from urllib.parse import quote

from embedded.broker import Broker
from embedded.home import Home, write_private
from embedded.supervisor import Process
from settings import Settings

# stopped in this order, so that nothing asks for what is gone: first the door, last the broker
API, CLOCK, SWEEPER, WORKERS, BROKER = range(5)
SAYS_READY = re.compile(rb"\bready\b|beat: Starting")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Group:
    """Processes that a person sees as one thing, with the line that tells of them."""

    title: str
    detail: str
    processes: tuple[Process, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """What is started, stage after stage; each stage's groups start together.

    Attributes:
        stages: the stack is ready when these are.
        pages: started after that, one by one: the worker that few jobs ever need, and the browser pages.
    """

    stages: tuple[tuple[Group, ...], ...]
    pages: tuple[Group, ...]


def build(settings: Settings, home: Home, broker: Broker | None) -> Stack:
    """The stack that these settings ask for; without a broker of its own if there is none given."""
    env = _common_env(settings, home, broker)
    ledger = Home.shown(home.root / "ledger.db") if not settings.database_url else "of DATABASE_URL"
    models = Home.shown(home.root / "mlflow") if not settings.mlflow_tracking_uri else "in MLFLOW_TRACKING_URI"
    database = Group("database", ledger, (_python("prepare", None, env, "workers", "prepare"),))
    stages: list[tuple[Group, ...]] = [(database,), (_api(settings, env), _workers(models, env))]
    if broker is not None:
        stages.insert(0, (Group("broker", broker.detail, (broker.process(BROKER),)),))
    return Stack(tuple(stages), _pages(settings, home, env))


def _common_env(settings: Settings, home: Home, broker: Broker | None) -> dict[str, str]:
    env = {
        "DATA_DIR": str(home.root),
        "DATABASE_URL": settings.ledger_url,
        "CHECK_INTERVAL_SECONDS": f"{settings.check_interval_seconds:g}",
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **ONE_THREAD,
    }
    return env if broker is None else {**env, "REDIS_URL": broker.url}


def _python(
    name: str,
    ready: re.Pattern[bytes] | Callable[[], bool] | None,
    env: dict[str, str],
    *command: str,
    rank: int = WORKERS,
    grace_s: float = 3.0,
) -> Process:
    return Process(name, (sys.executable, "-m", *command), ready, env, rank, grace_s)


def _api(settings: Settings, env: dict[str, str]) -> Group:
    alive = _answers(f"http://{_reachable(settings.api_host)}:{settings.api_port}/livez")
    return Group("api", f"{settings.base_url}/docs", (_python("api", alive, env, "api", rank=API, grace_s=4.0),))


def _workers(models: str, env: dict[str, str]) -> Group:
    soft = {**env, "REMAP_SIGTERM": "SIGQUIT"}  # Celery then hands its jobs back within 6 s
    return Group(
        "workers",
        f"predict, general, sweeper, beat   models {models}",
        (
            _python("predict", SAYS_READY, soft, "workers", "predict", grace_s=8.0),
            _python("general", SAYS_READY, soft, "workers", "general", grace_s=8.0),
            _python("sweeper", SAYS_READY, env, "workers", "sweeper", rank=SWEEPER, grace_s=2.0),
            _python("beat", SAYS_READY, env, "workers", "beat", rank=CLOCK, grace_s=2.0),
        ),
    )


def _pages(settings: Settings, home: Home, env: dict[str, str]) -> tuple[Group, ...]:
    soft = {**env, "REMAP_SIGTERM": "SIGQUIT"}
    quarantine = _python("quarantine", SAYS_READY, soft, "workers", "quarantine", grace_s=8.0)
    first = Group("quarantine", "for jobs that took a worker down", (quarantine,))  # after a power cut such jobs wait for it
    pages = [first, _dashboard(settings, home, env), _flower(settings, home, env)]
    if not settings.mlflow_tracking_uri:
        pages.append(_mlflow(settings, home, env))
    return tuple(pages)


def _dashboard(settings: Settings, home: Home, env: dict[str, str]) -> Group:
    kept = f"in {Home.shown(home.root / 'dashboard_password')}"
    where = "in DASHBOARD_PASSWORD" if settings.dashboard_password else kept
    url = f"http://{_reachable(settings.dashboard_host)}:{settings.dashboard_port}"
    page = _python("dashboard", _answers(f"{url}/_stcore/health"), env, "dashboard", rank=CLOCK, grace_s=2.0)
    return Group("dashboard", f"{url}   password {where}", (page,))


def _flower(settings: Settings, home: Home, env: dict[str, str]) -> Group:
    login = settings.flower_basic_auth.get_secret_value() if settings.flower_basic_auth else ""
    where = "login in FLOWER_BASIC_AUTH" if login else f"login in {Home.shown(home.root / 'flower_auth')}"
    flower = {
        **env,
        "FLOWER_ADDRESS": "127.0.0.1",
        "FLOWER_PORT": str(settings.flower_port),
        "FLOWER_BASIC_AUTH": login or home.kept_secret("flower_auth", prefix="flower:"),
        "FLOWER_READ_ONLY": "true",
        "FLOWER_PERSISTENT": "true",
        "FLOWER_MAX_TASKS": "10000",  # else it keeps ten times as many, in memory
        "FLOWER_DB": str(home.root / "flower" / "tasks"),
    }
    url = f"http://127.0.0.1:{settings.flower_port}"
    page = _python(
        "flower",
        _answers(f"{url}/healthcheck"),
        flower,
        "workers",
        "flower",
        rank=CLOCK,
        grace_s=2.0,
    )
    return Group("flower", f"{url}   {where}", (page,))


def _mlflow(settings: Settings, home: Home, env: dict[str, str]) -> Group:
    store = home.root / "mlflow"
    quiet = {
        **env,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_CONFIGURE_LOGGING": "false",
    }
    url = f"http://127.0.0.1:{settings.mlflow_port}"
    # mode=rw and the driver's name: a page that comes back while the store is away makes no empty one in its place, whose
    # journal would spoil the true one
    uri = f"sqlite+pysqlite:///file:{quote(str(store / 'mlflow.db'))}?mode=rw&uri=true"
    write_private(store / "logging.json", json.dumps(_log_config(settings)))
    page = _python(
        "mlflow", _answers(f"{url}/health"), quiet,
        "mlflow", "server", "--backend-store-uri", uri,
        "--artifacts-destination", str(store / "artifacts"),
        "--host", "127.0.0.1", "--port", str(settings.mlflow_port), "--workers", "1",
        "--uvicorn-opts", f"--log-config {shlex.quote(str(store / 'logging.json'))}",
        rank=CLOCK, grace_s=2.0,
    )  # fmt: skip
    return Group("mlflow", url, (page,))


def _log_config(settings: Settings) -> dict[str, object]:
    """MLflow's server is Uvicorn, which reads from a file where its log goes: to ours."""
    ours = {"()": "telemetry.logs.handler", "log_level": settings.log_level, "log_format": settings.log_format}
    leads_on = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"ours": ours},
        "root": {"handlers": ["ours"], "level": settings.log_level},
        "loggers": {"uvicorn": leads_on, "uvicorn.error": leads_on, "uvicorn.access": leads_on},
    }


def _answers(url: str) -> Callable[[], bool]:
    """A probe: whether a GET of the URL is answered with a 2xx within a second."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback goes through no proxy

    def probe() -> bool:
        try:
            with opener.open(url, timeout=1.0) as answer:
                return 200 <= int(answer.status) < 300
        except (URLError, OSError):  # it does not listen yet, or not answer yet
            return False

    return probe


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
