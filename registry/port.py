"""The ModelRegistry port: versions of models, their files, and which of them is the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

CHAMPION = "champion"
CHALLENGER = "challenger"


class RegistryDown(Exception):
    """The registry cannot be reached, or fails in a way that may pass; the text is one line for a person."""


class UnknownVersion(LookupError):
    """The registry holds no such version of that model."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One trained model on its way into the registry.

    Attributes:
        model: the model's name.
        estimator: the fitted scikit-learn pipeline.
        file: the skops file that the estimator was already written to; kept byte for byte.
        sample: a few rows as the estimator takes them, ndarray (n, d) or DataFrame, for the signature.
        labels: what the estimator answers to `sample`, length n.
        metrics: finite numbers by name (accuracy, …).
        params: by name (model_type, n_samples, performance_threshold, …).
        tags: the lineage: dataset ids and hashes, seed, code version, `job_id`, attempt.
        trusted: the types, by full name, that skops may load besides its own list.
    """

    model: str
    estimator: object
    file: Path
    sample: object
    labels: object
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str | int | float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    trusted: Sequence[str] = ()


class ModelRegistry(Protocol):
    """Every method but `prepare` is quick; all raise RegistryDown when the registry cannot be reached."""

    def prepare(self) -> None:
        """Open the store, migrations included (up to 12 s the first time); again it changes nothing. Fork before, not after."""

    def ping(self) -> None:
        """Return within a few seconds if the registry answers.

        Raises:
            RegistryDown: it does not.
        """

    def register(self, upload: Upload) -> str:
        """Keep a trained model as the next version of its name ("1", "2", …); it serves nobody yet.

        Twice is once: if a version of that model carries the same tag `job_id`, that version is returned.
        """

    def champion(self, model: str) -> str | None:
        """The version that the alias `champion` names, or None (no alias yet, or an unknown model)."""

    def set_champion(self, model: str, version: str) -> None:
        """Let the alias `champion` name this version.

        Raises:
            UnknownVersion: there is no such version.
        """

    def set_challenger(self, model: str, version: str | None) -> None:
        """Let the alias `challenger` name this version, which is on trial; None takes the alias away, if it is there.

        Raises:
            UnknownVersion: there is no such version.
        """

    def forget(self, model: str, version: str) -> None:
        """Delete a version for good, with its file, metrics and parameters; its number is given to no other.

        Nothing happens if there is none: what was cut off in the middle is ended by calling it again.
        """

    def forget_job(self, model: str, job_id: str) -> None:
        """Delete whatever the attempts of a training have left that ended without a version in the ledger; twice is once."""

    def fetch(self, model: str, version: str, to: Path) -> None:
        """Write the version's skops file, the very bytes of `Upload.file`, to the path `to`.

        Raises:
            UnknownVersion: there is no such version, or its file is gone.
        """
