"""What is wrong with a problem's estimator: asked before the problem is taken, so that no training has to find out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier, is_regressor

from ml.estimators import build, classes_of, construct
from ml.model_file import untrusted
from problems.declaration import DECLARED, Loc, Problem

# What scikit-learn's estimators raise on arguments that they cannot work with.
REFUSALS: Final = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
PROBE_ROWS: Final = 60
PROBE_CAP: Final = 10
PROBE_FEATURES: Final = 50
FAR: Final = 10.0  # of standard deviations: a row unlike all others


def faults(problem: Problem) -> list[tuple[Loc, str]]:
    """What is wrong with the estimator and its arguments: (loc, msg) each; empty if nothing is.

    The last look is a probe: the estimator, its whole numbers capped at 10, learns 60 rows, must answer one that is far
    from them, and must be storable with the types that `ml.model_file` trusts. A .py file's pipeline may refuse rows
    that are made up: then it is looked at as it is, unfitted.
    """
    found = _argument_faults(problem.estimator_args)
    if found:
        return found
    try:
        model = construct(problem)
    except ValueError as wrong:
        return [(("estimator",), str(wrong))]
    except TypeError as wrong:
        return [((_blamed(problem),), _lacking(wrong))]
    try:
        fits = is_regressor(model) if problem.task == "regression" else is_classifier(model)
    except REFUSALS:  # one that wraps another has no kind of its own
        return [(("estimator",), "needs the argument estimator: the name of a predictor, as sklearn.svm.LinearSVC")]
    if not fits:
        return [(("estimator",), f"not a {'regressor' if problem.task == 'regression' else 'classifier'}")]
    return _probe_faults(problem)


def _argument_faults(args: Mapping[str, Any]) -> list[tuple[Loc, str]]:
    found: list[tuple[Loc, str]] = []
    for key, value in args.items():
        if key.split("__")[-1] == "memory":  # it writes files
            found.append((("estimator_args", key), "is not for a declared problem to set"))
        elif not isinstance(value, Mapping) and not _harmless(value):
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
    own = problem.source != DECLARED
    some = replace(problem, features=problem.features[:PROBE_FEATURES], estimator_args=_capped(problem.estimator_args))
    rows = _made_up(problem if own else some)
    model = build(problem if own else some, seed=0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a probe of ten iterations does not converge
            model.fit(rows[:-1], _labels(problem)[:-1])
            said = model.predict(rows[-1:])
            answered = own or problem.task != "regression" or bool(np.isfinite(said).all())
    except REFUSALS as wrong:
        if not own:
            return [((_blamed(problem),), _sentence(wrong) + _advice(problem, wrong))]
        answered = True
    if not answered:
        return [(("estimator",), "gives no finite value for a row that is unlike those it has learnt")]
    types = untrusted(model)
    return [(("estimator",), f"cannot be stored safely: {', '.join(types[:3])}")] if types else []


def _made_up(problem: Problem) -> Any:
    """60 rows of the problem's features, standardised where the problem says so, and the last one far from the others."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(PROBE_ROWS, len(problem.numbers)))
    numbers[-1] = FAR
    if not problem.scale:
        numbers = np.abs(numbers)  # as counts and amounts are, which some estimators want
    if problem.plain:
        return numbers
    from ml.rows import from_columns  # numbers alone need no pandas, which takes a second to import

    columns: dict[str, Any] = {f.name: numbers[:, i] for i, f in enumerate(problem.numbers)}
    words = np.array(["red blue", "blue green", "green red"], dtype=object)
    columns |= {f.name: words[rng.integers(0, 3, PROBE_ROWS)].tolist() for f in problem.texts}
    return from_columns(problem, columns)


def _labels(problem: Problem) -> NDArray[Any]:
    """Labels of the 60 rows: positive numbers, or classes, those that the weights name where they do."""
    rng = np.random.default_rng(0)
    if problem.task == "regression":
        return rng.random(PROBE_ROWS) + 1.0
    weights = next((value for value in problem.estimator_args.values() if isinstance(value, Mapping)), None)
    classes = classes_of(weights) if weights else [0, 1] if problem.task == "binary" else [0, 1, 2]
    return np.array(classes)[rng.permutation(PROBE_ROWS) % len(classes)]


def _capped(args: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, Mapping) else _cap(value) for key, value in args.items()}


def _cap(value: Any) -> Any:
    if isinstance(value, list):
        return [_cap(item) for item in value[:10]]
    return min(value, PROBE_CAP) if isinstance(value, int) and not isinstance(value, bool) else value


def _blamed(problem: Problem) -> str:
    return "estimator_args" if problem.estimator_args else "estimator"


def _sentence(wrong: Exception) -> str:
    return " ".join(str(wrong).split())[:300].rstrip(".")


def _lacking(wrong: TypeError) -> str:
    """What to do about an estimator that is made of others."""
    text = _sentence(wrong)
    if "'estimators'" in text:
        return f"{text}: one that is made of several needs a .py problem file"
    return f"{text}: the name of a predictor, as sklearn.svm.LinearSVC" if "'estimator'" in text else text


def _advice(problem: Problem, wrong: Exception) -> str:
    return "; scale = false leaves the numbers as they are" if problem.scale and "Negative values" in str(wrong) else ""
