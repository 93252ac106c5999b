"""A declaration becomes a problem, or a list of all its faults."""

from __future__ import annotations

import json
from typing import Any

import pytest

from problems.declaration import Feature, InvalidProblem, declared, parse_problem

PLANE: dict[str, Any] = {
    "task": "binary",
    "label": "target",
    "metric": "accuracy",
    "threshold": 0.7,
    "estimator": "sklearn.linear_model.LogisticRegression",
    "features": {"x1": "number", "x2": "number"},
}

NONSENSE: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "an estimator outside sklearn": ({"estimator": "os.system"}, ("estimator",)),
    "an estimator beside sklearn": ({"estimator": "sklearnx.linear_model.LogisticRegression"}, ("estimator",)),
    "a private module": ({"estimator": "sklearn._loss.Loss"}, ("estimator",)),
    "an unknown metric": ({"metric": "banana"}, ("metric",)),
    "a metric of another task": ({"metric": "rmse"}, ("metric",)),
    "an unhashable metric": ({"metric": []}, ("metric",)),
    "an interval of no time": ({"interval_s": 0}, ("interval_s",)),
    "an interval that is true": ({"interval_s": True}, ("interval_s",)),
    "a cool-down of half a row": ({"cooldown_rows": 99.5}, ("cooldown_rows",)),
    "a cool-down of nothing": ({"cooldown_rows": 0}, ("cooldown_rows",)),
    "a recall of ten": ({"recall": 10}, ("recall",)),
    "a trial of its own": ({"trial": "banana"}, ("trial",)),
    "a trial that is no text": ({"trial": ["shadow"]}, ("trial",)),
    "a canary of everything": ({"trial": "canary", "canary_share": 1.0}, ("canary_share",)),
    "a canary of nothing": ({"canary_share": 0}, ("canary_share",)),
    "a trial of two years": ({"trial_days": 730}, ("trial_days",)),
    "an unknown detector": ({"detector": "banana"}, ("detector",)),
    "a detector that is no text": ({"detector": ["esr"]}, ("detector",)),
    "the plain rule on another metric": ({"detector": "threshold", "metric": "f1_macro"}, ("detector",)),
    "an unknown task": ({"task": "banana"}, ("task",)),
    "a threshold that is text": ({"threshold": "high"}, ("threshold",)),
    "a threshold that is true": ({"threshold": True}, ("threshold",)),
    "a threshold above one": ({"threshold": 1.5}, ("threshold",)),
    "a threshold of 400 digits": ({"threshold": 10**400}, ("threshold",)),
    "an unknown type": ({"features": {"x2": "integer"}}, ("features", "x2")),
    "a type that is no text": ({"features": {"x1": 1}}, ("features", "x1")),
    "a name of nothing": ({"features": {"": "number"}}, ("features", "")),
    "a name with a newline": ({"features": {"a\nb": "number"}}, ("features", "a\nb")),
    "no features": ({"features": {}}, ("features",)),
    "a list of features": ({"features": ["x1", "x2"]}, ("features",)),
    "a label that is a feature": ({"label": "x1"}, ("label",)),
    "an ignored feature": ({"ignore": ["x1"]}, ("ignore",)),
    "an ignored number": ({"ignore": [1]}, ("ignore",)),
    "an unknown key": ({"banana": 1}, ("banana",)),
    "an argument that is an object": ({"estimator_args": {"C": {}}}, ("estimator_args", "C")),
    "arguments in a list": ({"estimator_args": [1]}, ("estimator_args",)),
    "a scale that is text": ({"scale": "yes"}, ("scale",)),
    **{f"no {key}": ({key: ...}, (key,)) for key in ("task", "label", "metric", "estimator", "features")},
}


def test_a_declaration_is_frozen_with_its_features_in_order() -> None:
    """Types, question marks and defaults become a Problem."""
    problem = parse_problem("cars", PLANE | {"features": {"b": "boolean?", "a": "category", "n": "number", "t": "text"}})
    assert problem.features[0] == Feature("b", "boolean", optional=True)
    assert [f.name for f in problem.numbers] == ["b", "n"]
    assert [f.name for f in problem.texts] == ["a", "t"]
    assert not problem.plain
    assert (problem.scale, problem.ignore, problem.source) == (True, (), "declared")


def test_what_is_declared_survives_json() -> None:
    """declared() is the inverse of parse_problem, also through JSON."""
    given = PLANE | {"features": {"z": "number?", "a": "category"}, "ignore": ["ts"], "estimator_args": {"C": 0.5}}
    given |= {"interval_s": 90.5, "cooldown_rows": 500, "detector": "adwin", "recall": True}
    given |= {"trial": "canary", "canary_share": 0.25, "trial_days": 30}
    problem = parse_problem("m", given)
    assert parse_problem("m", json.loads(json.dumps(declared(problem)))) == problem


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_refused_at_its_place(case: str) -> None:
    """Each fault of the contract's list is told with the key it is in."""
    change, loc = NONSENSE[case]
    given = {key: value for key, value in {**PLANE, **change}.items() if value is not ...}
    with pytest.raises(InvalidProblem) as refused:
        parse_problem("m", given)
    assert loc in [where for where, _ in refused.value.errors]


def test_every_fault_is_told_at_once() -> None:
    """Three faults, three errors."""
    with pytest.raises(InvalidProblem) as refused:
        parse_problem("..", PLANE | {"metric": "banana", "banana": 1})
    assert {loc for loc, _ in refused.value.errors} == {("name",), ("metric",), ("banana",)}


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "a/b", "x" * 65, "é", "a\n"])
def test_a_name_that_breaks_paths_is_no_name(name: str) -> None:
    """Only letters, digits, dots, dashes and underscores, and no dot first."""
    with pytest.raises(InvalidProblem):
        parse_problem(name, PLANE)


@pytest.mark.parametrize("given", [None, [], "toml", 3])
def test_what_is_no_object_is_no_declaration(given: object) -> None:
    """A declaration that is no object has one fault, at the top."""
    with pytest.raises(InvalidProblem) as refused:
        parse_problem("m", given)
    assert refused.value.errors[0][0] == ()


def test_a_missing_threshold_is_the_default_floor_but_a_ceiling_must_be_named() -> None:
    """0.8 suits every score, no number suits every error."""
    without = {key: value for key, value in PLANE.items() if key != "threshold"}
    assert parse_problem("m", without).threshold == 0.8
    with pytest.raises(InvalidProblem):
        parse_problem("m", without | {"metric": "log_loss"})
