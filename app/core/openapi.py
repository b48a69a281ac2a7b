"""What /openapi.json says of forms and errors, made from the same data that checks them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field

from app.core.pipelines import NO, YES, Option

MEANINGS = {
    400: "The request cannot be used; `detail` says why.",
    403: "The token is missing or wrong.",
    404: "There is no such job, or what it had was deleted.",
    409: "The job has ended already.",
    413: "The file is larger than this site accepts.",
    429: "Too many jobs from this address; `Retry-After` says when the next may come.",
    500: "The site itself failed; its log has the reason.",
    503: "Something that the site needs does not answer just now; `Retry-After` says when to try again.",
    507: "The site's disk is full; `Retry-After` says when to try again.",
}


class Problem(BaseModel):
    """Every answer that is an error."""

    detail: str = Field(description="What is wrong and what to do, for people.")


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"]


class GpuMemory(BaseModel):
    """Bytes."""

    total: int
    used: int
    free: int


class Gpu(BaseModel):
    """A card; `xid` is the driver's last error about it."""

    index: int
    model: str | None
    memory: GpuMemory | None
    xid: int | None


class Ready(BaseModel):
    """Each thing that the site needs, asked for real."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str] = Field(description="`ok`, or what is wrong.")
    missing: list[str]
    gpus: list[Gpu] = Field(description="The stack's cards on this host, as far as they answer.")


class Health(BaseModel):
    """The same in short."""

    status: Literal["healthy", "unhealthy"]
    redis: Literal["connected", "disconnected"]
    worker: Literal["available", "unavailable"]
    gpu: Literal["not used", "available", "unavailable"]
    timestamp: datetime
    error: str | None


def either(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The answers of a health route, for its `responses`: the same body with 200 and with 503."""
    return {200: {"model": model}, 503: {"model": model, "description": "Something is missing; the body says what."}}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for its `responses`."""
    return {code: {"model": Problem, "description": MEANINGS[code]} for code in codes}


def field_schema(option: Option) -> dict[str, Any]:
    """The JSON schema of an option as a form field; an empty field stands for the default."""
    told = {"default": option.default} | ({"title": option.title} if option.title else {})
    if option.type == "choice":
        return told | {"type": "string", "enum": [*option.choices, ""]}
    if option.type == "boolean":
        return told | {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": [*YES, *NO, ""]}]}
    number = {"type": option.type, "minimum": option.minimum, "maximum": option.maximum}
    return told | {"anyOf": [number, {"type": "string", "const": ""}]}


def upload_body(fields: Mapping[str, Mapping[str, Any]], example: str) -> dict[str, Any]:
    """The request body of an upload: a form with the field `file`, whose name is like `example`, and these fields."""
    schema = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary"}, **fields},
        "additionalProperties": False,
    }
    disposition = {"schema": {"type": "string"}, "example": f'form-data; name="file"; filename="{example}"'}
    form = {"schema": schema, "encoding": {"file": {"headers": {"Content-Disposition": disposition}}}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form}}}


def leads_to(field: str, **operations: str) -> dict[str, Any]:
    """The links of an answer by name: operations whose path takes a field of this answer under the same name."""
    return {
        name: {"operationId": operation, "parameters": {field: f"$response.body#/{field}"}}
        for name, operation in operations.items()
    }


def describe(app: FastAPI) -> None:
    """Take out of the app's OpenAPI what FastAPI says of itself: no route here answers with 422."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            for methods in document["paths"].values():
                for operation in methods.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                document.get("components", {}).get("schemas", {}).pop(name, None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
