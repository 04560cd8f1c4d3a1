"""What a picture of a room shows, in words."""

import numpy as np

from .scene import Scene

MOST_NAMED = 3  # objects in a caption: the largest ones
_SMALLEST = 0.004  # share of the picture below which an object is not named


def describe(scene: Scene, instances: np.ndarray) -> str:
    """A caption such as 'a room with a wooden floor, a red ball beside a blue cupboard'.

    Args:
        scene (Scene): What was rendered.
        instances (ndarray): Object numbers, int (H, W).

    Returns:
        str: Lower case, without a full stop.
    """
    numbers, areas = np.unique(instances[instances > 0], return_counts=True)
    large = areas >= _SMALLEST * instances.size
    order = np.argsort(-areas[large], kind='stable')[:MOST_NAMED]
    named = [scene.items[n - 1] for n in numbers[large][order]]
    text = f'a room with a {scene.floor_name} floor and {scene.wall_name} walls'
    return ', '.join([text, *_phrases(named)])


def _phrases(items: list) -> list[str]:
    """Neighbours are named together, the smaller one first."""
    words = [f'{_article(item.colour)} {item.colour} {item.kind}' for item in items]
    for i, big in enumerate(items):
        for j in range(i + 1, len(items)):
            gap = np.hypot(*np.subtract(big.position, items[j].position))
            if 'window' not in (big.kind, items[j].kind) and gap < big.radius + 1.0:
                pair = f'{words[j]} beside {words[i]}'
                return [pair, *(w for k, w in enumerate(words) if k not in (i, j))]
    return list(dict.fromkeys(words))  # two white windows are named once


def _article(word: str) -> str:
    return 'an' if word[0] in 'aeiou' else 'a'
