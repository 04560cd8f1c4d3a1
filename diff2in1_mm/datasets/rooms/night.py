"""A room by night: the same things in another light, for what happens when the light of a data set shifts."""

import colorsys
from dataclasses import replace

import numpy as np

from .scene import Scene

__all__ = ['HOURS', 'at_night', 'lit_at']

#: Of what a room may look like.
HOURS = ('day', 'night')
_NOISE = 0.045  # of the camera, which amplifies what little light there is
_SEEN_OUTSIDE = 0.04  # of the light of windows


def at_night(scene: Scene, seed: int) -> Scene:
    """The scene with one coloured lamp, little light from elsewhere, dark windows and more noise of the camera.

    Args:
        scene (Scene): By day.
        seed (int): Draws the lamp's colour and strength, and nothing else: labels stay those of the day.
    """
    rng = np.random.RandomState((seed + 40009) % 2**32)
    colour = np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.35, 0.8), 1.0))
    strength = scene.light_colour.mean() * rng.uniform(0.1, 0.3)
    items = []
    for item in scene.items:
        if item.kind == 'window':
            solids = [
                replace(s, material=replace(s.material, glow=s.material.glow * _SEEN_OUTSIDE)) for s in item.solids
            ]
            item = replace(item, solids=solids)
        items.append(item)
    return replace(
        scene,
        items=items,
        light_colour=(strength * colour / colour.mean()).astype(np.float32),
        ambient=(scene.ambient * rng.uniform(0.08, 0.2) * np.array([0.8, 0.9, 1.3])).astype(np.float32),
        noise=_NOISE,
    )


def lit_at(hour: str, scene: Scene, seed: int) -> Scene:
    """The scene at an hour of :data:`HOURS`."""
    return at_night(scene, seed) if hour == 'night' else scene
