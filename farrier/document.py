"""YAML files with the line of every key, so that a problem can point at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from farrier.problems import InvalidInput, Problem, nearest
from farrier.values import HINTS

Location = Sequence[str | int]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Document:
    """A parsed YAML file. `name` is the path as people know it, relative to the repository."""

    name: str
    data: Any

    def line(self, location: Location) -> int:
        """The line (from 1) of the deepest part of `location` that exists in the file."""
        node, line = self.data, 1
        for part in location:
            if not isinstance(node, CommentedMap | CommentedSeq) or not _has(node, part):
                break
            line = _line_of(node, part)
            node = node[part]
        return line

    def problem(self, location: Location, message: str) -> Problem:
        """A problem at the key `location`."""
        return Problem(self.name, self.line(location), key_of(location), message)

    def validate(self, model: type[Model]) -> Model:
        """The file's content as `model`. Raises InvalidInput with every problem."""
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            raise InvalidInput(self._problems(model, error)) from None

    def _problems(self, model: type[BaseModel], error: ValidationError) -> list[Problem]:
        found = []
        for detail in error.errors():
            location = _without_tags(self.data, detail["loc"])
            found.append(self.problem(location, message_of(model, detail["loc"], detail)))
        return [problem for problem in found if not _is_misspelt(problem, found)]


def read(path: Path, name: str) -> Document:
    """Parse the YAML file at `path`. Raises InvalidInput when it is missing or is not YAML."""
    try:
        data = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInput([Problem(name, 0, "", "no such file")]) from None
    except UnicodeDecodeError as error:
        raise InvalidInput([Problem(name, 0, "", f"not UTF-8 text: {error.reason} at byte {error.start}")]) from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise InvalidInput([Problem(name, line, "", f"not valid YAML: {error.problem}")]) from None
    except YAMLError as error:
        raise InvalidInput([Problem(name, 0, "", f"not valid YAML: {' '.join(str(error).split())}")]) from None
    if not isinstance(data, CommentedMap):
        raise InvalidInput([Problem(name, 1, "", "expected a mapping of keys to values")])
    return Document(name, data)


def key_of(location: Location) -> str:
    """`("services", "web", "routes", 0, "path")` as people write it: `services.web.routes[0].path`."""
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return key


def _is_misspelt(problem: Problem, found: Sequence[Problem]) -> bool:
    """Whether a missing key is there under the wrong name, which another problem tells already."""
    key = problem.key.rpartition(".")[2]
    if problem.message != f"the key '{key}' is missing":
        return False
    inside = problem.key.removesuffix(key)
    return any(each.key.startswith(inside) and f"did you mean '{key}'?" in each.message for each in found)


def _has(node: CommentedMap | CommentedSeq, part: str | int) -> bool:
    if isinstance(node, CommentedMap):
        return part in node
    return isinstance(part, int) and part < len(node)


def _line_of(node: CommentedMap | CommentedSeq, part: str | int) -> int:
    position = node.lc.key(part) if isinstance(node, CommentedMap) else node.lc.item(part)
    return int(position[0]) + 1


def _without_tags(data: Any, location: Location) -> list[str | int]:
    """Pydantic names a service's kind in the location (`services.web.asgi.app`); the file has no such key."""
    kept: list[str | int] = []
    node = data
    for part in location:
        inside = isinstance(node, CommentedMap | CommentedSeq) and _has(node, part)
        if not inside and (part == "[key]" or (isinstance(node, CommentedMap) and node.get("kind") == part)):
            continue
        kept.append(part)
        node = node[part] if inside else None
    return kept


def message_of(model: type[BaseModel], location: Location, detail: Any) -> str:
    """What one of pydantic's errors means for the person who wrote the file."""
    match detail["type"]:
        case "extra_forbidden":
            return f"unknown key '{location[-1]}': {nearest(str(location[-1]), known_keys(model, location[:-1]))}"
        case "string_pattern_mismatch" if detail["ctx"]["pattern"] in HINTS:
            return f"{HINTS[detail['ctx']['pattern']]} (got {detail['input']!r})"
        case "missing":
            return f"the key '{location[-1]}' is missing"
        case "union_tag_invalid":
            word, known = str(detail["ctx"]["tag"]), detail["ctx"]["expected_tags"].replace("'", "").split(", ")
            return f"unknown kind '{word}': {nearest(word, known)}"
        case "union_tag_not_found":
            return "the key 'kind' is missing"
    return (
        f"{_plain(detail['msg'])} (got {detail['input']!r})" if _is_scalar(detail["input"]) else _plain(detail["msg"])
    )


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) or value is None


def _plain(message: str) -> str:
    text = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def known_keys(model: type[BaseModel], location: Location) -> list[str]:
    """The keys that `model` knows at `location`, for a hint at the nearest one."""
    whole = model.model_json_schema()
    schemas = [whole]
    for part in location:
        schemas = [inner for schema in schemas for inner in _inside(schema, part, whole)]
    return sorted({key for schema in schemas for key in schema.get("properties", {})})


def _inside(schema: Any, part: str | int, whole: Any) -> list[Any]:
    """The JSON schemas that may apply one step below `schema`, with references resolved."""
    if part in schema.get("discriminator", {}).get("mapping", {}):
        return _resolved({"$ref": schema["discriminator"]["mapping"][part]}, whole)
    below = schema.get("items") if isinstance(part, int) else schema.get("properties", {}).get(part)
    if below is None:
        below = next(iter(schema.get("patternProperties", {}).values()), schema.get("additionalProperties"))
    return _resolved(below, whole) if isinstance(below, dict) else []


def _resolved(schema: Any, whole: Any) -> list[Any]:
    if "$ref" in schema:
        return _resolved(whole["$defs"][schema["$ref"].rsplit("/", 1)[-1]], whole)
    if "anyOf" in schema:
        return [inner for choice in schema["anyOf"] for inner in _resolved(choice, whole)]
    return [schema]
