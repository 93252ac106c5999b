"""What others do with the same stream: never retrain, always retrain, the plain rule, and river's adaptive random forest.

All see the rows as we do: a chunk is predicted before any of its labels is known, and they come all at once. What is
retrained learns the newest 20,000 rows, as our largest window does, and serves without having been compared with anything.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd
from river import forest
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from benchmarks.learning.ours import Show
from benchmarks.learning.played import Played
from benchmarks.learning.streams import Stream
from ml.challenger import LARGEST_HISTORY
from ml.estimators import build
from ml.metrics import better, score
from ml.prediction import Prediction, predict
from ml.rows import Rows
from problems.declaration import Problem

NEVER, ALWAYS, PLAIN, ARF = "never retrain", "retrain every chunk", "retrain below the threshold", "river ARF10"
SEED: Final = 1
TREES: Final = 10
Due = Callable[[float], bool]  # from a chunk's metric to whether to train


def rules(problem: Problem) -> dict[str, Due]:
    """When each of the three trains; the plain rule looks at the metric of the chunk that it has just seen."""
    return {
        NEVER: lambda _: False,
        ALWAYS: lambda _: True,
        PLAIN: lambda found: better(problem.metric, problem.threshold, found),
    }


def play(stream: Stream, problem: Problem, who: str, warm: int, chunk: int, show: Show) -> Played:
    """The whole stream under one of the rules."""
    played = Played(who, problem.estimator.rpartition(".")[2])
    due = rules(problem)[who]
    model = _fitted(stream, problem, warm, played)
    for start in range(warm, len(stream), chunk):
        stop = min(start + chunk, len(stream))
        rows, truth = stream.part(start, stop)
        said = predict(model, problem, rows)
        played.see(truth, said)
        if due(score(problem.metric, truth, said)):
            played.alarms += who == PLAIN
            model = _fitted(stream, problem, stop, played)
        show(played)
    return played


def _fitted(stream: Stream, problem: Problem, stop: int, played: Played) -> Pipeline:
    rows, truth = stream.part(max(0, stop - LARGEST_HISTORY), stop)
    began = time.process_time()
    model = build(problem, SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows, truth)
    played.seconds += time.process_time() - began
    played.attempts += 1
    return model


# ---- river


def arf(stream: Stream, warm: int, chunk: int, show: Show) -> Played:
    """River's ARF with ten trees and its own defaults; it has learnt the warm-up rows, and learns each chunk row by row.

    A missing value is a missing key, as river has it.
    """
    played = Played(ARF, "ARFRegressor" if stream.regression else "ARFClassifier")
    make: Any = forest.ARFRegressor if stream.regression else forest.ARFClassifier
    model = make(n_models=TREES, seed=SEED)
    fallback = stream.truth[:warm].mean() if stream.regression else stream.truth[0]
    for start, stop in _cuts(len(stream), warm, chunk):
        rows, truth = stream.part(start, stop)
        inputs = _dicts(stream, rows)
        if start:
            said = [model.predict_one(row) for row in inputs]
            played.see(truth, _as_prediction(stream, [fallback if each is None else each for each in said]))
        began = time.process_time()
        for row, label in zip(inputs, truth.tolist(), strict=True):
            model.learn_one(row, label)
        played.seconds += time.process_time() - began
        show(played)
    return played


def _cuts(rows: int, warm: int, chunk: int) -> list[tuple[int, int]]:
    starts = [0, *range(warm, rows, chunk)]
    return list(zip(starts, [*starts[1:], rows], strict=True))


def _as_prediction(stream: Stream, said: list[Any]) -> Prediction:
    labels = np.array(said)
    return Prediction(labels) if stream.regression else Prediction(labels, np.ones((len(said), 1)), (said[0],))


def _dicts(stream: Stream, rows: Rows) -> list[dict[str, Any]]:
    names = [f.name for f in stream.problems[0].features]
    table = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows, columns=names)
    return [{str(name): value for name, value in row.items() if pd.notna(value)} for row in table.to_dict("records")]
