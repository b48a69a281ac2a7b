"""The knee site's worker: `celery -A app.knee.worker:celery worker`."""

from __future__ import annotations

from app.core.worker import create_celery

celery = create_celery("knee")
