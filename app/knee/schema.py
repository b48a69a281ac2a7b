"""The shapes of the site's answers, as /openapi.json shows them.

Today's site names some seconds with and some without `_seconds`, depending on its version: both are there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field


class Accepted(BaseModel):
    """An upload became a job."""

    job_id: str = Field(description="The key to the job; whoever has it can see the result.")
    status: Literal["queued"]
    queue_position: int = Field(ge=1, description="1 is next.")
    estimated_wait_seconds: int = Field(ge=0)
    message: str


class Queued(BaseModel):
    """The job waits."""

    job_id: str
    status: Literal["queued"]
    queue_position: int = Field(ge=1, description="1 is next.")
    estimated_wait: int = Field(ge=0, description="Seconds.")
    estimated_wait_seconds: int = Field(ge=0)
    message: str = Field("", description="What the queue waits for, such as a GPU and who holds it; else left out.")


class Processing(BaseModel):
    """A worker is at it."""

    job_id: str
    status: Literal["processing"]
    progress_percent: int = Field(ge=0, le=100)
    current_step: int = Field(ge=0)
    total_steps: int = Field(ge=0)
    step_name: str
    elapsed: float = Field(ge=0, description="Seconds.")
    elapsed_seconds: int = Field(ge=0)
    estimated_remaining: int = Field(ge=0, description="Seconds.")
    estimated_remaining_seconds: int = Field(ge=0)


class Complete(BaseModel):
    """The result is there."""

    job_id: str
    status: Literal["complete"]
    download_url: str
    result_size_bytes: int = Field(ge=0)
    processing_time: float = Field(ge=0, description="Seconds.")
    processing_time_seconds: int = Field(ge=0)
    summary: dict[str, Any] = Field(description="What the pipeline found, in short.")


class Failed(BaseModel):
    """The job ended without a result."""

    job_id: str
    status: Literal["error"]
    error_message: str
    error_code: str = Field(
        description="GPU_OOM, TIMEOUT, INVALID_FORMAT, FILE_NOT_FOUND, DICOM_ERROR, SEGMENTATION_FAILED, NSM_FAILED, "
        "CONFIG_ERROR, PIPELINE_ERROR, CANCELLED, or EXPIRED once the files of a job were deleted."
    )


Status = Annotated[Queued | Processing | Complete | Failed, Field(discriminator="status")]


class Range(BaseModel):
    """Bounds of a number, both allowed."""

    min: float
    max: float


class OfferedPipeline(BaseModel):
    """A pipeline and its options, as its stack file declares them."""

    name: str
    title: str
    options: dict[str, dict[str, Any]] = Field(description="By field name: `type`, `default`, `title` and bounds.")


class Files(BaseModel):
    """What may be uploaded."""

    suffixes: list[str]
    limit_bytes: int


class Models(BaseModel):
    """What the form may ask for."""

    segmentation_models: list[str]
    nsm_types: list[str]
    defaults: dict[str, Any]
    ranges: dict[str, Range]
    model_labels: dict[str, str]
    pipelines: list[OfferedPipeline] = Field(description="The first is used where no model is chosen.")
    files: Files


class Stats(BaseModel):
    """How the site is used; the deploy's own test jobs do not count."""

    total_jobs_processed: int = Field(ge=0)
    total_jobs_today: int = Field(ge=0, description="Since midnight, UTC.")
    total_jobs_failed: int = Field(ge=0)
    unique_users: int = Field(ge=0, description="Distinct addresses, which are kept as hashes only.")
    average_processing_time_seconds: int = Field(ge=0, description="Of the last 20 jobs; 240 before there are any.")
    jobs_in_queue: int = Field(ge=0)
    jobs_running: int = Field(ge=0)
    uptime_hours: float = Field(ge=0, description="Of the process that answers.")
