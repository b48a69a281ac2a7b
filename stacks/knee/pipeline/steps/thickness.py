"""Mean thickness of a cartilage or a meniscus from its label map.

Rays start at the tissue's surface, of a cartilage at the part of it that lies on its bone, go straight into the tissue
and end where it ends; the mean of their lengths over the surface is the mean thickness. The steps between voxels are
smoothed, so that a ray begins and ends between voxels. A bone has no second side to go to: see steps/bodies.py.
"""

# mypy: untyped-calls-exclude=SimpleITK
from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

Grid = NDArray[np.float32]
Points = NDArray[np.float64]

BONE_OF = {"femoral_cartilage": "femur", "tibial_cartilage": "tibia", "patellar_cartilage": "patella"}
THIN = frozenset({*BONE_OF, "meniscus"})  # tissues that are measured so
BLUR = 0.8  # of the longest voxel edge
STEP = 0.25  # of the smallest voxel edge, along a ray
BEFORE = 10  # steps that a ray begins before its voxel, and in which it must have got in behind it
MOST_RAYS = 4000
FAINT = 0.2  # of the steepest edge: less is no surface


def smooth(mask: sitk.Image) -> Grid:
    """The mask with soft edges: 0.5 is where the surface is."""
    image = sitk.Cast(mask, sitk.sitkFloat32)
    soft: Grid = sitk.GetArrayFromImage(sitk.DiscreteGaussian(image, [(BLUR * max(mask.GetSpacing())) ** 2] * 3))
    return soft


def slopes(soft: Grid, spacing: Points) -> Points:
    """The change per mm along z, y and x."""
    return np.stack([np.gradient(soft, step, axis=axis) for axis, step in enumerate(spacing)])


def sample(soft: Grid, points: Points) -> NDArray[np.float64]:
    """Values between voxels, linear in each direction; outside is 0."""
    low = np.floor(points).astype(int)
    part = points - low
    value = np.zeros(len(points))
    for corner in np.ndindex(2, 2, 2):
        at = low + corner
        inside = np.all((at >= 0) & (at < soft.shape), axis=1)
        weight = np.prod(np.where(np.array(corner) == 1, part, 1 - part), axis=1)
        value[inside] += weight[inside] * soft[tuple(at[inside].T)]
    return value


def base_surface(tissue: Grid, bone: Grid | None, spacing: Points) -> tuple[Points, Points, NDArray[np.float64]]:
    """Voxels at the surface that rays start from, their directions into the tissue (in mm), and their areas."""
    slope = slopes(tissue, spacing)
    if bone is not None:
        # Where both end at one rim, what leads outwards is in both slopes, and goes out of their difference.
        slope = (slope - slopes(bone, spacing)) / 2
    steep = np.linalg.norm(slope, axis=0)
    found = steep > FAINT * steep.max(initial=0)
    if bone is not None:
        found &= (tissue > 0.15) & (bone > 0.15)
    at = np.argwhere(found)
    if len(at) > MOST_RAYS:
        at = at[np.linspace(0, len(at) - 1, MOST_RAYS).astype(int)]
    areas = steep[tuple(at.T)].astype(float)
    directions = slope[:, at[:, 0], at[:, 1], at[:, 2]].T / areas[:, None]
    return at.astype(float), directions, areas


def lengths(soft: Grid, starts: Points, directions: Points, spacing: Points) -> NDArray[np.float64]:
    """How long each ray runs inside, in mm; NaN for one that never gets in. It starts before the surface."""
    step = STEP * float(spacing.min())
    moves = directions * step / spacing
    total = np.zeros(len(starts))
    been = np.zeros(len(starts), dtype=bool)
    running = np.arange(len(starts))
    value = sample(soft, starts - BEFORE * moves)
    number = -BEFORE
    while len(running):
        number += 1
        following = sample(soft, starts[running] + number * moves[running])
        was, inside = value >= 0.5, following >= 0.5
        # The part of this step that lies inside: all, none, or up to where 0.5 is crossed.
        share = np.divide(value - 0.5, value - following, where=was != inside, out=was.astype(float))
        total[running] += np.where(inside & ~was, 1 - share, share)
        been[running] |= inside
        on = inside | (~been[running] & (number < BEFORE))
        running, value = running[on], following[on]
    return np.where(been, total * step, np.nan)


def mean_thickness(tissue: sitk.Image, bone: sitk.Image | None = None) -> float | None:
    """The mean thickness in mm of what the mask marks; None where there is nothing, or nothing on the bone."""
    spacing = np.array(tissue.GetSpacing()[::-1])
    soft = smooth(tissue)
    starts, directions, areas = base_surface(soft, None if bone is None else smooth(bone), spacing)
    found = lengths(soft, starts, directions, spacing)
    known = found > 0
    return float(np.average(found[known], weights=areas[known])) if known.any() else None
