"""Models on disk: skops with a trust list of our own, never a pickle, and nothing whose hash is not known.

A file is read once: the bytes that were hashed are the bytes that are loaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import skops.io
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from ml.canonical import canonical

# Compiled or private classes (and one score) that fitted estimators hold; none runs code of a file's choosing.
TRUSTED: Final = frozenset(
    {
        "numpy.dtype",
        "sklearn._loss.loss.HalfTweedieLoss",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.DotProduct",
        "sklearn.gaussian_process.kernels.ExpSineSquared",
        "sklearn.gaussian_process.kernels.Exponentiation",
        "sklearn.gaussian_process.kernels.Matern",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.RationalQuadratic",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        "sklearn.metrics._classification.balanced_accuracy_score",
        "sklearn.metrics._dist_metrics.ChebyshevDistance64",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.metrics._dist_metrics.MinkowskiDistance64",
        "sklearn.metrics._scorer._CurveScorer",
        "sklearn.metrics._scorer._Scorer",
        "sklearn.multiclass._ConstantPredictor",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
    }
)


class RefusedModel(ValueError):
    """A model that must not be loaded."""


class SwappedModel(RefusedModel):
    """The file is not the one whose hash the ledger has."""


class UntrustedModel(RefusedModel):
    """The model holds types outside of our trust list."""


def trusted(types: Iterable[str]) -> bool:
    """Whether all these types, as skops names them, are on our list."""
    return TRUSTED.issuperset(types)


def untrusted(model: BaseEstimator) -> list[str]:
    """The types in a model that are neither skops' default nor on our list, sorted."""
    return _outside(skops.io.dumps(model))


def content(model: BaseEstimator) -> bytes:
    """The model as its file holds it; the same model gives the same bytes."""
    return canonical(skops.io.dumps(model))


def dump(model: Pipeline, path: Path) -> str:
    """Write the model whole or not at all; its SHA-256 in hex.

    Raises:
        UntrustedModel: it could not be loaded again.
    """
    data = content(model)
    _refuse(data)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
    unfinished.write_bytes(data)
    os.replace(unfinished, path)
    return hashlib.sha256(data).hexdigest()


def load(path: Path, sha256: str) -> Pipeline:
    """The model in the file.

    Raises:
        SwappedModel: the file's hash is another.
        UntrustedModel: a type outside of the trust list.
        OSError, zipfile.BadZipFile: no such file, or no skops file.
    """
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise SwappedModel(f"{path.name}: SHA-256 is {found[:12]}…, expected {sha256[:12]}…")
    _refuse(data)
    model: Pipeline = skops.io.loads(data, trusted=sorted(TRUSTED))
    return model


def _outside(data: bytes) -> list[str]:
    return sorted(set(skops.io.get_untrusted_types(data=data)) - TRUSTED)


def _refuse(data: bytes) -> None:
    outside = _outside(data)
    if outside:
        raise UntrustedModel(f"types outside of the trust list: {', '.join(outside[:5])}")
