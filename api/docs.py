"""/openapi.json and /docs: a page of our own that reads it, with nothing from other hosts."""

from __future__ import annotations

from pathlib import Path

from flask import Response, current_app

from api.errors import not_found
from api.openapi import document
from api.routes import ANY, Media, Routes
from api.views import answer

STATIC = Path(__file__).parent / "static"
FILES = {"docs.css": "text/css; charset=utf-8", "docs.js": "text/javascript; charset=utf-8"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
routes = Routes("docs")


@routes.on("GET", "/openapi.json", None, "This description.", answers={200: ANY})
def get_openapi() -> Response:
    blueprints = current_app.blueprints.values()
    described = (each for blueprint in blueprints if isinstance(blueprint, Routes) for each in blueprint.described)
    return answer(document(described))


@routes.on("GET", "/docs", None, "This description, for people.", answers={200: Media(("text/html",))})
def get_docs() -> Response:
    page = Response((STATIC / "docs.html").read_bytes(), content_type="text/html; charset=utf-8")
    page.headers["Content-Security-Policy"] = POLICY
    return page


@routes.route("/docs/<name>")
def get_docs_file(name: str) -> Response:
    if name not in FILES:
        raise not_found("This file")
    return Response((STATIC / name).read_bytes(), content_type=FILES[name])
