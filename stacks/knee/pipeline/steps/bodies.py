"""Mean thickness of a body, such as a bone, from its label map: its local thickness, as a mean over its volume.

The local thickness at a point is the diameter of the largest ball that holds the point and lies inside the body: T.
Hildebrand and P. Rüegsegger, "A new method for the model-independent assessment of thickness in three-dimensional
images", Journal of Microscopy 185 (1997) 67-75. The balls are found as by J. Ma, S. W. Bae and S. Choi, "3D medial axis
point approximation using nearest neighbors and the normal field", The Visual Computer 28 (2012) 7-19: the ball that
touches the surface at a point from inside grows along the normal there until it touches the surface elsewhere.
"""

# mypy: untyped-calls-exclude=SimpleITK
from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from steps.thickness import Grid, Points, slopes, smooth

Numbers = NDArray[np.float64]

FLAT = 0.5  # sine of the angle between the tangent plane and a point below which the point is taken for the same side
MOST_BALLS = 1000
MOST_TOUCHED = 10_000  # surface points that stop a ball
MOST_PLACES = 2000  # in the body, at which the thickness is taken
CHUNK = 50  # rows of a table of distances that are held at once


def mean_local_thickness(body: sitk.Image) -> float | None:
    """The mean local thickness in mm of what the mask marks, which must not reach its sides; None for nothing."""
    spacing = np.array(body.GetSpacing()[::-1])
    soft = smooth(body)
    places = _some(np.argwhere(soft >= 0.5).astype(float), MOST_PLACES) * spacing
    if not len(places):
        return None
    points, normals = surface(soft, spacing)
    centres, radii = balls(_some(points, MOST_BALLS), _some(normals, MOST_BALLS), _some(points, MOST_TOUCHED))
    return float(2 * largest(places, centres, radii).mean())


def surface(soft: Grid, spacing: Points) -> tuple[Points, Points]:
    """Where the soft mask crosses 0.5 between neighbouring voxels, in mm, and the directions into the body there."""
    slope = np.moveaxis(slopes(soft, spacing), 0, -1)
    points, normals = [], []
    for axis in range(3):
        one, next_one = (np.moveaxis(soft, axis, 0)[part] for part in (slice(-1), slice(1, None)))
        at = np.argwhere((one >= 0.5) != (next_one >= 0.5))
        part = (0.5 - one[tuple(at.T)]) / (next_one[tuple(at.T)] - one[tuple(at.T)])
        low = np.insert(at[:, 1:], axis, at[:, 0], axis=1)
        step = np.eye(3, dtype=int)[axis]
        share = part[:, None]
        normal = slope[tuple(low.T)] * (1 - share) + slope[tuple((low + step).T)] * share
        points.append((low + share * step) * spacing)
        normals.append(normal / np.linalg.norm(normal, axis=1, keepdims=True))
    return np.concatenate(points), np.concatenate(normals)


def balls(points: Points, normals: Points, others: Points) -> tuple[Points, Numbers]:
    """Centres and radii of the largest balls inside that touch the surface at the points."""
    radii = np.empty(len(points))
    for begin in range(0, len(points), CHUNK):
        rows = slice(begin, begin + CHUNK)
        way = others - points[rows, None]
        far = np.linalg.norm(way, axis=-1)
        along = np.einsum("pod,pd->po", way, normals[rows])
        # The ball that touches the one point and goes through the other has the radius far² / 2 along.
        through = np.divide(far**2, 2 * along, where=along > FLAT * far, out=np.full_like(far, np.inf))
        radii[rows] = through.min(axis=1)
    closed = np.isfinite(radii)
    return points[closed] + radii[closed, None] * normals[closed], radii[closed]


def largest(places: Points, centres: Points, radii: Numbers) -> Numbers:
    """The radius of the largest ball that holds each place; of the nearest one where none does."""
    found = np.empty(len(places))
    for begin in range(0, len(places), CHUNK):
        rows = slice(begin, begin + CHUNK)
        outside = np.linalg.norm(places[rows, None] - centres, axis=-1) - radii
        nearest = radii[outside.argmin(axis=1)]
        found[rows] = np.maximum(nearest, np.where(outside <= 0, radii, 0).max(axis=1))
    return found


def _some(rows: Points, most: int) -> Points:
    """At most so many rows, evenly taken."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]
