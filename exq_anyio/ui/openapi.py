"""The OpenAPI document of the JSON API, made of its table of endpoints and of the types that they name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from .._version import __version__
from ..api import Progress

if TYPE_CHECKING:
    from .json_api import Endpoint


@attrs.frozen(kw_only=True)
class Problem:
    """What went wrong."""

    error: str
    detail: str


PARAMETERS: dict[str, tuple[str, str]] = {
    "from": ("integer", "Jobs to pass over: `next` of the part before"),
    "size": ("integer", "Jobs of one part, 1 to 100"),
    "worker": ("string", "Part of the worker's name"),
    "error": ("string", "Part of the error's class"),
    "text": ("string", "Part of the payload, or of a text in the job"),
    "tag": ("string", "One of the job's tags, whole"),
    "since": ("string", "ISO 8601: not before this"),
    "until": ("string", "ISO 8601: not after this"),
    "days": ("integer", "1 to 1825"),
    "seconds": ("integer", "1 to 120"),
    "span": ("string", "How far back: 1h, 4h, 8h, 24h or 72h"),
    "ref": ("string", "`ref` of a job, as a list has it"),
    "jid": ("string", "Id of a job"),
}


def openapi(title: str, base: str, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The document, in the form of OpenAPI 3.1."""
    types = [Problem, *(one.answers for one in endpoints), *(one.takes for one in endpoints if one.takes is not None)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    by_type = dict(zip(map(str, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        path = re.sub(r"{(\w+):path}", r"{\1}", f"/api{one.path}")
        paths.setdefault(path, {})[one.method.lower()] = _operation(one, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": __version__,
            "description": "Everything that the web UI shows and does. Each change needs `Content-Type: "
            "application/json`; who may do what is decided by the `authorize` hook of the application.",
        },
        "servers": [{"url": base or "/"}],
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(one: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    names = re.findall(r"{(\w+)", one.path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    for name in one.query:
        kind, text = PARAMETERS[name]
        required = name in ("ref", "jid")
        parameters.append(
            {"name": name, "in": "query", "required": required, "description": text, "schema": {"type": kind}}
        )
    content = {"application/json": {"schema": schemas[str(one.answers)]}}
    if one.answers is Progress:
        text = "With `Accept: application/x-ndjson` a line for each step, the last with `over` true."
        content["application/x-ndjson"] = {"schema": {"type": "string", "description": text}}
    problem = {"application/json": {"schema": schemas[str(Problem)]}}
    found: dict[str, Any] = {
        "summary": one.summary,
        "description": f"Needs the permission `{one.action}`.",
        "operationId": re.sub(r"\W+", "_", f"{one.method.lower()}{one.path.replace(':path', '')}").strip("_"),
        "parameters": parameters,
        "responses": {
            "200": {"description": inspect.getdoc(one.answers) or one.summary, "content": content},
            "default": {"description": "It did not work", "content": problem},
        },
    }
    if one.takes is not None:
        schema = schemas[str(one.takes)]
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return found
