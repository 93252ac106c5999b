"""Estimators are built, refused, fitted, stored and asked."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from ml.estimators import build
from ml.generator import generate
from ml.inspection import inspect
from ml.model_file import SwappedModel, UntrustedModel, content, dump, load, trusted
from ml.prediction import predict
from ml.probe import faults
from ml.rows import from_columns, unpack
from problems.declaration import parse_problem
from problems.rows import pack_instances
from tests.ml.common import MIXED, mixed_rows, problem

CLASSIFIERS: list[tuple[str, dict[str, Any]]] = [
    ("linear_model.LogisticRegression", {"max_iter": 500}),
    ("linear_model.SGDClassifier", {"loss": "log_loss"}),
    ("linear_model.RidgeClassifier", {}),
    ("svm.LinearSVC", {}),
    ("svm.SVC", {"C": 2.0}),
    ("tree.DecisionTreeClassifier", {"max_depth": 4}),
    ("ensemble.RandomForestClassifier", {"n_estimators": 10, "n_jobs": -1}),
    ("ensemble.HistGradientBoostingClassifier", {"max_iter": 10}),
    ("neural_network.MLPClassifier", {"hidden_layer_sizes": [16, 8], "max_iter": 150}),
    ("neighbors.KNeighborsClassifier", {"n_neighbors": 3}),
    ("calibration.CalibratedClassifierCV", {"cv": 3}),
    ("naive_bayes.GaussianNB", {}),
]
REGRESSORS: list[tuple[str, dict[str, Any]]] = [
    ("linear_model.LinearRegression", {}),
    ("linear_model.SGDRegressor", {}),
    ("linear_model.PoissonRegressor", {}),
    ("svm.SVR", {}),
    ("ensemble.HistGradientBoostingRegressor", {"max_iter": 10}),
    ("neighbors.KNeighborsRegressor", {"algorithm": "ball_tree", "p": 3}),
]


@pytest.mark.parametrize(("name", "args"), CLASSIFIERS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_classifier_learns_mixed_features_and_survives_its_file(name: str, args: Any, tmp_path: Path) -> None:
    """No fault, better than chance, probabilities that sum to 1 and agree with the labels, the same after loading."""
    whose = problem(estimator=name, estimator_args=args, features=MIXED)
    assert faults(whose) == []
    rows, labels = mixed_rows(whose)
    model = build(whose, seed=3).fit(rows, labels)
    said = predict(model, whose, rows)
    assert said.probabilities is not None
    assert said.classes == (0, 1)
    assert np.mean(said.labels == labels) > 0.7
    np.testing.assert_allclose(said.probabilities.sum(axis=1), 1.0)
    assert (said.probabilities.argmax(axis=1) == said.labels).all()
    again = predict(load(tmp_path / "m", dump(model, tmp_path / "m")), whose, rows)
    np.testing.assert_array_equal(again.probabilities, said.probabilities)


@pytest.mark.parametrize(("name", "args"), CLASSIFIERS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_same_training_gives_the_same_bytes(name: str, args: Any) -> None:
    """Two models of the same rows and seed, in memory side by side: one file, as skops' own loader takes it."""
    whose = problem(estimator=name, estimator_args=args, features=MIXED)
    rows, labels = mixed_rows(whose)
    one, other = (build(whose, seed=300).fit(rows, labels) for _ in range(2))
    assert skops.io.dumps(one) != skops.io.dumps(other)
    assert content(one) == content(other)
    again = skops.io.loads(content(one), trusted=skops.io.get_untrusted_types(data=content(one)))
    assert (again.predict(rows) == one.predict(rows)).all()


@pytest.mark.parametrize(("name", "args"), REGRESSORS)
def test_a_regressor_learns_and_survives_its_file(name: str, args: Any, tmp_path: Path) -> None:
    """No fault, an error below that of the mean, and the same values after loading."""
    whose = problem("regression", name, estimator_args=args)
    assert faults(whose) == []
    rows, _ = generate(300, 2, 0.0, "none", 0.0, seed=1)
    target = rows @ [1.0, 2.0] + 10
    model = build(whose, seed=0).fit(rows, target)
    said = predict(model, whose, rows)
    assert said.probabilities is None
    assert said.classes == ()
    assert np.abs(said.labels - target).mean() < np.abs(target - target.mean()).mean() / 2
    again = predict(load(tmp_path / "m", dump(model, tmp_path / "m")), whose, rows)
    assert again.label_list() == said.label_list()


