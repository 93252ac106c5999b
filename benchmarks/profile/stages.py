"""What a request goes through, as functions of the code. A name that is gone fails the profile, so that this list stays true."""

from __future__ import annotations

# process → (stage, function as "module:name" or "module:Class.name", what it is). A stage's time is without that of stages in it.
STAGES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "api": (
        ("head", "api.express:read_head", "the request's line and headers"),
        ("token", "api.express:hash_of", "its SHA-256"),
        ("auth", "api.verified:Verified.at_hand", "whose it is"),
        ("rows", "api.express:pack_instances", "JSON to packed float64, every number checked"),
        ("admit", "api.express:Express.take", "the rest of the express lane: job, id, eye on its end"),
        ("insert", "storage.jobs:add", "rows into the ledger"),
        ("commit", "api.front:Front._record", "transaction and commit of the group"),
        ("harden", "api.front:Front.harden", "one sync for those that are told 202"),
        ("ring", "jobs.bell:Bell.ring", "one message a group"),
        ("ends", "api.waiting:Waiting.ended", "one query for a group of ended jobs"),
        ("answer", "api.express:Express.deliver", "the job as JSON, and out"),
    ),
    "predict": (
        ("message", "workers.app:_carry", "what Celery hands over"),
        ("claim", "workers.predict:_taken", "look, claim and commit of the group"),
        ("predict", "workers.predict:predict", "one `predict_proba` for the group"),
        ("encode", "workers.predict:_answer", "rows out of the payloads, answers into JSON"),
        ("log", "storage.predictions:log", "the prediction log; to PostgreSQL a part of the finish"),
        ("finish", "workers.predict:_finish", "results into the ledger, and a commit that is synced"),
        ("announce", "jobs.bell:Bell.announce", "one PUBLISH a group"),
    ),
}
