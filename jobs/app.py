"""The Celery app. Each setting below answers a fault that was seen; docs/architecture.md has the measurements."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from jobs.kinds import QUEUES

# A worker must not time out on its socket: a timed-out ack leaks a prefetch slot for ever.
WORKER_TRANSPORT: dict[str, Any] = {
    "ack_emulation": False,  # the ledger knows what is unfinished: writing that down in Redis as well took two round trips
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
}


def make_app(redis_url: str, **more: Any) -> Celery:
    """A worker's Celery app on the broker at `redis_url`, with further settings. Who only rings does without (`jobs.bell`)."""
    app = Celery("continual", broker=redis_url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,  # the ledger keeps results
        result_backend=None,
        accept_content=["json"],
        task_serializer="json",
        task_queues=[
            Queue(name, Exchange(""), routing_key=name) for name in QUEUES
        ],  # by name only: a lost binding drops messages
        task_default_queue=QUEUES[0],
        task_create_missing_queues=False,
        task_acks_late=False,  # the ledger owns retries: a visibility timeout ran a long job three times
        worker_prefetch_multiplier=1,
        broker_transport_options=dict(WORKER_TRANSPORT),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        worker_soft_shutdown_timeout=6,
        worker_enable_soft_shutdown_on_idle=False,  # an idle worker has nothing to hand back: the ledger has it all
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,  # a role says whether it sends them
        task_send_sent_event=False,
        timezone="UTC",
        enable_utc=True,
        **more,
    )
    return app