def test_one_seed_one_core_and_nothing_global() -> None:
    """The same seed grows the same forest; n_jobs is ours."""
    whose = problem(estimator="ensemble.RandomForestClassifier", estimator_args={"n_estimators": 5, "n_jobs": -1})
    rows, labels = generate(200, 2, 0.2, "none", 0.0, seed=1)
    one, same, other = (build(whose, seed).fit(rows, labels).predict_proba(rows) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
    assert build(whose, 1)[-1].n_jobs is None


def test_scaling_by_hand_is_scikit_learns_own() -> None:
    """The quick path of a plain problem gives the pipeline's probabilities to the last bit."""
    rows, labels = generate(300, 2, 0.1, "none", 0.0, seed=5)
    model = build(problem(), seed=0).fit(rows, labels)
    np.testing.assert_array_equal(predict(model, problem(), rows).probabilities, model.predict_proba(rows))
    with pytest.raises(ValueError, match="features"):
        predict(model, problem(), rows[:, :1])


def test_missing_numbers_are_imputed_with_an_indicator() -> None:
    """Where being missing is all that tells, a linear model still learns it."""
    whose = problem(features={"x1": "number?"})
    rows, labels = generate(400, 1, 0.0, "none", 0.0, seed=2)
    holes = np.where(labels[:, None] == 1, np.nan, rows)
    model = build(whose, seed=0).fit(holes, labels)
    assert predict(model, whose, np.array([[np.nan], [-0.5]])).label_list() == [1, 0]


def test_an_unseen_category_counts_as_none_of_the_known_ones() -> None:
    """It fails nothing, and neither does a missing one that training never had."""
    whose = problem(features={"c": "category?"})
    labels = np.array([0, 1] * 50)
    model = build(whose, seed=0).fit(from_columns(whose, {"c": ["a", "b"] * 50}), labels)
    said = predict(model, whose, unpack(whose, pack_instances(whose, [["a"], ["b"], ["new"], [None]])))
    assert said.probabilities is not None
    assert said.label_list()[:2] == [0, 1]
    np.testing.assert_allclose(said.probabilities[2:], 0.5, atol=0.01)


@pytest.mark.parametrize("labels", [[0, 1], [False, True], ["no", "yes"], [10, 20, 30]])
def test_labels_come_back_as_they_were_taught(labels: list[Any]) -> None:
    """Python's own int, bool and str, in the classes and in the labels."""
    whose = problem("multiclass" if len(labels) > 2 else "binary")
    rows = np.repeat(np.eye(3, 2)[: len(labels)], 20, axis=0)
    said = predict(build(whose, seed=0).fit(rows, np.repeat(labels, 20)), whose, rows)
    assert said.classes == tuple(labels)
    assert [type(label) for label in said.classes] == [type(label) for label in labels]
    assert set(map(type, said.label_list())) == {type(labels[0])}


NONSENSE: dict[str, dict[str, Any]] = {
    "through sklearn": {"estimator": "sklearn.base.copy.deepcopy"},
    "a function": {"estimator": "sklearn.datasets.load_iris"},
    "a function of an open module": {"estimator": "sklearn.base.clone"},
    "not there": {"estimator": "sklearn.linear_model.Nope"},
    "no such module": {"estimator": "sklearn.nope.Nope"},
    "a base class": {"estimator": "sklearn.base.BaseEstimator"},
    "a transformer": {"estimator": "sklearn.preprocessing.StandardScaler"},
    "a regressor for classes": {"estimator": "sklearn.linear_model.LinearRegression"},
    "an estimator of estimators": {"estimator": "sklearn.ensemble.VotingClassifier"},
    "an argument that is not there": {"estimator_args": {"banana": 1}},
    "an argument out of range": {"estimator_args": {"C": -1}},
    "an argument of another type": {"estimator_args": {"C": "high"}},
    "an argument that is a path": {"estimator_args": {"solver": "../lbfgs"}},
    "an argument that writes files": {"estimator_args": {"memory": "cache"}},
}


@pytest.mark.parametrize("case", NONSENSE)
def test_an_estimator_that_makes_no_sense_is_a_fault(case: str) -> None:
    """Only predictors of scikit-learn's own, with arguments they take."""
    found = faults(problem(**{"estimator": "linear_model.LogisticRegression", **_short(NONSENSE[case])}))
    assert found
    assert found[0][0][0] == next(iter(NONSENSE[case]))


def _short(change: dict[str, Any]) -> dict[str, Any]:
    return {key: value.removeprefix("sklearn.") if key == "estimator" else value for key, value in change.items()}


def test_a_billion_trees_are_inspected_without_growing_them() -> None:
    """The probe caps whole numbers; the training's own limits are for the rest."""
    whose = problem(estimator="ensemble.RandomForestClassifier", estimator_args={"n_estimators": 10**9})
    assert faults(whose) == []


def test_an_inspection_is_a_process_of_its_own() -> None:
    """JSON in, JSON out: the faults of a declaration and those of its estimator."""
    given = {"task": "binary", "label": "y", "metric": "accuracy", "estimator": "sklearn.svm.SVR", "features": {"a": "number"}}
    asked = json.dumps({"name": "m", "declared": given})
    command = [sys.executable, "-m", "ml.inspection"]
    answer = subprocess.run(command, input=asked, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(answer.stdout) == {"errors": [{"loc": ["estimator"], "msg": "not a classifier"}]}
    assert inspect("m", given | {"banana": 1})[0][0] == ("banana",)


def test_a_python_problem_brings_its_own_pipeline(tmp_path: Path) -> None:
    """estimator() of the file builds the model; one that fails is a sentence, not a crash."""
    file = tmp_path / "own.py"
    source = "from sklearn.naive_bayes import GaussianNB\ndef estimator():\n    return GaussianNB()\n"
    declared = {"task": "binary", "label": "y", "metric": "accuracy", "features": {"x1": "number", "x2": "number"}}
    whose = parse_problem("own", declared, str(file))
    file.write_text(source)
    assert faults(whose) == []
    assert [name for name, _ in build(whose, 0).steps] == ["scale", "model"]
    file.write_text(source.replace("GaussianNB()", "1 / 0"))
    assert "ZeroDivisionError" in faults(whose)[0][1]


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, str]:
    """A fitted model's file and hash."""
    rows, labels = generate(100, 2, 0.0, "none", 0.0, seed=0)
    path = tmp_path / "model.skops"
    return path, dump(build(problem(), 0).fit(rows, labels), path)


def test_the_hash_is_the_files(stored: tuple[Path, str]) -> None:
    """SHA-256 in hex, of a file that leaves no unfinished one beside it."""
    path, digest = stored
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [each.name for each in path.parent.iterdir()] == ["model.skops"]


def test_a_swapped_file_is_refused_before_it_is_read(stored: tuple[Path, str]) -> None:
    """One byte more, or another model, is not the one that the ledger knows."""
    path, digest = stored
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(SwappedModel, match="expected"):
        load(path, digest)


def test_a_pickle_is_never_loaded(stored: tuple[Path, str]) -> None:
    """Even one whose hash is right: skops reads no pickle."""
    path, _ = stored
    path.write_bytes(pickle.dumps(LogisticRegression()))
    with pytest.raises(zipfile.BadZipFile):
        load(path, hashlib.sha256(path.read_bytes()).hexdigest())


class Stranger(LogisticRegression):  # type: ignore[misc]  # scikit-learn is untyped
    """A type that is not on the trust list."""


def test_a_type_off_the_trust_list_is_neither_written_nor_loaded(tmp_path: Path) -> None:
    """Also with the right hash, and with a file that skops itself wrote."""
    rows, labels = generate(100, 2, 0.0, "none", 0.0, seed=0)
    strange = Pipeline([("model", Stranger())]).fit(rows, labels)
    with pytest.raises(UntrustedModel, match="Stranger"):
        dump(strange, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "m").write_bytes(skops.io.dumps(strange))
    with pytest.raises(UntrustedModel, match="Stranger"):
        load(tmp_path / "m", hashlib.sha256((tmp_path / "m").read_bytes()).hexdigest())
    assert trusted(["sklearn.tree._tree.Tree"])
    assert not trusted(["os.system"])


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_logistic_regression_says_what_scikit_learn_does(classes: int) -> None:
    """Computed without scikit-learn's checks, the probabilities are the same to the last bits, for one row and for many."""
    rng = np.random.default_rng(classes)
    rows, labels = rng.normal(size=(400, 3)) * 30, rng.integers(0, classes, 400)
    whose = problem(estimator="linear_model.LogisticRegression", features={f"x{n}": "number" for n in range(3)})
    model = Pipeline([("estimator", LogisticRegression(max_iter=500).fit(rows, labels))])
    for asked in (rows, rows[:1]):
        said = predict(model, whose, asked)
        assert said.classes == tuple(range(classes))
        assert said.probabilities is not None
        np.testing.assert_allclose(said.probabilities, model.predict_proba(asked), rtol=1e-12, atol=1e-300)
    with pytest.raises(ValueError, match="not finite"):
        predict(model, whose, np.full((1, 3), np.nan))


REFUSED_AT_THE_DOOR: dict[str, tuple[dict[str, Any], str]] = {
    "counts below zero": ({"estimator": "naive_bayes.MultinomialNB"}, "scale = false"),
    "one that wraps nothing": ({"estimator": "semi_supervised.SelfTrainingClassifier"}, "argument estimator"),
    "one that lacks what it wraps": ({"estimator": "multiclass.OneVsRestClassifier"}, "name of a predictor"),
    "several within one": ({"estimator": "ensemble.VotingClassifier"}, ".py problem file"),
    "no answer far from all rows": ({"estimator": "neighbors.RadiusNeighborsClassifier"}, "No neighbors"),
    "a class within that is not there": (
        {"estimator": "calibration.CalibratedClassifierCV", "estimator_args": {"estimator": "sklearn.svm.Nope"}},
        "scikit-learn has no sklearn.svm.Nope",
    ),
}


@pytest.mark.parametrize("case", REFUSED_AT_THE_DOOR)
def test_what_would_fail_later_is_refused_with_what_to_do(case: str) -> None:
    """One sentence, before anything is trained."""
    declared, sentence = REFUSED_AT_THE_DOOR[case]
    found = faults(problem(**{"estimator": "linear_model.LogisticRegression", **declared}))
    assert [sentence in msg for _, msg in found] == [True]


def test_an_estimator_within_another_is_named_and_its_arguments_reached() -> None:
    """Calibration of a forest with weights for classes, from a declaration alone."""
    args = {"estimator": "sklearn.ensemble.RandomForestClassifier", "estimator__n_estimators": 7, "cv": 3}
    weights = {"estimator__class_weight": {"0": 1.0, "1": 5.0}}
    whose = problem(estimator="calibration.CalibratedClassifierCV", estimator_args=args | weights)
    assert faults(whose) == []
    inner = build(whose, seed=3)[-1].estimator
    assert (inner.n_estimators, inner.class_weight, inner.random_state) == (7, {0: 1.0, 1: 5.0}, 3)


def test_the_pipeline_of_a_python_problem_that_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    """Its own class is on no trust list; rows that are made up need not please it."""
    file = tmp_path / "own.py"
    declared = {"task": "binary", "label": "y", "metric": "accuracy", "features": {"x1": "number"}}
    own = "class Own(LogisticRegression):\n    def fit(self, X, y):\n        raise ValueError('not these rows')\n"
    made = "def estimator():\n    return Own()\n"
    file.write_text(f"from sklearn.linear_model import LogisticRegression\n{own}{made}")
    assert "cannot be stored safely" in faults(parse_problem("own", declared, str(file)))[0][1]
