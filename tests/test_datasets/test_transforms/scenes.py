"""A rendered room on the disk, and normals worked out from its depth."""

import cv2
import numpy as np

from diff2in1_mm.datasets.rooms.render import render_room
from diff2in1_mm.datasets.rooms.scene import draw_scene
from diff2in1_mm.tasks.normals import encode_normals

SEED, SIZE = 5, (96, 128)


def write_scene(root, seed=SEED, size=SIZE):
    """Files of one room; gives its entry and the room."""
    room = render_room(seed, size)
    paths = {name: str(root / f'{name}.png') for name in ('image', 'depth', 'normals')}
    cv2.imwrite(paths['image'], room.image[..., ::-1])
    cv2.imwrite(paths['depth'], (room.depth * 1000).round().astype(np.uint16))
    cv2.imwrite(paths['normals'], encode_normals(room.normals)[..., ::-1])
    return dict(
        img_path=paths['image'], depth_map_path=paths['depth'], normal_map_path=paths['normals'], seg_fields=[]
    ), room


def normals_of_depth(depth, seed=SEED, size=SIZE):
    """Normals (H, W, 3) from finite differences of a depth map, and where these can be trusted."""
    height, width = depth.shape
    focal = draw_scene(seed).camera.focal * max(size)
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    points = np.stack(
        [(columns - (width - 1) / 2) * depth / focal, -(rows - (height - 1) / 2) * depth / focal, -depth], -1
    )
    right = points[1:-1, 2:] - points[1:-1, :-2]
    up = points[:-2, 1:-1] - points[2:, 1:-1]
    normals = np.cross(right, up)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-12
    # a plane's inverse depth is linear: elsewhere there is an edge, a curve or a hole
    inverse = np.where(depth > 0, 1 / np.maximum(depth, 1e-6), np.nan)
    bend = np.abs(inverse[1:-1, 2:] + inverse[1:-1, :-2] - 2 * inverse[1:-1, 1:-1]) + np.abs(
        inverse[2:, 1:-1] + inverse[:-2, 1:-1] - 2 * inverse[1:-1, 1:-1]
    )
    whole = np.zeros((height, width, 3))
    whole[1:-1, 1:-1] = normals
    flat = np.zeros((height, width), bool)
    flat[1:-1, 1:-1] = bend < 2e-3
    return whole, flat


def median_error(normals, depth):
    """Degrees between a map of normals and those of a depth map, where both can be trusted."""
    wanted, flat = normals_of_depth(depth.astype(np.float64))
    flat &= (normals != 0).any(-1)
    assert flat.mean() > 0.3
    cosine = (normals * wanted).sum(-1)[flat].clip(-1, 1)
    return np.degrees(np.median(np.arccos(cosine)))
