"""The ModelRegistry on MLflow: its own SQLite store in this process, or a tracking server over HTTP."""

from __future__ import annotations

import importlib
import logging
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import httpx

from registry.forgetting import ABSENT, forget, forget_unfinished
from registry.port import CHALLENGER, CHAMPION, RegistryDown, UnknownVersion, Upload
from registry.unchanged import Unchanged

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.models.model import ModelInfo

EXPERIMENT = "continual_ml"
MODEL_FILE = "model.skops"  # the name that MLflow's sklearn flavour gives it
REQUIREMENTS = ("scikit-learn", "skops", "numpy", "pandas")
# What MLflow imports at its first upload, 2 s late: better before the fork.
STORES = ("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store")
PING_TIMEOUT = 3.0  # seconds
SQLITE = "sqlite:///"
TRACKING_URI = "MLFLOW_TRACKING_URI"
# Read by MLflow at its import. Without the HTTP ones it would retry a dead server for minutes.
ENVIRONMENT = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "GIT_PYTHON_REFRESH": "quiet",  # an image has no git, and MLflow asks for it at an upload
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
PASSING = {"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}


def load_mlflow() -> None:
    """Import MLflow, quiet and without telemetry (3 s); done in a worker's parent, the children share it."""
    os.environ.update(ENVIRONMENT)  # each time: the refusal of pickles must hold whoever imported MLflow first
    if "mlflow.pyfunc" in sys.modules:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's pyfunc warns of a type hint of its own
        for name in ("mlflow.sklearn", "mlflow.pyfunc", *STORES):
            importlib.import_module(name)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # It warns at each upload that pip is not installed: an environment made by uv has none.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)


class MlflowRegistry:
    """Versions as MLflow's registered models, each with a run that holds its metrics and parameters.

    The stored flavour's `model.skops` is `Upload.file` itself, so what MLflow shows, what `fetch` gives and
    what the caller hashed are one file.
    """

    def __init__(self, uri: str, artifact_root: Path | None = None) -> None:
        """Touches nothing yet.

        Args:
            uri: `sqlite:///file` or the http(s) address of an MLflow server.
            artifact_root: where a SQLite store keeps the files; a server decides for itself.

        Raises:
            ValueError: another kind of URI, or SQLite without `artifact_root` (MLflow would use the cwd).
        """
        self._remote = urlsplit(uri).scheme in {"http", "https"}
        if not self._remote and not uri.startswith(SQLITE):
            raise ValueError("expected an MLflow URI that starts with http://, https:// or sqlite:///")
        if not self._remote and artifact_root is None:
            raise ValueError("an MLflow store in SQLite needs an artifact_root")
        self._store = None if self._remote else Path(uri.removeprefix(SQLITE))
        # mode=rw: a file that is away is not made anew; the driver's name: nor is its folder, by MLflow
        self._uri = uri if self._store is None else f"sqlite+pysqlite:///file:{quote(str(self._store))}?mode=rw&uri=true"
        self._artifact_root = None if self._remote else artifact_root
        self._connected: MlflowClient | None = None
        self._watched = None if self._store is None else Unchanged(self._store)
        self._aliases: dict[str, tuple[object, str | None]] = {}  # by model: the store's stamp, and what the alias named

    def prepare(self) -> None:
        """Open the store, migrations included, and make the experiment; see `ModelRegistry.prepare`."""
        with _translated():
            if self._store is not None:
                _make_whole(self._store)
            self._experiment()

    def ping(self) -> None:
        """Ask the server, or read the store's file, without importing MLflow; see `ModelRegistry.ping`."""
        try:
            if self._store is None:
                httpx.get(f"{self._uri.rstrip('/')}/health", timeout=PING_TIMEOUT).raise_for_status()
            else:
                _read_store(self._store)
        except (httpx.HTTPError, sqlite3.Error) as error:
            raise RegistryDown(f"MLflow does not answer ({type(error).__name__})") from error

    def register(self, upload: Upload) -> str:
        """Log a run, the model and its file, and make the version; see `ModelRegistry.register`."""
        with _translated():
            if job := upload.tags.get("job_id"):
                if made := self._made_by(upload.model, job):
                    return made[0]
                self._forget_unfinished(upload.model, job)
            return self._register(upload)

    def champion(self, model: str) -> str | None:
        """What the alias names; see `ModelRegistry.champion`. A store that nobody wrote to is not asked again: 5 ms a model."""
        stamp = self._stamp()
        known = self._aliases.get(model)
        if known is None or stamp is None or known[0] != stamp:
            known = self._aliases[model] = (stamp, self._champion(model))
        return known[1]

    def _stamp(self) -> object:
        """What differs once anybody has written to the store; None where that cannot be known."""
        try:
            return None if self._watched is None else self._watched.stamp()
        except (sqlite3.Error, OSError):
            return None

    def _champion(self, model: str) -> str | None:
        with _translated():
            client = self._client()
            from mlflow.exceptions import MlflowException

            try:
                return str(client.get_model_version_by_alias(model, CHAMPION).version)
            except MlflowException as error:
                # To MLflow a missing alias is an invalid parameter, and a missing model is absent.
                if error.error_code in {*ABSENT, "INVALID_PARAMETER_VALUE"}:
                    return None
                raise

    def set_champion(self, model: str, version: str) -> None:
        """Move the alias; see `ModelRegistry.set_champion`."""
        with _translated():
            self._client().set_registered_model_alias(model, CHAMPION, _known_form(version))

    def set_challenger(self, model: str, version: str | None) -> None:
        """Move the alias, or take it away; see `ModelRegistry.set_challenger`."""
        with _translated():
            if version is None:
                self._client().delete_registered_model_alias(model, CHALLENGER)
            else:
                self._client().set_registered_model_alias(model, CHALLENGER, _known_form(version))

    def forget(self, model: str, version: str) -> None:
        """Delete the version, its run and their files; see `registry.forgetting` and `ModelRegistry.forget`."""
        with _translated():
            forget(self._client(), model, version, for_good=self._store is not None)

    def forget_job(self, model: str, job_id: str) -> None:
        """Delete its versions and what else its attempts have logged; see `ModelRegistry.forget_job`."""
        with _translated():
            for version in self._made_by(model, job_id):
                self.forget(model, version)
            self._forget_unfinished(model, job_id)

    def fetch(self, model: str, version: str, to: Path) -> None:
        """Copy the flavour's own file; see `ModelRegistry.fetch`."""
        with _translated(), tempfile.TemporaryDirectory(dir=to.parent) as folder:
            from mlflow.artifacts import download_artifacts, list_artifacts

            self._client()
            stored = f"models:/{model}/{_known_form(version)}"
            if MODEL_FILE not in {file.path for file in list_artifacts(stored)}:
                raise UnknownVersion(f"the file of model {model!r}, version {version!r} is gone")
            Path(download_artifacts(f"{stored}/{MODEL_FILE}", dst_path=folder)).replace(to)

    def _client(self) -> MlflowClient:
        """MLflow's client, with its global tracking URI set to ours.

        Raises:
            RegistryDown: the store cannot be opened, or its file is away, which MLflow would wait a minute for.
        """
        if self._store is not None:
            try:
                _read_store(self._store)
            except sqlite3.Error as error:
                raise RegistryDown(f"MLflow's store is away ({_sentence(error)})") from error
        _point_at(self._uri)
        if self._connected is None:
            self._connected = _open(self._uri)
        return self._connected

    def _experiment(self) -> str:
        """The experiment's id; made if it is not there."""
        client = self._client()
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        root = self._artifact_root.resolve().as_uri() if self._artifact_root else None
        return str(client.create_experiment(EXPERIMENT, artifact_location=root))

    def _made_by(self, model: str, job_id: str) -> list[str]:
        """The versions that this job has made; but for an attempt that was only thought dead, there is one at most."""
        asked = f"name = '{_literal(model)}' and tag.`job_id` = '{_literal(job_id)}'"
        return [str(made.version) for made in self._client().search_model_versions(asked)]

    def _forget_unfinished(self, model: str, job_id: str) -> None:
        names = (self._experiment(), _literal(model), _literal(job_id))
        forget_unfinished(self._client(), *names, for_good=self._store is not None)

    def _register(self, upload: Upload) -> str:
        import mlflow

        client = self._client()
        run = client.create_run(self._experiment(), run_name=upload.model, tags=dict(upload.tags))
        _log_numbers(client, run, upload)
        with mlflow.start_run(run_id=run.info.run_id), tempfile.TemporaryDirectory() as folder:
            info = _log_model(upload)
            ours = shutil.copy(upload.file, Path(folder, MODEL_FILE))
            client.log_model_artifact(info.model_id, str(ours))
        self._name(upload.model)
        made = client.create_model_version(
            upload.model, info.model_uri, run.info.run_id, tags=dict(upload.tags), model_id=info.model_id
        )
        return str(made.version)

    def _name(self, model: str) -> None:
        """Make the registered model unless it is there."""
        from mlflow.exceptions import MlflowException

        try:
            self._client().create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


@contextmanager
def _translated() -> Iterator[None]:
    """MLflow's errors as the port's; one that is neither absence nor passing is our mistake: it goes on."""
    load_mlflow()
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in ABSENT:
            raise UnknownVersion(str(error)) from error
        # the second: its own database failed, which it tells as a bad request
        if error.error_code in PASSING or type(error.__cause__).__module__.startswith("sqlalchemy."):
            raise RegistryDown(f"MLflow failed: {_sentence(error)}") from error
        raise
    except OSError as error:  # its files are away, or its server in the middle of one: requests' errors are OSErrors
        raise RegistryDown(f"MLflow's store failed: {_sentence(error)}") from error


def _sentence(error: Exception) -> str:
    """An error's text on one line, short, without credentials of a URL."""
    return re.sub(r"//[^/@\s]*@", "//", " ".join(str(error).split()))[:300]


def _known_form(version: str) -> str:
    """A version as MLflow numbers them; any other text is a version it cannot have."""
    if not version.isdecimal():
        raise UnknownVersion(f"no version is called {version!r}")
    return version


def _point_at(uri: str) -> None:
    """Set the URI that `log_model` and `download_artifacts` use; but not, as MLflow does, in os.environ."""
    import mlflow

    before = os.environ.get(TRACKING_URI)
    mlflow.set_tracking_uri(uri)
    if before is None:
        os.environ.pop(TRACKING_URI, None)
    else:
        os.environ[TRACKING_URI] = before


def _log_model(upload: Upload) -> ModelInfo:
    """Write the estimator as MLflow's sklearn flavour into the active run."""
    import mlflow
    from mlflow.models import infer_signature

    info: ModelInfo = mlflow.sklearn.log_model(
        upload.estimator,
        name="model",
        # Given, because working them out starts a process that imports everything: 10 to 25 s.
        pip_requirements=[f"{name}=={installed(name)}" for name in REQUIREMENTS],
        signature=infer_signature(upload.sample, upload.labels),
        serialization_format="skops",
        skops_trusted_types=list(upload.trusted),
    )
    return info


def _log_numbers(client: MlflowClient, run: Run, upload: Upload) -> None:
    """The run's metrics and parameters, in one request."""
    from mlflow.entities import Metric, Param

    now = run.info.start_time
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(name, float(value), now, 0) for name, value in upload.metrics.items()],
        params=[Param(name, str(value)) for name, value in upload.params.items()],
    )


