# mypy: untyped-calls-exclude=SimpleITK
"""Local thickness of bodies whose thickness is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from steps.bodies import mean_local_thickness

SPACING = (0.7, 1.0, 0.8)  # x, y, z


def body(*balls: tuple[float, float]) -> sitk.Image:
    """Balls side by side, each with its middle on the x axis and its radius, in mm."""
    z, y, x = (np.arange(count) * step for count, step in zip((50, 40, 110), SPACING[::-1], strict=True))
    inside = np.zeros((50, 40, 110), dtype=bool)
    for middle, radius in balls:
        far = (z[:, None, None] - 20) ** 2 + (y[:, None] - 20) ** 2 + (x - middle) ** 2
        inside |= far <= radius**2
    image = sitk.GetImageFromArray(inside.astype(np.uint8))
    image.SetSpacing(SPACING)
    return image


@pytest.mark.parametrize("balls", [[(20.0, 12.0)], [(18.0, 12.0), (50.0, 6.0)]])
def test_thickness_is_the_largest_ball_around_a_point_as_a_mean_over_the_volume(
    balls: list[tuple[float, float]],
) -> None:
    volumes = [4 / 3 * math.pi * radius**3 for _, radius in balls]
    expected = np.average([2 * radius for _, radius in balls], weights=volumes)
    assert mean_local_thickness(body(*balls)) == pytest.approx(expected, rel=0.05)


def test_nothing_has_no_thickness() -> None:
    assert mean_local_thickness(body()) is None
