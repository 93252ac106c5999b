"""All tables. Times are epoch seconds (UTC, double precision); ids of jobs are time-ordered, so newest first is `id DESC`."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts rowids only for INTEGER keys


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


# Words of partial indexes: a query that wants one has to say the very same, for SQLite infers nothing from a parameter.
OTHER_KINDS = "kind <> 'predict'"
ENDED_BADLY = "status IN ('failed', 'dead', 'cancelled')"

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("model", String(64), nullable=False),
    Column("queue", String(16), nullable=False),
    Column("status", String(10), nullable=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("max_attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False, default=0),  # unexpected errors so far: they are retried, deaths are attempts
    Column("payload", LargeBinary),
    Column("artifact", Text),  # the input as a file, where it is too large or a table
    Column("owner", String(128)),  # one token per claim: the fence
    Column("task_id", String(36)),
    Column("lease_until", Double),
    Column("next_publish_at", Double),
    Column("deadline_at", Double),  # set while a prediction waits for its model's first champion
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("progress", Double),
    Column("result", Text),  # JSON as it is answered
    Column("error", Text),
    Column("result_artifact", Text),
    Column("dedupe_key", String(200), unique=True),
    Column("lane", String(100)),  # jobs of one lane run one at a time
    Column("request_id", String(128)),
    Index("ix_jobs_model_id", "model", "id"),
    _partial("ix_jobs_queued", "next_publish_at", where="status = 'queued'"),
    _partial("ix_jobs_line", "queue", "id", where="status = 'queued'"),
    _partial("ix_jobs_running", "lease_until", where="status = 'running'"),
    _partial("ix_jobs_other_kinds", "kind", "id", where=OTHER_KINDS),
    _partial("ix_jobs_ended_badly", "status", "id", where=ENDED_BADLY),
    _partial("uq_jobs_lane", "lane", where="status = 'running' AND lane IS NOT NULL", unique=True),
)

pruned = Table(  # how many jobs there were that are no longer kept, so that totals only grow
    "pruned",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("queue", String(16), primary_key=True),
    Column("status", String(10), primary_key=True),
    Column("count", BIG, nullable=False),
    Column("retries", BIG, nullable=False),
)

census = Table(  # jobs that were counted for good, so that nobody who starts has to count them anew; one row
    "census",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("until", String(36), nullable=False),  # jobs before this id
    Column("totals", Text, nullable=False),  # JSON: kind, queue, status, count, retries of each
)

predictions = Table(
    "predictions",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("model", String(64), nullable=False),
    Column("version", String(16), nullable=False),
    Column("rows", BIG, nullable=False),
    Column("features", LargeBinary),  # PackedRows, or null where `artifact` names the file
    Column("artifact", Text),
    Column("created_at", Double, nullable=False),
    Column("sample", LargeBinary),  # PackedRows, of a file's rows an even sample: what feature drift looks at
    Index("ix_predictions_model_job_id", "model", "job_id"),
)

labels = Table(
    "labels",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("row", BIG, primary_key=True),
    Column("model", String(64), nullable=False),
    Column("position", BIG, nullable=False),
    Column("label", Text, nullable=False),  # JSON scalar
    Column("labelled_at", Double, nullable=False),
    UniqueConstraint("model", "position"),
)

label_changes = Table(
    "label_changes",
    metadata,
    Column("id", BIG, primary_key=True, autoincrement=True),
    Column("job_id", String(36), nullable=False),
    Column("row", BIG, nullable=False),
    Column("label", Text, nullable=False),
    Column("labelled_at", Double, nullable=False),
    Column("replaced_at", Double, nullable=False),
    Index("ix_label_changes_job_id_row", "job_id", "row"),
)

coverage = Table(  # of predictions by labels, by the day (since 1970, UTC) of the prediction
    "coverage",
    metadata,
    Column("model", String(64), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("predicted", BIG, nullable=False),
    Column("labelled", BIG, nullable=False),
    Column("counted_to", String(36), nullable=False),  # predictions of jobs before this id are in `predicted`
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("job_id", String(36), nullable=False, unique=True),
    Column("model", String(64), nullable=False),
    Column("rows", BIG, nullable=False),
    Column("rejected", BIG, nullable=False),
    Column("source", String(16), nullable=False),  # upload | backfill | generated
    Column("report", JSON, nullable=False),
    Column("artifact", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("position", BIG, nullable=False),  # of its first row
    Column("created_at", Double, nullable=False),
    Index("ix_datasets_model_position", "model", "position"),
)

models = Table(
    "models",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("declared", JSON, nullable=False),
    Column("source", Text, nullable=False),  # "declared" or the path of a .py file
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("champion", String(16)),
    Column("alias_pending", Boolean, nullable=False, default=False),  # our move of the alias is not in MLflow yet
    Column("classes", JSON),  # labels seen in training, in their own type; null for a regression or before data
    Column("head", BIG, nullable=False, default=0),  # position of the next labelled row
    Column("tail", BIG, nullable=False, default=0),  # lowest position: backfills go below
    Column("attempt_head", BIG, nullable=False, default=0),  # head at the last attempt to train
    Column("attempt_rows", BIG, nullable=False, default=0),  # labelled rows at the last attempt
    Column("follow_up_at", BIG),  # head at which a promoted drift is looked at again
    Column("change_position", BIG),  # where that drift began
    Column("performance", Double),
    Column("drifting", Boolean, nullable=False, default=False),
    Column("last_check_at", Double),
    Column("last_trained_at", Double),
)

versions = Table(
    "versions",
    metadata,
    Column("model", String(64), ForeignKey("models.name"), primary_key=True),
    Column("number", BIG, primary_key=True),
    Column("job_id", String(36), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("artifact", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("data", JSON, nullable=False),  # lineage
    Column("promoted_from", String(16)),  # the champion it replaced: where a rollback goes
    Column("reference", JSON, nullable=False),  # error, rows, mu0, error_scale on its holdout
    Column("sketch", JSON, nullable=False),  # of its training features, for feature drift
    Column("classes", JSON),
    Column("pruned_at", Double),  # nobody may pick it since then: its files go, or are gone
    Column("gone_at", Double),  # its files, and what the registry had of it, are gone
    _partial("ix_versions_kept", "model", "created_at", where="pruned_at IS NULL"),
    _partial("ix_versions_leaving", "model", "number", where="pruned_at IS NOT NULL AND gone_at IS NULL"),
)

detectors = Table(
    "detectors",
    metadata,
    Column("model", String(64), primary_key=True),
    Column("version", String(16), primary_key=True),
    Column("start", BIG, nullable=False),  # the first position that is evidence for this version
    Column("position", BIG, nullable=False),  # the next row to process
    Column("state", JSON, nullable=False),
    Column("floor", JSON),
    Column("probation", JSON),  # against its predecessor; null once it is over
)

trials = Table(  # of challengers that won the gate: one a model, gone when it is over
    "trials",
    metadata,
    Column("model", String(64), primary_key=True),
    Column("version", String(16), nullable=False),
    Column("against", String(16), nullable=False),  # the champion that it is compared with
    Column("mode", String(8), nullable=False),  # shadow | canary
    Column("job_id", String(36), nullable=False),  # the training that made it
    Column("incident", String(200), nullable=False),
    Column("began_at", Double, nullable=False),
    Column("start", BIG, nullable=False),  # the first position that is evidence
    Column("change_position", BIG),  # where the drift began that it answers
    Column("standing", JSON, nullable=False),
    Column("detector", JSON, nullable=False),  # of the challenger's own loss
    Column("figures", JSON, nullable=False),  # as people are shown them
    Column("answered", BIG, nullable=False),
    Column("agreed", BIG, nullable=False),
)

shadows = Table(  # what a challenger in shadow would have answered to a predict job
    "shadows",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("model", String(64), nullable=False),
    Column("version", String(16), nullable=False),
    Column("rows", BIG, nullable=False),
    Column("agreed", BIG, nullable=False),
    Column("answers", Text, nullable=False),  # JSON
    Column("created_at", Double, nullable=False),
)

checks = Table(
    "checks",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("job_id", String(36), nullable=False, unique=True),
    Column("model", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("result", JSON, nullable=False),
    Index("ix_checks_model_id", "model", "id"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("model", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("action", String(10), nullable=False),
    Column("version", String(16)),
    Column("from_version", String(16)),
    Column("reason", Text, nullable=False),
    Column("job_id", String(36)),
    Column("evidence", JSON, nullable=False),
    Index("ix_decisions_model_id", "model", "id"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("key", String(200), nullable=False),
    Column("model", String(64)),
    Column("kind", String(10), nullable=False),  # the notification's kind, its colour
    Column("state", String(12), nullable=False),  # opened | retraining | resolved | told
    Column("title", Text, nullable=False),
    Column("lines", JSON, nullable=False),  # the timeline, oldest first
    Column("message_id", String(64)),
    Column("sent_revision", Integer, nullable=False, default=0),
    Column("revision", Integer, nullable=False, default=1),
    Column("opened_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index("ix_incidents_key", "key"),
    _partial("uq_incidents_open", "key", where="state IN ('opened', 'retraining')", unique=True),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", String(10), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("successor", String(36)),  # the token that a rotation made of it
)

audit = Table(
    "audit",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("at", Double, nullable=False),
    Column("token_id", String(36), nullable=False),  # "api_key" is that of the environment
    Column("token_name", Text, nullable=False),
    Column("role", String(10), nullable=False),
    Column("action", String(16), nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("address", String(64), nullable=False),
    Column("request_id", String(128), nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("token_id", String(36), primary_key=True),
    Column("path", String(200), primary_key=True),
    Column("key", String(256), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("job_id", String(36), nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ix_idempotency_created_at", "created_at"),
)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("component", String(16), nullable=False),  # worker | beat | sweeper | registry
    Column("queues", String(200), nullable=False, default=""),
    Column("ok", Boolean, nullable=False, default=True),
    Column("detail", Text, nullable=False, default=""),
    Column("seen_at", Double, nullable=False),
    Column("cpu_s", Double),  # of the process and its children; null where the system does not tell
    Column("resident", BIG),
    Column("files", Integer),
)

tallies = Table(  # counters that only grow; see `storage.tallies`
    "tallies",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("labels", String(400), primary_key=True),  # JSON: the labels' values in their order
    Column("value", Double, nullable=False),
)

compatibility = Table(  # one row; see `storage.migrate`
    "compatibility",
    metadata,
    Column("oldest", String(32), primary_key=True),  # a release that does not know this revision can no longer work here
)