def _open(uri: str) -> MlflowClient:
    """A client whose store is open; in SQLite MLflow makes one where there is none.

    Raises:
        RegistryDown: it cannot be opened.
    """
    import mlflow

    try:
        client = mlflow.MlflowClient(uri)
        client.get_experiment_by_name(EXPERIMENT)
    except Exception as error:  # SQLAlchemy's, Alembic's or MLflow's own, by where the opening fails
        raise RegistryDown(f"MLflow's store cannot be opened ({type(error).__name__})") from error
    return client


def _make_whole(file: Path) -> None:
    """Make the SQLite store where there is none: under another name, for MLflow cannot go on with a store half made.

    Its migrations take seconds and are no transaction, so whoever is killed in them would leave a stack that never starts again.
    """
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.draft")
    for left in file.parent.glob(f"{draft.name}*"):
        left.unlink()
    _open(f"{SQLITE}{draft}")
    draft.rename(file)


def _read_store(file: Path) -> None:
    """Read one row of the SQLite store, opened read-only so that a missing file is not made.

    Raises:
        sqlite3.Error: there is no store there.
    """
    readonly = f"file:{quote(str(file))}?mode=ro"
    with closing(sqlite3.connect(readonly, uri=True, timeout=PING_TIMEOUT)) as store:
        store.execute("SELECT 1 FROM alembic_version").fetchone()


def _literal(text: str) -> str:
    """Checked for use between quotes in MLflow's filter language, which has no escapes."""
    if "'" in text:
        raise ValueError(f"a quote in {text!r}, which MLflow's filters cannot hold")
    return text
