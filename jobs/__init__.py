"""The queue contract: kinds of jobs, queue names, the message, the Celery app, and the bell that is rung after commit."""
