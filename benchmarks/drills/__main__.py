"""`python -m benchmarks.drills`: a stack is backed up under load, killed, wiped and restored. A line a promise, and a verdict."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
from sqlalchemy import text

from benchmarks.chaos.judge import Row, judge, records_of, wait_done
from benchmarks.chaos.load import CSV, Load, Posted, training_rows, upload
from benchmarks.chaos.servers import Missing, Postgres
from benchmarks.drills.told import listed, probe
from benchmarks.stack import ROOT, Stack, until
from storage.database import Database

KEPT = "kept"  # a model that is taught once, so that the same version answers before and after
MODELS = ("default", KEPT)
OPEN = ("queued", "running")
DONE_S = 180.0


@dataclass
class Verdict:
    """What was promised, and whether it held."""

    held: list[bool] = field(default_factory=list)

    def say(self, promise: str, held: bool, detail: str) -> None:
        """One line."""
        self.held.append(held)
        print(f"{'✓' if held else '✗'} {promise:<66} {detail}", flush=True)


@dataclass
class Before:
    """What clients knew when the backup began: it must all be there afterwards."""

    posted: list[Posted]
    jobs: dict[str, Any]
    labels: dict[str, Any]
    decisions: list[Any]
    versions: list[Any]
    answer: Any


def main() -> int:
    """Both ledgers, or the one that was asked for; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drills", description=__doc__)
    parser.add_argument("--ledger", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--jobs", type=int, default=600)
    parser.add_argument("--rate", type=float, default=20.0, help="jobs posted a second")
    asked = parser.parse_args()
    verdict = Verdict()
    for ledger in ("sqlite", "postgresql") if asked.ledger == "both" else (asked.ledger,):
        print(f"\nBackup and restore, {ledger}; {asked.jobs} jobs at {asked.rate:g}/s", flush=True)
        try:
            _drill(ledger, asked.jobs, asked.rate, verdict)
        except Missing as missing:
            verdict.say(f"the drill on {ledger}", False, str(missing))
    print("\nAll of it came back." if all(verdict.held) else f"\n{verdict.held.count(False)} promises were broken.")
    return 0 if all(verdict.held) else 1


def _drill(ledger: str, jobs: int, rate: float, verdict: Verdict) -> None:
    folder = Path(tempfile.mkdtemp(prefix="drill-"))
    with ExitStack() as end:
        end.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # a database server's user has to pass
        server = Postgres(folder / "postgres") if ledger == "postgresql" else None
        if server:
            server.start()
            end.callback(server.remove)
        stack = Stack(folder / "stack", **({"DATABASE_URL": server.url} if server else {}))
        end.callback(stack.remove)
        stack.start()
        _teach(stack.client())
        load = Load(stack.client(), jobs, rate, seed=1)
        load.start()
        time.sleep(jobs / rate / 2)
        before = _look(stack, load)
        archive = folder / "backup.tar.gz"
        seconds = _backup(stack, "write", str(archive))
        stack.kill_all()
        load.join()
        verdict.say("a backup under load", True, f"{archive.stat().st_size / 1e6:.1f} MB in {seconds:.1f} s")
        _wipe(stack, server)
        verdict.say("a restore on the empty machine", True, f"in {_backup(stack, 'restore', str(archive)):.1f} s")
        stack.start()
        _judge(stack, before, verdict)
        _outgrow(stack, verdict)


def _teach(client: httpx.Client) -> None:
    problem = {
        "task": "binary", "label": "label", "metric": "accuracy", "threshold": 0.5,
        "estimator": "sklearn.linear_model.LogisticRegression", "features": {"x1": "number", "x2": "number"},
    }  # fmt: skip
    client.put(f"/models/{KEPT}", json=problem).raise_for_status()
    upload(client, KEPT, training_rows(600)).raise_for_status()
    until(lambda: client.get("/model-status", params={"model": KEPT}).json()["version"], 180, "the model is taught")


def _look(stack: Stack, load: Load) -> Before:
    with stack.client() as client:
        answer = probe(client, KEPT)
        labelled = [each for each in load.posted if each.kind == "predict" and each.job_id][:40]
        wait_done(stack.ledger_url, [str(each.job_id) for each in labelled], 60)
        given = {str(each.job_id): [int(x1 + x2 > 0) for x1, x2 in each.rows] for each in labelled}
        for job_id, truth in given.items():
            client.post("/feedback", json={"job_id": job_id, "labels": truth}).raise_for_status()
        posted = [each for each in list(load.posted) if each.job_id]
        jobs = {str(each.job_id): client.get(f"/jobs/{each.job_id}").json() for each in posted}
        told = {each: client.get("/feedback", params={"job_id": each}).json() for each in given}
        big = "x1,x2\n" + "\n".join(f"{n / 1e4},{-n / 3e4}" for n in range(100_000))
        for _ in range(8):  # last, so that some of them wait or run while the backup is made
            job = client.post("/predict?model=default", content=big, headers=CSV).json()
            jobs[job["id"]] = job
        return Before(
            posted,
            jobs,
            told,
            [each for model in MODELS for each in listed(client, model, "decisions")],
            [each for model in MODELS for each in listed(client, model, "versions")],
            answer,
        )


def _backup(stack: Stack, *arguments: str) -> float:
    """Seconds that the command took."""
    began = time.monotonic()
    env = {**os.environ, **stack.env}
    subprocess.run([sys.executable, "-m", "backup", *arguments], cwd=ROOT, env=env, check=True)
    return time.monotonic() - began


def _wipe(stack: Stack, server: Postgres | None) -> None:
    shutil.rmtree(stack.data)
    if server:
        with psycopg.connect(server.url, autocommit=True) as database:
            database.execute("DROP SCHEMA public CASCADE")
            database.execute("CREATE SCHEMA public")


def _judge(stack: Stack, before: Before, verdict: Verdict) -> None:
    began = time.monotonic()
    waiting = [each for each, job in before.jobs.items() if job["status"] in OPEN]
    with stack.client() as client:
        verdict.say(
            "the champion answers bit for bit the same", probe(client, KEPT) == before.answer, f"version {before.answer[0]}"
        )
        wait_done(stack.ledger_url, list(before.jobs), DONE_S)
        after = {each: client.get(f"/jobs/{each}").json() for each in before.jobs}
        there = sum(job.get("id") == each for each, job in after.items())
        verdict.say("each job accepted before the backup is there", there == len(after), f"{there} of {len(after)}")
        ended = [each for each, job in before.jobs.items() if job["status"] not in OPEN]
        same = sum(after[each] == before.jobs[each] for each in ended)
        verdict.say("what had ended is as it was", same == len(ended), f"{same} of {len(ended)}")
        done = sum(after[each].get("status") == "succeeded" for each in waiting)
        took = f"{time.monotonic() - began:.0f} s after the start"
        verdict.say("what waited or ran then is done", done == len(waiting), f"{done} of {len(waiting)}, {took}")
        kept = sum(client.get("/feedback", params={"job_id": each}).json() == said for each, said in before.labels.items())
        verdict.say("each label is there", kept == len(before.labels), f"{kept} of {len(before.labels)} jobs'")
        _lists(client, "decisions", before.decisions, verdict)
        _lists(client, "versions", before.versions, verdict)
        row = Row("backup", "ours")
        with records_of(stack.ledger_url, stack.data / "artifacts") as records:
            judge(row, before.posted, client, records)
        wrong = row.false_failures + row.recorded_twice + row.lost
        verdict.say(
            "each answer is what predict_proba says, and recorded once", not wrong, "; ".join(row.notes) or f"{row.accepted}"
        )


def _outgrow(stack: Stack, verdict: Verdict) -> None:
    """What a newer release does once it takes something away from the ledger, while this one works."""
    database = Database(stack.ledger_url, pool_size=1)
    with database.begin() as tx:
        tx.execute(text("UPDATE compatibility SET oldest = '9000'"))
    database.close()
    roles, began = ("predict", "general", "sweeper"), time.monotonic()
    logs = [stack.data / "logs" / f"{role}.log" for role in roles]
    said = 0
    while said < len(logs) and time.monotonic() - began < 60:
        time.sleep(0.5)
        said = sum("knows revision 9000" in log.read_text() for log in logs)
    detail = f"{said} of {', '.join(roles)} within {time.monotonic() - began:.0f} s"
    verdict.say("workers too old for the ledger say so and stop", said == len(logs), detail)


def _lists(client: httpx.Client, what: str, before: list[Any], verdict: Verdict) -> None:
    found = [_identity(each) for model in MODELS for each in listed(client, model, what)]
    kept = sum(_identity(entry) in found for entry in before)
    verdict.say(f"each of the {what} is there", kept == len(before), f"{kept} of {len(before)}")


def _identity(entry: Any) -> Any:
    """An entry but for its aliases, which go on."""
    return {key: value for key, value in entry.items() if key != "aliases"}


if __name__ == "__main__":
    sys.exit(main())
