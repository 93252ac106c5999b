"""/openapi.json, made of the routes' own descriptions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from pydantic import BaseModel

from api.errors import PROBLEM, Problem
from api.routes import Described, ListOf, Media, Query
from settings import VERSION

REF = "#/components/schemas/{name}"
PREFER = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string", "examples": ["wait=10"]},
    "description": "Hold the answer until the job has ended, 0 to 60 s.",
}
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "maxLength": 256},
    "description": "The same key and body give the same job.",
}
MEANING = {
    200: "Here it is.", 201: "Made.", 202: "Accepted: see Location.", 204: "Done.", 400: "Malformed.", 401: "No valid token.",
    403: "The role is too small.", 404: "No such thing.", 406: "Not to be had in that form.", 409: "Not in this state.",
    410: "No longer kept.", 413: "Too large.", 414: "The request line is too long.", 415: "Unknown media type.",
    422: "It breaks the schema; errors says where.", 429: "Too many; see Retry-After.", 431: "The headers are too long.",
    503: "Not now; see Retry-After.",
}  # fmt: skip
UNREADABLE = {414, 431}


def document(described: Iterable[Described]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these routes."""
    routes = list(described)
    schemas = _Schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Continual ML",
            "version": VERSION,
            "description": "Predictions that stay good: post a job, read its result.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


class _Schemas:
    """JSON schemas by type; msgspec and pydantic each give their own."""

    def __init__(self, routes: Iterable[Described]) -> None:
        told = [each for route in routes for each in (*route.bodies.values(), *route.answers.values())]
        types = {Problem, *(each for each in (getattr(one, "of", one) for one in told) if isinstance(each, type))}
        structs = [each for each in types if issubclass(each, msgspec.Struct)]
        self.components: dict[str, Any] = msgspec.json.schema_components(structs, ref_template=REF)[1]
        for model in types:
            if issubclass(model, BaseModel):
                schema = model.model_json_schema(ref_template=REF.replace("{name}", "{model}"))
                self.components |= schema.pop("$defs", {})
                self.components[model.__name__] = schema

    def of(self, told: Any) -> dict[str, Any]:
        """The schema of what a description tells."""
        if isinstance(told, ListOf):
            return self._list(told)
        if isinstance(told, type):
            return {"$ref": REF.format(name=told.__name__)}
        return dict(told or {})

    def _list(self, told: ListOf) -> dict[str, Any]:
        entries: dict[str, Any] = {told.noun: {"type": "array", "items": self.of(told.of)}}
        if told.paged:
            entries["next_cursor"] = {"type": ["string", "null"]}
        return {"type": "object", "properties": entries, "required": list(entries)}


def _operation(route: Described, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "tags": [route.noun],
        "operationId": f"{route.method.lower()}_{re.sub(r'[^a-z]+', '_', route.path).strip('_')}",
        "parameters": _parameters(route),
        "responses": _responses(route, schemas),
        "security": [{"token": []}] if route.role else [],
    }
    if route.role:
        operation["x-role"] = route.role
        operation["description"] = f"Takes a token of role {route.role} or above."
    if route.bodies:
        content = {media: {"schema": schemas.of(told)} for media, told in route.bodies.items()}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(route: Described) -> list[dict[str, Any]]:
    named = re.findall(r"{(\w+)}", route.path)
    path = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in named]
    return [*path, *(_query(query) for query in route.query), *([PREFER, KEY] if route.makes_job else [])]


def _query(query: Query) -> dict[str, Any]:
    return {"name": query.name, "in": "query", "schema": dict(query.schema), "description": query.text}


def _responses(route: Described, schemas: _Schemas) -> dict[str, Any]:
    refusals = {*route.refusals, *((401, 403, 429, 503) if route.role else ()), *((400, 413, 415, 422) if route.bodies else ())}
    refusals |= UNREADABLE | ({422} if route.query else set())
    refusals |= {410, 422} if route.makes_job else set()
    responses: dict[str, Any] = {}
    for status, told in route.answers.items():
        types = told.types if isinstance(told, Media) else ("application/json",) if told is not None else ()
        schema = {} if isinstance(told, Media) else schemas.of(told)
        content = {media: {"schema": schema} for media in types}
        responses[str(status)] = {"description": MEANING[status], **({"content": content} if content else {})}
    problem = {PROBLEM: {"schema": schemas.of(Problem)}}
    for status in sorted(refusals - set(route.answers)):
        responses[str(status)] = {"description": MEANING[status], "content": problem}
    return responses
