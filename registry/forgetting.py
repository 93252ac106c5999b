"""What MLflow has of a version, deleted: its files, the logged model, the run, and last the version, by which they are found.

So whatever is cut off in between is ended by beginning again. `MlflowClient` only moves runs and logged models to a trash,
files untouched, for `mlflow gc` to empty. In a store of our own we do what `mlflow gc` does, for these alone: others' trash
is theirs. A server offers no more than the trash; its files are deleted all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
LOGGED_MODEL = "models:/"


def forget(client: MlflowClient, model: str, version: str, for_good: bool) -> None:
    """Delete a version; what is gone already is no fault. A run that another version was made of by hand stays, with its files.

    Args:
        for_good: the store is ours to empty; else runs and logged models end in its trash.

    Raises:
        MlflowException, OSError: the store fails.
    """
    with _if_there():
        made = client.get_model_version(model, version)
        others = client.search_model_versions(f"run_id = '{made.run_id}'")
        if not [each for each in others if (each.name, str(each.version)) != (model, version)]:
            store: Any = client._tracking_client.store  # the only way to what `mlflow gc` does
            _forget_made(store, str(made.run_id), [str(made.source).removeprefix(LOGGED_MODEL)], for_good)
        client.delete_model_version(model, version)


def forget_unfinished(client: MlflowClient, experiment: str, model: str, job_id: str, for_good: bool) -> None:
    """Delete what attempts of a model's job have left that were killed before they had a version.

    An attempt that is only thought dead fails where it is: its job is another's by then.

    Args:
        experiment: the id of the one that its runs are in; they are named by the model.
        for_good: as in `forget`.

    Raises:
        MlflowException, OSError: the store fails.
    """
    store: Any = client._tracking_client.store
    for run in client.search_runs([experiment], f"attributes.run_name = '{model}' and tags.`job_id` = '{job_id}'"):
        this = run.info.run_id
        if client.search_model_versions(f"run_id = '{this}'"):
            continue
        logged = client.search_logged_models([experiment], f"source_run_id = '{this}'")
        _forget_made(store, this, [each.model_id for each in logged], for_good)


def _forget_made(store: Any, run_id: str, model_ids: Sequence[str], for_good: bool) -> None:
    """A run, after the logged models that it has made."""
    for model_id in model_ids:
        with _if_there():
            _forget_model(store, model_id, for_good)
    with _if_there():
        _forget_run(store, run_id, for_good)


def _forget_model(store: Any, model_id: str, for_good: bool) -> None:
    found = store.get_logged_model(model_id, allow_deleted=True)
    _delete_files(found.artifact_location, model_id)
    (store._hard_delete_logged_model if for_good else store.delete_logged_model)(model_id)


def _forget_run(store: Any, run_id: str, for_good: bool) -> None:
    found = store.get_run(run_id)
    _delete_files(found.info.artifact_uri, run_id)
    (store._hard_delete_run if for_good else store.delete_run)(run_id)


def _delete_files(uri: str, owner: str) -> None:
    """The files of a run or a logged model; the folder too that is named by its id, which `mlflow gc` leaves behind empty."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    end = f"/{owner}/artifacts"
    files: Any = get_artifact_repository(uri.removesuffix("/artifacts") if uri.endswith(end) else uri)
    files.delete_artifacts()


@contextmanager
def _if_there() -> Iterator[None]:
    """Absence is what was wanted."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
