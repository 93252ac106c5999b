"""From a problem to the unfitted pipeline, and what is wrong with a problem's estimator.

A classifier without `predict_proba` (LinearSVC, RidgeClassifier, …) is taken as it is: its
probabilities are the logistic or softmax of its decision function (`ml.prediction`), uncalibrated but
in the order of its own confidence, without the folds that a calibration would take from small windows.
"""

from __future__ import annotations

import importlib
import inspect
import runpy
import warnings
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from problems.declaration import DECLARED, Loc, Problem

CLOSED: Final = {"conftest", "datasets", "exceptions", "externals", "setup", "tests", "utils"}
PROBE_ROWS: Final = 60
# What scikit-learn's estimators raise on arguments that they cannot work with.
REFUSALS: Final = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
PROBE_CAP: Final = 10


def build(problem: Problem, seed: int) -> Pipeline:
    """The unfitted pipeline: imputing, scaling and encoding as the features need, then the estimator.

    A pipeline that a .py file's `estimator()` returns takes the rows as they are (`ml.rows`).

    Args:
        seed: `random_state` of an estimator that has one and was given none.

    Raises:
        ValueError: scikit-learn has no such estimator, or a .py file's `estimator()` returns none.
    """
    model = _construct(problem)
    _settle(model, seed)
    if isinstance(model, Pipeline):
        return model
    return Pipeline([*_preparation(problem, model), ("model", model)])


def faults(problem: Problem) -> list[tuple[Loc, str]]:
    """What is wrong with the estimator and its arguments: (loc, msg) each; empty if nothing is.

    The last look is a probe: the estimator, its whole numbers capped at 10, learns 60 rows and must be
    storable with the types that `ml.model_file` trusts. A .py file's estimator is only built.
    """
    found = _argument_faults(problem.estimator_args)
    if found:
        return found
    try:
        model = _construct(problem)
    except ValueError as wrong:
        return [(("estimator",), str(wrong))]
    except TypeError as wrong:
        return [((_blamed(problem),), _sentence(wrong))]
    fits = is_regressor(model) if problem.task == "regression" else is_classifier(model)
    if not fits:
        return [(("estimator",), f"not a {'regressor' if problem.task == 'regression' else 'classifier'}")]
    return _probe_faults(problem) if problem.source == DECLARED else []


def estimator_class(name: str) -> type[BaseEstimator]:
    """The class of scikit-learn's own with this dotted name.

    Raises:
        ValueError: there is none, or it is no estimator.
    """
    module, _, attribute = name.rpartition(".")
    parts = module.split(".")
    if parts[0] != "sklearn" or len(parts) < 2 or CLOSED.intersection(parts) or any(p.startswith("_") for p in parts):
        raise ValueError("expected a class of scikit-learn's, as sklearn.linear_model.LogisticRegression")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as wrong:
        raise ValueError(f"scikit-learn has no {name}") from wrong
    theirs = inspect.isclass(found) and found.__module__.startswith("sklearn.") and issubclass(found, BaseEstimator)
    if not theirs or inspect.isabstract(found):
        raise ValueError(f"{name} is not an estimator class of scikit-learn's")
    return found  # type: ignore[no-any-return]  # shown to be one above


def _construct(problem: Problem) -> BaseEstimator:
    if problem.source == DECLARED:
        return estimator_class(problem.estimator)(**problem.estimator_args)
    return _own(problem)


def _own(problem: Problem) -> BaseEstimator:
    """What the .py file's `estimator()` returns; the operator's own code, run in a worker only."""
    try:
        made = runpy.run_path(problem.source)["estimator"]()
    except Exception as wrong:
        raise ValueError(f"{problem.source}: estimator() failed: {wrong!r}") from wrong
    if not isinstance(made, BaseEstimator):
        raise ValueError(f"{problem.source}: estimator() returned {made!r}, expected an unfitted scikit-learn estimator")
    return made


