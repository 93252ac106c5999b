"""The streams: every CSV of a folder, declared by its columns or by a NAME.toml beside it; without a folder, generated ones."""

from __future__ import annotations

import gzip
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from ml.rows import Rows, Truth, take, truth
from problems.declaration import Problem, parse_problem
from workers import reading, tables
from workers.validation import Known

MOST_CLASSES: Final = 20  # distinct numbers in a label from which it is a value, not a class
MOST_KINDS: Final = 100  # distinct texts in a column from which it is no category, and left out
ESTIMATORS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {  # classifier, regressor, arguments
    "lr": ("sklearn.linear_model.LogisticRegression", "sklearn.linear_model.Ridge", {"max_iter": 1000}),
    "hgb": ("sklearn.ensemble.HistGradientBoostingClassifier", "sklearn.ensemble.HistGradientBoostingRegressor", {}),
    "rf": ("sklearn.ensemble.RandomForestClassifier", "sklearn.ensemble.RandomForestRegressor", {}),
}
FORESTS: Final = ("elec2",)  # a goal names a forest here; elsewhere it would take hours of refitting every chunk


@dataclass(frozen=True)
class Stream:
    """Labelled rows, oldest first, as CSV and in an Arrow file as the workers write one, and the problems put to them."""

    name: str
    csv: Path
    file: Path
    problems: tuple[Problem, ...]

    @property
    def regression(self) -> bool:
        """Whether a score is an absolute error."""
        return self.problems[0].task == "regression"

    @cached_property
    def rows(self) -> Rows:
        """All features."""
        return tables.rows_of(self.problems[0], self.file, 0, len(self))

    @cached_property
    def truth(self) -> Truth:
        """All labels."""
        return truth(self.problems[0], tables.labels_of(self.problems[0], self.file, 0, len(self)))

    def part(self, start: int, stop: int) -> tuple[Rows, Truth]:
        """The rows [start, stop) and their labels."""
        return take(self.rows, slice(start, stop)), self.truth[start:stop]

    def warm(self, rows: int, chunk: int) -> int:
        """How many rows to learn from before the first prediction: so many, or until a second class has come a chunk ago."""
        if self.regression:
            return rows
        second = int((self.truth != self.truth[0]).argmax())
        return max(rows, second + chunk)

    def shuffled(self, seed: int, most: int, scratch: Path) -> Stream:
        """At most so many of its rows in another order: without any drift."""
        order = np.random.default_rng(seed).permutation(len(self))[:most]
        target = scratch / f"{self.name}-{seed}.arrow"
        table = tables.mapped(self.file).take(order)
        tables.write_columns(target, {column: table[column] for column in table.column_names})
        return Stream(self.name, self.csv, target, self.problems)

    def first(self, rows: int, scratch: Path) -> Stream:
        """Its oldest rows, as if there were no more."""
        name = scratch / f"{self.name}-first"
        with self.csv.open() as source, name.with_suffix(".csv").open("w") as target:
            target.writelines(islice(source, rows + 1))
        return _read(name.with_suffix(".csv"), self.problems)

    def __len__(self) -> int:
        return int(tables.mapped(self.file).num_rows)


def of_folder(folder: Path, scratch: Path, ignored: Sequence[str], wanted: Sequence[str]) -> Iterator[Stream]:
    """Each CSV or CSV.gz of a folder, by name.

    Args:
        ignored: columns that are neither feature nor label, where no NAME.toml says so.
        wanted: keys of ESTIMATORS, where no NAME.toml names one.

    Raises:
        ValueError: the folder holds no CSV.
    """
    files = sorted(file for file in folder.iterdir() if file.name.endswith((".csv", ".csv.gz")))
    if not files:
        raise ValueError(f"{folder}: expected a folder with at least one .csv or .csv.gz file")
    for file in files:
        name = file.name.partition(".csv")[0]
        plain = scratch / f"{name}.csv"
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as source, plain.open("wb") as target:
            shutil.copyfileobj(source, target)
        beside = file.with_name(f"{name}.toml")
        if beside.exists():
            yield _read(plain, [parse_problem(name, tomllib.loads(beside.read_text()))])
        else:
            asked = [*wanted, "rf"] if name in FORESTS and "rf" not in wanted else wanted
            yield _read(plain, declare(name, pd.read_csv(plain), ignored, asked))


def of_frame(name: str, frame: pd.DataFrame, scratch: Path, wanted: Sequence[str]) -> Stream:
    """A stream that was made here; the label is its last column."""
    plain = scratch / f"{name}.csv"
    frame.to_csv(plain, index=False)
    return _read(plain, declare(name, frame, (), wanted))


def _read(csv: Path, problems: Sequence[Problem]) -> Stream:
    target = csv.with_suffix(".arrow")
    reading.read_labelled(problems[0], csv, target, Known())
    return Stream(problems[0].name, csv, target, tuple(problems))


# ---- what a table declares by itself


def declare(name: str, frame: pd.DataFrame, ignored: Sequence[str], wanted: Sequence[str]) -> list[Problem]:
    """A problem for each estimator; the label is `target`, or else the last column.

    A regression's threshold is half the mean distance of its labels from their median, in their unit.

    Raises:
        problems.declaration.InvalidProblem: the columns make none.
    """
    label = "target" if "target" in frame.columns else str(frame.columns[-1])
    kinds = {str(column): _feature(frame[column]) for column in frame.columns if column != label}
    features = {column: kind for column, kind in kinds.items() if kind and column not in ignored}
    task = _task(frame[label])
    regression = task == "regression"
    spread = float((frame[label] - frame[label].median()).abs().mean() / 2) if regression else 0.0
    common = {
        "task": task,
        "label": label,
        "metric": "mae" if regression else "accuracy",
        "threshold": spread if regression else 0.8,
        "ignore": [column for column in kinds if column not in features],
        "features": features,
    }
    return [parse_problem(name, {**common, **_estimator(key, regression)}) for key in wanted]


