"""The worker: `celery -A jobs_site.worker:celery worker`."""

from __future__ import annotations

from app.core.worker import create_celery

celery = create_celery("jobs")
