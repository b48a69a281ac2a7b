"""Uploads to a site in this process, and what they leave behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

LIMIT = 3_000_000  # bytes that the site under test accepts


def upload(client: TestClient, name: str, content: bytes, **more: Any) -> tuple[int, dict[str, Any]]:
    """The answer to an upload."""
    answer = client.post("/upload", files={"file": (name, content)}, **more)
    return answer.status_code, answer.json()


def uploads(environment: dict[str, str]) -> list[Path]:
    """Every file that uploads have left."""
    return [path for path in (Path(environment["FARRIER_STATE"]) / "uploads").rglob("*") if path.is_file()]
