"""`predict`, `generate`, `upload`, `datasets`, `feedback`: rows in, rows out, labels back."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import click

from continual.answers import Job
from continual.commands.here import Here, command, model_option, most_option
from continual.commands.words import table
from continual.tables import media_of

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUT = click.Path(dir_okay=False, path_type=Path)
LABEL, CSV = "label", media_of("labels.csv")


@command()
@click.argument("rows", type=FILE, metavar="ROWS.csv")
@model_option
@click.option("-o", "--out", type=OUT, help="Where the predictions go (.csv, .parquet, .arrow); waits for them.")
@click.option("--wait", is_flag=True, help="Until the job has ended.")
def predict(here: Here, rows: Path, model: str, out: Path | None, wait: bool) -> None:
    """Predict the rows of a file (CSV, Parquet or Arrow)."""
    _writable(out)
    job = here.client.predict(rows, model)
    if not wait and out is None:
        return _posted(here, job)
    job = here.finish(job, f"predict {rows.name}")
    _fetch(here, job, out)
    here.say(job, lambda: _predicted(job, out))
    return None


@command()
@model_option
@click.option("--samples", type=click.IntRange(1, 10_000_000), default=1_000, show_default=True)
@click.option("--features", type=int)
@click.option("--noise", type=click.FloatRange(0, 1), help="Share of flipped labels.")
@click.option("--drift", type=click.Choice(["none", "covariate", "concept"]), default="none", show_default=True)
@click.option("--strength", type=click.FloatRange(0, 1), help="Of the drift.")
@click.option("--seed", type=int, help="The same seed gives the same rows.")
@click.option("-o", "--out", type=OUT, help="Where the rows go as well.")
def generate(here: Here, model: str, out: Path | None, **asked: Any) -> None:
    """Generate labelled rows, with a drift if one is asked for: the model gets them as evidence."""
    _writable(out)
    job = here.finish(here.client.generate(model, **asked), "generate")
    _fetch(here, job, out)
    told = job.result
    here.say(job, lambda: f"{told['rows']:,} rows, {told['positive_rate']:.1%} positive, seed {told['seed']}{_to(out)}")


@command()
@click.argument("rows", type=FILE, metavar="ROWS.csv")
@model_option
@click.option("--history", is_flag=True, help="Older than all other rows, and no evidence.")
def upload(here: Here, rows: Path, model: str, history: bool) -> None:
    """Upload labelled rows (CSV or Parquet), oldest first."""
    job = here.finish(here.client.upload(rows, model, history=history), f"upload {rows.name}")
    told = job.result
    here.say(job, lambda: f"{told['rows']:,} rows kept, {told['rejected']:,} left out: dataset {told['dataset_id']}")


@command()
@most_option
def datasets(here: Here, limit: int) -> None:
    """List datasets, newest first."""
    found = here.client.datasets(limit=limit)
    rows = [(each.id, each.model, each.rows, each.rejected, each.source, each.created_at) for each in found]
    head = ("id", "model", "rows", "left out", "source", "created")
    here.say(found.entries, lambda: table(head, rows, "No dataset yet: continual upload ROWS.csv, or continual generate."))


@command()
@click.argument("labels", type=FILE, metavar="LABELS.csv")
@click.option("--job", "job_id", help="Whose rows they label: by a column `row`, in place of prediction_id.")
@click.option("--column", default=LABEL, show_default=True, help="The column of a CSV file that holds the labels.")
def feedback(here: Here, labels: Path, job_id: str | None, column: str) -> int:
    """Send labels back: a file (CSV, Parquet or Arrow) with a column prediction_id, as `predict -o` writes it, and one of labels.

    All of them are stored, or none if one is impossible.
    """
    by = "row" if job_id else "prediction_id"
    with _two_columns(labels, by, column) as file:
        job = here.client.upload_labels(file, job_id)
        told = here.finish(job, f"feedback {labels.name}").result
    here.say(told, lambda: _stored(told))
    return 1 if told["unknown_count"] else 0


@contextmanager
def _two_columns(file: Path, by: str, column: str) -> Iterator[Path]:
    """The file, if its labels are in the column of that name; otherwise a copy of the two columns that are wanted.

    Raises:
        click.UsageError: a column of a CSV file is missing; another form has its labels in another column.
    """
    if media_of(file.name) == CSV:
        _look_for(file, {by, column})
    elif column != LABEL:
        raise click.UsageError(f"--column is for CSV: in {file.suffix} files the labels' column is called {LABEL}.")
    if column == LABEL:
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "labels.csv")
        with _csv(file) as opened, copy.open("w", newline="", encoding="utf-8") as written:
            writer = csv.writer(written)
            writer.writerow((by, LABEL))
            writer.writerows((row[by], row[column]) for row in csv.DictReader(opened))  # one by one: there may be millions
        yield copy


def _look_for(file: Path, columns: set[str]) -> None:
    with _csv(file) as opened:
        there = next(csv.reader(opened), [])
    missing = columns - set(there)
    if missing:
        raise click.UsageError(f"{file} has no column {', '.join(sorted(missing))}; it has {', '.join(there or ['none'])}.")


def _csv(file: Path) -> TextIO:
    return file.open(newline="", encoding="utf-8-sig")


def _writable(out: Path | None) -> None:
    """Before anything is asked for: what is asked for could be written there."""
    if out is not None:
        media_of(out.name)
        if not out.absolute().parent.is_dir():
            raise click.UsageError(f"{out}: there is no folder {out.parent}.")


def _fetch(here: Here, job: Job, out: Path | None) -> None:
    """The result into a file, which is there whole or not at all."""
    if out is None:
        return
    draft = out.with_name(f".{out.name}.part")
    try:
        with draft.open("wb") as file:
            file.writelines(here.client.result_chunks(job.id, out.name))
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def _posted(here: Here, job: Job) -> None:
    here.say(job, lambda: f"{job.kind} {job.id}: {job.status}   watch it: continual job {job.id} --wait")


def _predicted(job: Job, out: Path | None) -> str:
    told = job.result
    rows = told["rows"] if "rows" in told else len(told["predictions"])
    said = f"{rows:,} rows predicted by {told['model']} v{told['version']}{_to(out)}"
    return said if out else "\n".join([said, *_first(told)])


def _first(told: dict[str, Any]) -> list[str]:
    """The labels themselves, or how many of each."""
    if "labels" in told:
        return [f"  {label}: {count:,}" for label, count in told["labels"].items()]
    rows = [(each["prediction_id"], each.get("label", each.get("value"))) for each in told.get("predictions", [])]
    return table(("prediction_id", "predicted"), rows, "").splitlines()


def _to(out: Path | None) -> str:
    return f" → {out}" if out else ""


def _stored(told: dict[str, Any]) -> str:
    without = f", {told['missing']:,} without a label" if told["missing"] else ""
    said = f"{told['accepted']:,} labels stored, {told['duplicate']:,} known already, {told['unknown_count']:,} of no known "
    return f"{said}prediction{without}" + "".join(f"\n  {each}" for each in told["unknown"][:10])


COMMANDS = (predict, generate, upload, datasets, feedback)
