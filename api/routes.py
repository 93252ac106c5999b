"""A blueprint whose routes say what they are: path, role, bodies and answers stand once, and openapi.json is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Blueprint

from api.auth import needs
from api.verified import Role

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter, with its JSON schema."""

    name: str
    schema: Mapping[str, Any]
    text: str = ""


@dataclass(frozen=True, slots=True)
class ListOf:
    """An answer that is a list: `{noun: [of, …], "next_cursor"}`, the cursor only where it comes in pages."""

    noun: str
    of: Any
    paged: bool = True


@dataclass(frozen=True, slots=True)
class Media:
    """An answer of other media types than JSON's."""

    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Described:
    """One route.

    `bodies` maps media types, `answers` statuses to what has a JSON schema: a struct, a pydantic model, a schema as a dict,
    a ListOf, a Media; None is anything or nothing. `refusals` are the statuses of problems beside the usual ones.
    """

    method: str
    path: str
    role: Role | None
    summary: str
    noun: str
    bodies: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[int, Any] = field(default_factory=dict)
    query: Sequence[Query] = ()
    refusals: Sequence[int] = ()
    makes_job: bool = False


class Routes(Blueprint):
    """The routes of one noun."""

    def __init__(self, noun: str) -> None:
        super().__init__(noun, __name__)
        self.described: list[Described] = []

    def on(self, method: str, path: str, role: Role | None, summary: str, **more: Any) -> Callable[[View], View]:
        """A decorator: the view answers `method path` (as `/jobs/{id}`) for callers of at least `role`; None is anyone."""
        self.described.append(Described(method, path, role, summary, self.name, **more))

        def register(view: View) -> View:
            guarded = view if role is None else needs(role)(view)
            self.add_url_rule(path.replace("{id}", "<id_>").replace("{name}", "<name>"), view.__name__, guarded, methods=[method])
            return view

        return register


ANY: Mapping[str, Any] = {"type": "object"}
PAGE = (
    Query("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "Entries of a page."),
    Query("cursor", {"type": "string"}, "The `next_cursor` of the page before."),
)
MODEL = Query("model", {"type": "string", "default": "default"}, "The model's name.")
