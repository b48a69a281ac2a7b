"""The page /docs: Swagger UI from the site itself, under its policy: nothing inline, nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

# Only its files: a subclass of FastAPI that serves them comes with a script in the page, which the policy forbids.
SWAGGER = Path(str(files("fastapi_offline"))) / "static"
OWN = Path(__file__).parent / "static"
PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{title}: API</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="docs/files/swagger-ui.css">
  <script src="docs/files/swagger-ui-bundle.js" defer></script>
  <script src="docs/own/docs.js" defer></script>
</head>
<body>
  <div id="api"></div>
  <noscript>This page needs JavaScript. The description itself is at <a href="openapi.json">openapi.json</a>.</noscript>
</body>
</html>
"""


def add_docs(app: FastAPI, policy: str) -> None:
    """Serve /docs; `policy` is the site's Content-Security-Policy, which Swagger UI needs data: images beside."""
    page = PAGE.format(title=app.title)
    headers = {"Content-Security-Policy": policy.replace("img-src 'self'", "img-src 'self' data:")}

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        """The page for people who write clients."""
        return HTMLResponse(page, headers=headers)

    app.mount("/docs/files", StaticFiles(directory=SWAGGER), name="swagger")
    app.mount("/docs/own", StaticFiles(directory=OWN), name="docs")