def _settle(model: BaseEstimator, seed: int) -> None:
    """One core (n_jobs None is one) and one seed, also in nested estimators."""
    ours: dict[str, Any] = {}
    for key, value in model.get_params(deep=True).items():
        name = key.split("__")[-1]
        if name == "n_jobs" and value is not None:
            ours[key] = None
        elif name == "random_state" and value is None:
            ours[key] = seed
    model.set_params(**ours)


# ---- preparing the features


def _preparation(problem: Problem, model: BaseEstimator) -> list[tuple[str, Any]]:
    if problem.plain:
        return _number_steps(problem)
    return [("columns", _columns(problem, sparse=bool(get_tags(model).input_tags.sparse)))]


def _number_steps(problem: Problem) -> list[tuple[str, Any]]:
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    steps: list[tuple[str, Any]] = []
    if any(f.optional for f in problem.numbers):
        steps.append(("impute", SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)))
    if problem.scale:
        steps.append(("scale", StandardScaler()))
    return steps


def _columns(problem: Problem, sparse: bool) -> Any:
    """Numbers as if plain, categories one-hot (missing is a kind of its own), each text as tf-idf."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import OneHotEncoder

    parts: list[tuple[str, Any, Any]] = []
    if problem.numbers:
        steps = _number_steps(problem)
        parts.append(("numbers", Pipeline(steps) if steps else "passthrough", [f.name for f in problem.numbers]))
    categories = [f.name for f in problem.texts if f.type == "category"]
    if categories:
        encoder = OneHotEncoder(handle_unknown="ignore", max_categories=1_000, sparse_output=sparse)
        parts.append(("categories", encoder, categories))
    width = 20_000 if sparse else 1_000  # a dense matrix of 20,000 rows stays under 160 MB
    texts = [f.name for f in problem.texts if f.type == "text"]
    parts += [(f"text_{i}", TfidfVectorizer(max_features=width), name) for i, name in enumerate(texts)]
    return ColumnTransformer(parts, sparse_threshold=0.3 if sparse else 0.0)


# ---- faults


def _argument_faults(args: Mapping[str, Any]) -> list[tuple[Loc, str]]:
    found: list[tuple[Loc, str]] = []
    for key, value in args.items():
        if key == "memory":  # it writes files
            found.append((("estimator_args", key), "is not for a declared problem to set"))
        elif not _harmless(value):
            found.append(
                (
                    ("estimator_args", key),
                    "expected a number, true, false, null, a short word or a list of them",
                )
            )
    return found


def _harmless(value: object) -> bool:
    if isinstance(value, list):
        return len(value) <= 1_000 and all(_harmless(item) for item in value)
    if isinstance(value, str):
        return len(value) <= 64 and not any(sign in value for sign in "/\\\0") and ".." not in value
    return value is None or isinstance(value, bool | int | float)


def _probe_faults(problem: Problem) -> list[tuple[Loc, str]]:
    from ml.model_file import untrusted

    rng = np.random.default_rng(0)
    width = min(len(problem.features), 50) if problem.plain else 3
    rows = rng.random((PROBE_ROWS, width)) - (0.5 if problem.scale and problem.numbers else 0.0)
    classes = rng.permutation(PROBE_ROWS) % (3 if problem.task == "multiclass" else 2)
    labels = rows.sum(axis=1) + width if problem.task == "regression" else classes
    capped = {key: _capped(value) for key, value in problem.estimator_args.items()}
    model = estimator_class(problem.estimator)(**capped)
    _settle(model, seed=0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a probe of ten iterations does not converge
            model.fit(rows, labels)
            model.predict(rows[:1])
    except REFUSALS as wrong:
        return [((_blamed(problem),), _sentence(wrong))]
    types = untrusted(model)
    return [(("estimator",), f"cannot be stored safely: {', '.join(types[:3])}")] if types else []


def _capped(value: Any) -> Any:
    if isinstance(value, list):
        return [_capped(item) for item in value[:10]]
    return min(value, PROBE_CAP) if isinstance(value, int) and not isinstance(value, bool) else value


def _blamed(problem: Problem) -> str:
    return "estimator_args" if problem.estimator_args else "estimator"


def _sentence(wrong: Exception) -> str:
    return " ".join(str(wrong).split())[:300]
