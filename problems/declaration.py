"""What a problem is, and how a declaration becomes one or a list of all its faults (contract, section 4)."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeGuard, get_args

from problems.loop import DEFAULT, Loop, declared_loop, parse_loop
from problems.loop import KEYS as LOOP_KEYS

Task = Literal["binary", "multiclass", "regression"]
FeatureType = Literal["number", "category", "boolean", "text"]
Loc = tuple[str, ...]

DECLARED: Final = "declared"
DEFAULT_THRESHOLD: Final = 0.8
MAX_FEATURES: Final = 10_000
MEANING: Final = ("task", "label", "features")
KEYS: Final = (
    "task",
    "label",
    "metric",
    "threshold",
    "estimator",
    "estimator_args",
    "scale",
    "ignore",
    "features",
    *LOOP_KEYS,
)
WEIGHTS: Final = "class_weight"  # the one argument that may be an object: the weight of each class
MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ESTIMATOR_NAME: Final = re.compile(r"sklearn(\.[A-Za-z][A-Za-z0-9_]*)+")


@dataclass(frozen=True, slots=True)
class Metric:
    """How good a model is: for which tasks, in which direction, and whether computed on probabilities."""

    tasks: tuple[Task, ...]
    higher_is_better: bool
    needs_probabilities: bool


_CLASSES: Final[tuple[Task, ...]] = ("binary", "multiclass")
METRICS: Final[dict[str, Metric]] = {
    "accuracy": Metric(_CLASSES, True, False),
    "balanced_accuracy": Metric(_CLASSES, True, False),
    "f1_macro": Metric(_CLASSES, True, False),
    "roc_auc": Metric(_CLASSES, True, True),
    "log_loss": Metric(_CLASSES, False, True),
    "mae": Metric(("regression",), False, False),
    "rmse": Metric(("regression",), False, False),
}


@dataclass(frozen=True, slots=True)
class Feature:
    """One input column; an optional one may be missing in a row."""

    name: str
    type: FeatureType
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """A checked declaration; `source` is "declared", or the .py file whose `estimator()` makes the model."""

    name: str
    task: Task
    label: str
    metric: str
    threshold: float
    estimator: str
    features: tuple[Feature, ...]
    estimator_args: Mapping[str, Any]
    scale: bool = True
    ignore: tuple[str, ...] = ()
    source: str = DECLARED
    loop: Loop = DEFAULT

    @property
    def numbers(self) -> tuple[Feature, ...]:
        """Features held as float64, in declared order: numbers and booleans."""
        return tuple(f for f in self.features if f.type in ("number", "boolean"))

    @property
    def texts(self) -> tuple[Feature, ...]:
        """Features held as text, in declared order: categories and texts."""
        return tuple(f for f in self.features if f.type in ("category", "text"))

    @property
    def plain(self) -> bool:
        """Whether a row is numbers only, so that rows are one float64 matrix."""
        return all(f.type in ("number", "boolean") for f in self.features)

    def keeps(self, performance: float) -> bool:
        """Whether a performance keeps the threshold: a floor, or for an error metric a ceiling."""
        higher = METRICS[self.metric].higher_is_better
        return performance >= self.threshold if higher else performance <= self.threshold


class InvalidProblem(ValueError):
    """A declaration that makes no sense; `errors` lists every fault as (loc, msg)."""

    def __init__(self, errors: list[tuple[Loc, str]]) -> None:
        super().__init__("; ".join(f"{'.'.join(loc)}: {msg}" if loc else msg for loc, msg in errors))
        self.errors = errors


def parse_problem(name: str, declared: object, source: str = DECLARED, default_threshold: float = DEFAULT_THRESHOLD) -> Problem:
    """Check a declaration (the contract's keys; from TOML, JSON or a .py file) and freeze it.

    Whether scikit-learn has the estimator and takes its arguments is `ml.probe.faults`' to say.

    Args:
        name: the model's name.
        declared: mapping with the contract's keys; `features` keeps its order.
        source: "declared", or the path of a .py file, whose problem then declares no estimator of its own.
        default_threshold: the floor where none is declared; an error metric must declare its ceiling.

    Raises:
        InvalidProblem: with every fault at once.
    """
    faults = _Faults()
    if not MODEL_NAME.fullmatch(name):
        faults.add("name", "expected 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit")
    if not isinstance(declared, Mapping):
        faults.errors.append(((), "expected an object with task, label, metric, estimator and features"))
        raise InvalidProblem(faults.errors)
    for key in declared:
        if key not in KEYS:
            faults.add(str(key), f"unknown key; expected {', '.join(KEYS)}")
    task, metric = _task_and_metric(declared, faults)
    features = _features(declared.get("features"), faults)
    label, ignore = _label_and_ignore(declared, features, faults)
    threshold = _threshold(declared, metric, default_threshold, faults)
    estimator = _estimator(declared, source, faults)
    args = _arguments(declared.get("estimator_args", {}), faults)
    scale = declared.get("scale", True)
    if not isinstance(scale, bool):
        faults.add("scale", "expected true or false")
    loop = parse_loop(declared, faults.add)
    if loop.detector == "threshold" and metric != "accuracy":
        faults.add("detector", "threshold needs the metric accuracy, the only one that is one minus the mean loss")
    if faults.errors:
        raise InvalidProblem(faults.errors)
    return Problem(name, task, label, metric, threshold, estimator, features, args, scale, ignore, source, loop)


def declared(problem: Problem) -> dict[str, object]:
    """The problem under the contract's keys, JSON-able, `features` in order; `parse_problem` inverts it."""
    return {
        "task": problem.task,
        "label": problem.label,
        "metric": problem.metric,
        "threshold": problem.threshold,
        "estimator": problem.estimator,
        "estimator_args": dict(problem.estimator_args),
        "scale": problem.scale,
        "ignore": list(problem.ignore),
        "features": {f.name: f.type + ("?" if f.optional else "") for f in problem.features},
        **declared_loop(problem.loop),
    }


def changed_meaning(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Which of task, label and features differ: under another one the rows that a model has would mean something else.

    Features are compared with their order, by which rows given as lists, and rows that are stored, are read.
    """
    return [key for key in MEANING if json.dumps(before[key]) != json.dumps(now[key])]


class _Faults:
    def __init__(self) -> None:
        self.errors: list[tuple[Loc, str]] = []

    def add(self, key: str, msg: str, *deeper: str) -> None:
        self.errors.append(((key, *deeper), msg))


def _task_and_metric(declared: Mapping[str, Any], faults: _Faults) -> tuple[Any, Any]:
    task, metric = declared.get("task"), declared.get("metric")
    known = _one_of("task", task, get_args(Task), faults)
    if _one_of("metric", metric, tuple(METRICS), faults) and known and task not in METRICS[str(metric)].tasks:
        fitting = [name for name, each in METRICS.items() if task in each.tasks]
        faults.add("metric", f"not a metric of a {task} task; expected {', '.join(fitting)}")
    return task, metric


def _one_of(key: str, value: object, allowed: tuple[str, ...], faults: _Faults) -> bool:
    if isinstance(value, str) and value in allowed:
        return True
    faults.add(key, f"expected one of {', '.join(allowed)}")
    return False


def _features(given: object, faults: _Faults) -> tuple[Feature, ...]:
    if not isinstance(given, Mapping) or not given:
        faults.add("features", "expected an object of at least one feature's name with its type")
        return ()
    if len(given) > MAX_FEATURES:
        faults.add("features", f"expected at most {MAX_FEATURES} features, got {len(given)}")
        return ()
    return tuple(f for name, type_ in given.items() if (f := _feature(name, type_, faults)))


def _feature(name: object, type_: object, faults: _Faults) -> Feature | None:
    bare = type_.removesuffix("?") if isinstance(type_, str) else None
    if not _column(name):
        faults.add("features", "expected a name of 1 to 128 printable characters", str(name)[:128])
    elif bare not in get_args(FeatureType):
        faults.add("features", f"expected {', '.join(get_args(FeatureType))}, with ? if it may be missing", name)
    else:
        return Feature(name, bare, type_ != bare)  # type: ignore[arg-type]  # bare is one of FeatureType's
    return None


def _column(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and 1 <= len(name) <= 128 and name.isprintable() and name == name.strip()


def _label_and_ignore(declared: Mapping[str, Any], features: tuple[Feature, ...], faults: _Faults) -> tuple[str, tuple[str, ...]]:
    label, ignore, names = declared.get("label"), declared.get("ignore", []), {f.name for f in features}
    if not _column(label):
        faults.add("label", "expected the label column's name")
    elif label in names:
        faults.add("label", "the label is among the features")
    if not isinstance(ignore, list | tuple) or not all(_column(column) for column in ignore):
        faults.add("ignore", "expected a list of columns' names")
        return str(label), ()
    for column in dict.fromkeys(ignore):
        if column in names or column == label:
            faults.add("ignore", f"{column} is {'the label' if column == label else 'a feature'}")
    return str(label), tuple(dict.fromkeys(ignore))


def _threshold(declared: Mapping[str, Any], metric: object, default: float, faults: _Faults) -> float:
    found = METRICS.get(metric) if isinstance(metric, str) else None
    if "threshold" not in declared and (found is None or found.higher_is_better):
        return default
    value = declared.get("threshold")
    if not _is_number(value) or value < 0:
        faults.add("threshold", "expected a number, at least 0")
    elif found is not None and found.higher_is_better and value > 1:
        faults.add("threshold", f"expected 0 to 1 for {metric}")
    else:
        return float(value)
    return default


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _estimator(declared: Mapping[str, Any], source: str, faults: _Faults) -> str:
    given = declared.get("estimator")
    if source != DECLARED:
        own = f"{Path(source).name}:estimator"
        if given not in (None, own) or declared.get("estimator_args"):
            faults.add("estimator", "a .py problem builds its estimator itself, in estimator()")
        return own
    if not isinstance(given, str) or len(given) > 200 or not ESTIMATOR_NAME.fullmatch(given):
        faults.add("estimator", "expected a class of scikit-learn's, as sklearn.linear_model.LogisticRegression")
    return str(given)


def _arguments(given: object, faults: _Faults) -> Mapping[str, Any]:
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        faults.add("estimator_args", "expected an object of arguments by name")
        return {}
    for key, value in given.items():
        if isinstance(value, Mapping) and key.split("__")[-1] == WEIGHTS:
            if not all(isinstance(each, str) and _is_number(weight) and weight > 0 for each, weight in value.items()):
                faults.add("estimator_args", "expected a weight above 0 for each class", key)
        elif not _is_json(value):
            faults.add("estimator_args", "expected a JSON scalar or a list of them", key)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}


def _is_json(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_json(item) for item in value)
    finite = not isinstance(value, float) or math.isfinite(value)
    return finite and (value is None or isinstance(value, bool | int | float | str))
