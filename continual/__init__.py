"""A typed client of the HTTP API, and the command line `continual` that is made of it.

with continual.Client("http://127.0.0.1:8000", token) as client:
    job = client.predict([[0.5, 1.5]], wait_s=30)
"""

from continual.answers import (
    Act,
    Check,
    Component,
    Dataset,
    Decision,
    Health,
    Incident,
    Job,
    JobError,
    Label,
    Model,
    ModelStatus,
    NewToken,
    Overview,
    Page,
    Shadow,
    Stored,
    Token,
    Trial,
    Version,
)
from continual.client import Client, every
from continual.errors import ApiError, Fault, Problem
from continual.tables import Table

__all__ = [
    "Act",
    "ApiError",
    "Check",
    "Client",
    "Component",
    "Dataset",
    "Decision",
    "Fault",
    "Health",
    "Incident",
    "Job",
    "JobError",
    "Label",
    "Model",
    "ModelStatus",
    "NewToken",
    "Overview",
    "Page",
    "Problem",
    "Shadow",
    "Stored",
    "Table",
    "Token",
    "Trial",
    "Version",
    "every",
]
