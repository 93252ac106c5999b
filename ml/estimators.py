"""From a problem to the unfitted pipeline.

A classifier without `predict_proba` (LinearSVC, RidgeClassifier, …) is taken as it is: its
probabilities are the logistic or softmax of its decision function (`ml.prediction`), uncalibrated but
in the order of its own confidence, without the folds that a calibration would take from small windows.

An argument that names a predictor of scikit-learn's is that predictor, unfitted, and `estimator__max_depth` is an
argument of it: `CalibratedClassifierCV` of a forest needs no .py file.
"""

from __future__ import annotations

import importlib
import inspect
import runpy
from collections.abc import Mapping
from typing import Any, Final

from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from problems.declaration import DECLARED, ESTIMATOR_NAME, Problem
from problems.labels import TRUTHS, WHOLE

CLOSED: Final = {"conftest", "datasets", "exceptions", "externals", "setup", "tests", "utils"}


def build(problem: Problem, seed: int) -> Pipeline:
    """The unfitted pipeline: imputing, scaling and encoding as the features need, then the estimator.

    A pipeline that a .py file's `estimator()` returns takes the rows as they are (`ml.rows`).

    Args:
        seed: `random_state` of an estimator that has one and was given none.

    Raises:
        ValueError: scikit-learn has no such estimator, or a .py file's `estimator()` returns none.
    """
    model = construct(problem)
    _settle(model, seed)
    if isinstance(model, Pipeline):
        return model
    return Pipeline([*_preparation(problem, model), ("model", model)])


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


def construct(problem: Problem) -> BaseEstimator:
    """The estimator with its arguments, or what a .py file's `estimator()` returns.

    Raises:
        ValueError: there is no such estimator, or none was returned.
        TypeError: it does not take these arguments.
    """
    return _declared(problem.estimator, problem.estimator_args) if problem.source == DECLARED else _own(problem)


def _declared(name: str, args: Mapping[str, Any]) -> BaseEstimator:
    kind = estimator_class(name)
    try:
        whole = {key: _argument(key, value) for key, value in args.items()}
        model = kind(**{key: value for key, value in whole.items() if "__" not in key})
        return model.set_params(**{key: value for key, value in whole.items() if "__" in key})
    except ValueError as wrong:  # of an argument: a class that is not there, or one that the nested estimator does not take
        raise TypeError(str(wrong)) from wrong


def _argument(key: str, value: Any) -> Any:
    """An argument as the estimator takes it: a predictor by its name, weights by the classes themselves."""
    if isinstance(value, str) and ESTIMATOR_NAME.fullmatch(value):
        nested = estimator_class(value)()
        if not (is_classifier(nested) or is_regressor(nested)):
            raise ValueError(f"{key}: {value} is neither a classifier nor a regressor")
        return nested
    return dict(zip(classes_of(value), value.values(), strict=True)) if isinstance(value, Mapping) else value


def classes_of(weights: Mapping[str, float]) -> list[Any]:
    """The classes that the keys of a TOML table or a JSON object mean: whole numbers, truths or text, all of one kind."""
    if all(WHOLE.fullmatch(key) for key in weights):
        return [int(key) for key in weights]
    return [TRUTHS[key] for key in weights] if weights.keys() <= {"true", "false"} else list(weights)


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
