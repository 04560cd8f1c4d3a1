"""A room as a cheap simulator draws it: colours without textures, lamp and camera."""

from dataclasses import replace

import numpy as np

from .materials import Material
from .scene import Scene

__all__ = ['SHADINGS', 'without_shading']

#: How a room is drawn.
SHADINGS = ('full', 'flat')
_AMBIENT = 1.1  # lights a picture about as much as lamp and surroundings do


def without_shading(scene: Scene) -> Scene:
    """The scene in flat colours, without patterns, lamp, shadows, highlights and the camera's noise: labels stay.

    Args:
        scene (Scene): As it is drawn in full. A surface gets the mean of its pattern's two colours.
    """
    items = [
        replace(item, solids=[replace(s, material=_painted(s.material)) for s in item.solids]) for item in scene.items
    ]
    return replace(
        scene,
        wall=_painted(scene.wall),
        floor=_painted(scene.floor),
        ceiling=_painted(scene.ceiling),
        rug=None if scene.rug is None else (_painted(scene.rug[0]), scene.rug[1]),
        items=items,
        light_colour=np.zeros(3, np.float32),
        ambient=np.full(3, _AMBIENT, np.float32),
        noise=0.0,
    )


def _painted(material: Material) -> Material:
    colour = (material.colour + material.second) / 2
    return replace(material, colour=colour, second=colour, pattern='plain', gloss=0.0)
