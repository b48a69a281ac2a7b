"""What every kind of scan must be: one volume with three dimensions, and not too small."""

from __future__ import annotations

from collections.abc import Sequence

SMALLEST = 10  # pixels along each axis


class NotAScan(ValueError):
    """The file is no scan that the pipeline can use; the message says why, to its user."""


def check_volume(lengths: Sequence[int]) -> None:
    """Raises NotAScan unless axes of these lengths make a usable volume; trailing axes of length 1 do not count."""
    axes = list(lengths)
    while len(axes) > 3 and axes[-1] == 1:
        axes.pop()
    text = " x ".join(map(str, axes)) or "no valid size"
    if len(axes) != 3:
        raise NotAScan(f"The scan must have three dimensions; this file has {text}.")
    if min(axes) < SMALLEST:
        raise NotAScan(f"The scan must have at least {SMALLEST} pixels along each axis; this one has {text}.")
