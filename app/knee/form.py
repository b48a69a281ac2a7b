"""The fields of the upload form besides the file: the options of the pipelines, and the site's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.core.openapi import field_schema
from app.core.pipelines import BooleanOption, ChoiceOption, OptionError, Pipeline, Value

PIPELINE = "knee"  # the pipeline of a job that asks for no model, and the first that is offered
MODEL = "segmentation_model"  # the option by which a job chooses among the models of all pipelines
RETAIN = BooleanOption(type="boolean", default=False, title="Keep the uploaded scan until the result expires")
EMAIL = re.compile(r"[^\s@,;:<>()\[\]\\\"]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
LONGEST_EMAIL = 254


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a form asks for."""

    pipeline: str
    options: dict[str, Value]
    email: str | None
    keep_input: bool


def ordered(pipelines: Mapping[str, Pipeline]) -> dict[str, Pipeline]:
    """The pipelines, the site's first one first."""
    return {PIPELINE: pipelines[PIPELINE], **pipelines}


def models(pipelines: Mapping[str, Pipeline]) -> dict[str, str]:
    """The pipeline of each segmentation model that can be chosen here."""
    found: dict[str, str] = {}
    for name, pipeline in ordered(pipelines).items():
        option = pipeline.options.get(MODEL)
        for choice in option.choices if isinstance(option, ChoiceOption) else ():
            found.setdefault(choice, name)
    return found


def labels(pipelines: Mapping[str, Pipeline]) -> dict[str, str]:
    """What people call each segmentation model that can be chosen here."""
    chosen = {model: pipelines[name].options[MODEL] for model, name in models(pipelines).items()}
    return {
        model: option.titles.get(model, model) if isinstance(option, ChoiceOption) else model
        for model, option in chosen.items()
    }


def _chosen(pipelines: Mapping[str, Pipeline], model: str) -> str:
    if not model:
        return PIPELINE
    offered = models(pipelines)
    if model not in offered:
        installed = ", ".join(offered) or "none; leave the field out"
        raise OptionError(f"{MODEL}: {model[:40]!r} is not installed here; installed models: {installed}")
    return offered[model]


def _email(text: str) -> str | None:
    if text and (len(text) > LONGEST_EMAIL or not EMAIL.fullmatch(text)):
        raise OptionError(f"email: {text[:40]!r} is no e-mail address")
    return text or None


def read_wishes(pipelines: Mapping[str, Pipeline], fields: Mapping[str, str]) -> Wishes:
    """What a form's text fields ask for; raises OptionError that names the field and what it may be."""
    options = dict(fields)
    email, retain = (options.pop(name, "").strip() for name in ("email", "retain_results"))
    pipeline = _chosen(pipelines, options.get(MODEL, "").strip())
    try:
        keep = bool(RETAIN.parse(retain)) if retain else RETAIN.default
    except OptionError as error:
        raise OptionError(f"retain_results: {error}") from None
    return Wishes(pipeline, pipelines[pipeline].parse_options(options), _email(email), keep)


def form_schema(pipelines: Mapping[str, Pipeline]) -> dict[str, dict[str, Any]]:
    """The JSON schema of every field of the form, but for the file."""
    found: dict[str, list[dict[str, Any]]] = {}
    for pipeline in ordered(pipelines).values():
        for name, option in pipeline.options.items():
            schema = field_schema(option)
            if schema not in found.setdefault(name, []):
                found[name].append(schema)
    email = {"type": "string", "format": "email", "maxLength": LONGEST_EMAIL, "pattern": f"^{EMAIL.pattern}$"}
    return {
        "email": {"title": "Where the link to the result is sent", "anyOf": [email, {"const": ""}]},
        "retain_results": field_schema(RETAIN),
        **{name: schemas[0] if len(schemas) == 1 else {"anyOf": schemas} for name, schemas in found.items()},
    }