def _estimator(key: str, regression: bool) -> Mapping[str, Any]:
    classifier, regressor, arguments = ESTIMATORS[key]
    return {"estimator": regressor if regression else classifier, "estimator_args": arguments}


def _feature(column: pd.Series[Any]) -> str | None:
    """The type as a problem file writes it; None for a text of too many kinds, such as a time."""
    optional = "?" if column.isna().any() else ""
    known = column.dropna()
    if {type(value) for value in known.head(1).tolist()} == {bool}:
        return f"boolean{optional}"
    if pd.api.types.is_numeric_dtype(known):
        return f"number{optional}"
    return f"category{optional}" if known.nunique() <= MOST_KINDS else None


def _task(label: pd.Series[Any]) -> str:
    kinds = label.nunique()
    if pd.api.types.is_numeric_dtype(label) and kinds > MOST_CLASSES:
        return "regression"
    return "binary" if kinds == 2 else "multiclass"


# ---- generated streams


def generated(scratch: Path, rows: int, wanted: Sequence[str]) -> Iterator[Stream]:
    """One stream of each kind, `rows` rows each, seeded."""
    for seed, make in enumerate((covariate, sudden, gradual, recurring, driftless, multiclass, regression, mixed)):
        yield of_frame(make.__name__, make(np.random.default_rng(seed), rows), scratch, wanted)


Make = Callable[[np.random.Generator, int], pd.DataFrame]
NOISE: Final = 0.05
SEGMENT: Final = 5_000  # rows from one recurrence to the next


def _plane(rng: np.random.Generator, rows: int, turned: Any, moved: Any = 0.0) -> pd.DataFrame:
    """x ~ N(0, 1) in two dimensions and 1{x1 cos a + x2 sin a > 0}, 5 % flipped; `turned` is a in each row."""
    x = rng.standard_normal((rows, 2))
    x[:, 0] += moved
    label = (x[:, 0] * np.cos(turned) + x[:, 1] * np.sin(turned) > 0) ^ (rng.random(rows) < NOISE)
    return pd.DataFrame({"x1": x[:, 0], "x2": x[:, 1], "target": label.astype(int)})


def covariate(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """Inputs wander by two standard deviations; the rule stays."""
    return _plane(rng, rows, np.pi / 4, np.linspace(0, 2, rows))


def sudden(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """The rule turns by 90 degrees in the middle."""
    return _plane(rng, rows, np.where(np.arange(rows) < rows // 2, 0.0, np.pi / 2))


def gradual(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """From a third to two thirds each row is more and more likely to follow the opposite rule."""
    share = np.clip((np.arange(rows) - rows / 3) / (rows / 3), 0, 1)
    return _plane(rng, rows, np.where(rng.random(rows) < share, np.pi, 0.0))


def recurring(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """A rule and its opposite take turns, 5,000 rows each."""
    return _plane(rng, rows, np.where(np.arange(rows) // SEGMENT % 2, np.pi, 0.0))


def driftless(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """Nothing changes."""
    return _plane(rng, rows, 0.0)


def multiclass(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """Four blobs, of which two change places in the middle; the class that is named d comes after a sixth of the rows."""
    kind = rng.integers(0, 4, rows)
    kind = np.where(np.arange(rows) < rows // 6, kind % 3, kind)
    centres = np.array([[2, 0], [0, 2], [-2, 0], [0, -2]], dtype=float)
    swapped = np.where((np.arange(rows) >= rows // 2) & (kind < 2), 1 - kind, kind)
    x = centres[swapped] + rng.standard_normal((rows, 2))
    return pd.DataFrame({"x1": x[:, 0], "x2": x[:, 1], "target": np.array(list("abcd"))[kind]})


def regression(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """A curve over five inputs whose slope turns its sign in the middle (Friedman's, without the fifth term)."""
    x = rng.random((rows, 5))
    slope = np.where(np.arange(rows) < rows // 2, 10.0, -10.0)
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + slope * x[:, 3] + rng.standard_normal(rows)
    return pd.DataFrame({f"x{n + 1}": x[:, n] for n in range(5)} | {"target": y.round(3)})


def mixed(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    """Numbers, a category, a boolean, a tenth of the cells missing; what the category means changes in the middle."""
    n, kind, flag = rng.standard_normal(rows), rng.integers(0, 3, rows), rng.random(rows) < 0.5
    favoured = np.where(np.arange(rows) < rows // 2, kind == 2, kind == 0)
    label = (n + 1.5 * favoured + 0.5 * flag > 0.8) ^ (rng.random(rows) < NOISE)
    frame = pd.DataFrame({"n": n, "kind": np.array(["red", "green", "blue"])[kind], "flag": flag.astype(str)})
    gone = rng.random((rows, 2)) < 0.1
    frame["n"] = frame["n"].mask(gone[:, 0])
    frame["kind"] = frame["kind"].mask(gone[:, 1])
    frame["flag"] = frame["flag"].str.lower() == "true"
    return frame.assign(target=np.where(label, "yes", "no"))
