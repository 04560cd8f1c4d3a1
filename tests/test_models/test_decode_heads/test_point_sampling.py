"""Which pixels a refinement is trained on."""

import pytest
import torch

from diff2in1_mm.models.decode_heads.normal_decoder import normalise
from diff2in1_mm.models.decode_heads.point_sampling import read_points, sample_points, to_coordinates
from tests.golden_values import Golden


@pytest.mark.parametrize('importance', [1.0, 0.7])
@pytest.mark.parametrize('masked', [True, False])
def test_it_equals_the_reference(golden, importance, masked):
    values = Golden(golden, 'sample_points')
    found = normalise(values.input('raw'))
    assert values.error('norm_normalize', found) < 1e-6
    mask = values.input('mask_noise') > -0.5 if masked else None
    points = sample_points(found[:, 3], mask, 0.4, importance)
    assert points.shape == (2, 307)
    important = points[:, : int(importance * 307)]
    name = f'beta{importance:g}.{"mask" if masked else "nomask"}'
    name += '' if importance == 1 else '.importance'
    # pixels without ground truth are equally (un)certain: among them any order is right
    height, width = found.shape[-2:]
    assert values.error(f'{name}.rows', important // width) == 0
    assert values.error(f'{name}.cols', important % width) == 0
    assert values.error(f'{name}.point_coords', to_coordinates(important, (height, width))) < 1e-6


def test_points_are_drawn_without_replacement():
    torch.manual_seed(0)
    points = sample_points(torch.rand(3, 20, 30), None, 0.5, 0.6)
    assert points.shape == (3, 300)
    assert all(len(set(row.tolist())) == 300 for row in points)
    torch.manual_seed(0)
    again = sample_points(torch.rand(3, 20, 30), None, 0.5, 0.6)
    torch.testing.assert_close(points, again)  # randomness is torch's alone


def test_values_are_read_where_the_points_are():
    maps = torch.arange(2 * 12.0).view(1, 2, 3, 4)
    points = torch.tensor([[0, 5, 11]])
    read = read_points(maps, to_coordinates(points, (3, 4)))
    torch.testing.assert_close(read, maps.flatten(2)[:, :, points[0]])


@pytest.mark.parametrize('mode', ['bilinear', 'nearest'])
def test_half_precision_maps_are_read_at_the_very_pixels(mode):
    """In bfloat16 the coordinates themselves would be a pixel off."""
    maps = torch.arange(512.0).remainder(256).expand(1, 1, 8, 512).bfloat16()  # exact in 8 bits
    points = torch.arange(8 * 512)[None]
    with torch.autocast('cpu', torch.bfloat16):
        read = read_points(maps, to_coordinates(points, (8, 512)), mode)
    assert read.dtype == torch.bfloat16 and torch.equal(read[0, 0], maps.flatten())
