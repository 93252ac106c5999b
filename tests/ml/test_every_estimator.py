"""Every predictor that scikit-learn has: declared, probed, trained, stored, loaded and asked; or refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.utils import all_estimators

from ml.challenger import train
from ml.leakage import suspects
from ml.model_file import dump, load
from ml.prediction import predict
from ml.probe import faults
from ml.rows import Rows, Truth, from_columns
from problems.declaration import Problem
from tests.ml.common import MIXED, problem

COUNTS = {"estimator_args": {}, "scale": False, "features": {"a": "number", "b": "boolean"}}  # what is never negative
NEEDS: dict[str, dict[str, Any]] = {  # what some cannot do without
    **dict.fromkeys(("CategoricalNB", "ComplementNB", "MultinomialNB"), COUNTS),
    **{
        name: {"estimator_args": {"estimator": "sklearn.linear_model.LogisticRegression"}}
        for name in (
            *("FixedThresholdClassifier", "OneVsOneClassifier", "OneVsRestClassifier", "OutputCodeClassifier"),
            *("SelfTrainingClassifier", "TunedThresholdClassifierCV"),
        )
    },
    "CCA": {"estimator_args": {"n_components": 1}},
    "PLSCanonical": {"estimator_args": {"n_components": 1}},
    "GaussianProcessClassifier": {"estimator_args": {"n_restarts_optimizer": 0}},
    "IsotonicRegression": {"estimator_args": {"out_of_bounds": "clip"}, "features": {"a": "number"}},
    "QuadraticDiscriminantAnalysis": {"estimator_args": {"reg_param": 0.1}},
    "RadiusNeighborsClassifier": {"estimator_args": {"outlier_label": "most_frequent"}},
}
REFUSED = {  # nothing that can be declared makes them fit
    "CategoricalNB": "out of bounds",  # a category that it has not seen; with `scale` it meets negative values
    "ClassifierChain": "estimator",
    "RadiusNeighborsRegressor": "no finite value",
    "TunedThresholdClassifierCV": "cannot be stored safely",  # with what scikit-learn notes of metadata, which we do not trust
    "StackingClassifier": ".py problem file",
    "StackingRegressor": ".py problem file",
    "VotingClassifier": ".py problem file",
    "VotingRegressor": ".py problem file",
    **{f"MultiTask{name}": "" for name in ("ElasticNet", "ElasticNetCV", "Lasso", "LassoCV")},
    **dict.fromkeys(("MultiOutputClassifier", "MultiOutputRegressor", "RegressorChain"), "estimator"),
}
TASKS = {"classifier": ("binary", "multiclass"), "regressor": ("regression",)}
ONLY_BINARY = {"FixedThresholdClassifier", "TunedThresholdClassifierCV"}
EVERY = [
    (name, f"{cls.__module__}.{name}", task)
    for kind, tasks in TASKS.items()
    for name, cls in all_estimators(type_filter=kind)
    for task in tasks
    if not (name in ONLY_BINARY and task == "multiclass")
]


def public(dotted: str) -> str:
    """Where a class is imported from: `linear_model.LinearRegression` of `sklearn.linear_model._base.LinearRegression`."""
    parts = dotted.removeprefix("sklearn.").split(".")
    private = next((n for n, part in enumerate(parts) if part.startswith("_")), len(parts) - 1)
    return ".".join([*parts[:private], parts[-1]])


def rows_of(whose: Problem, rows: int = 240) -> tuple[Rows, Truth]:
    rng = np.random.default_rng(0)
    n, kind = rng.normal(size=rows), rng.integers(0, 3, rows)
    told = n + 0.3 * rng.normal(size=rows)
    a = np.digitize(n, [-1, 0, 1]).astype(float) if not whose.scale else n
    columns: dict[str, Any] = {
        "a": a,
        "n": np.where(rng.random(rows) < 0.1, np.nan, n),
        "b": (n > 0).astype(float),
        "c": [[None, "red", "blue"][k] for k in kind],
        "t": [None if v < -1.5 else "good thing" if v > 0 else "bad thing" for v in n],
    }
    truth = {"binary": told > 0, "multiclass": np.digitize(told, [-0.5, 0.5]), "regression": told + 5}[whose.task]
    return from_columns(whose, columns), truth if whose.task == "regression" else truth.astype(np.int64)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "dotted", "task"), EVERY)
def test_every_estimator_goes_the_whole_way_or_is_refused_at_the_door(name: str, dotted: str, task: str, tmp_path: Path) -> None:
    """What the door takes can be trained, stored and asked; its file says the same as it did."""
    whose = problem(task, public(dotted), **{"features": MIXED, **NEEDS.get(name, {})})
    found = faults(whose)
    if name in REFUSED:
        assert found
        assert REFUSED[name] in found[0][1]
        return
    assert found == []
    rows, truth = rows_of(whose)
    made = train(whose, rows, truth, None, None, 1, "first")
    assert made.model is not None
    again = load(tmp_path / "m", dump(made.model, tmp_path / "m"))
    assert predict(again, whose, rows).label_list() == predict(made.model, whose, rows).label_list()
    assert suspects(whose, rows, truth) == []
