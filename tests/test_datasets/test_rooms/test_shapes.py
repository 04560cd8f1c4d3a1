"""Solids: where rays meet them, and which way their surfaces face."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from diff2in1_mm.datasets.rooms.materials import Material
from diff2in1_mm.datasets.rooms.shapes import BALL, BOX, FRUSTUM, Solid, dot

GREY = Material((0.5, 0.5, 0.5))


def rays_to(solid, seed, count=400):
    """Rays from a point outside to points around a solid."""
    rng = np.random.RandomState(seed)
    origin = np.array([3.0, 2.0, 4.0], np.float32)
    targets = solid.centre + solid.half.max() * rng.uniform(-1.5, 1.5, (count, 3))
    return origin, (targets - origin).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(shape=st.sampled_from([BOX, BALL, FRUSTUM]), yaw=st.floats(-3, 3), top=st.floats(0, 1), seed=st.integers(0, 999))
def test_hits_lie_on_the_surface_and_face_the_ray(shape, yaw, top, seed):
    solid = Solid(shape, (0.1, -0.2, 0.3), (0.5, 0.8, 0.3), GREY, yaw=yaw, top=top)
    origin, direction = rays_to(solid, seed)
    t = solid.intersect(origin, direction)
    hit = np.isfinite(t)
    assert 0 < hit.sum() < len(t)
    points = origin + t[hit, None] * direction[hit]
    normals, local = solid.normals(points)
    np.testing.assert_allclose(dot(normals, normals), 1, atol=1e-5)
    assert np.abs(local).max() < 1 + 1e-3
    if shape == BALL:
        np.testing.assert_allclose(dot(local, local), 1, atol=1e-3)
    # at the rim of a cap or the edge of a box, rounding may choose the neighbouring face
    assert (dot(normals, direction[hit]) < 1e-3).mean() > 0.98


def test_a_turn_about_the_vertical_is_counterclockwise_from_above():
    solid = Solid(BOX, (0, 0, 0), (2, 1, 0.1), GREY, yaw=np.pi / 2)  # its long side now along z
    down = np.array([0, -1, 0], np.float32)
    assert np.isfinite(solid.intersect(np.array([0, 5, 1.5], np.float32), down[None]))[0]
    assert not np.isfinite(solid.intersect(np.array([1.5, 5, 0], np.float32), down[None]))[0]
    corner = Solid(BOX, (0, 0, 0), (1, 1, 1), GREY, yaw=0.3).corners()
    assert np.abs(corner[:, 0]).max() == pytest.approx(np.cos(0.3) + np.sin(0.3), rel=1e-5)
