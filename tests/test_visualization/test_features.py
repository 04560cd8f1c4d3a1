import torch

from diff2in1_mm.visualization.features import components


def test_components_follow_what_differs():
    feature = torch.zeros(4, 6, 6)
    feature[2, :, 3:] = 5
    picture = components(feature)
    assert picture.shape == (6, 6, 3) and abs(int(picture[0, 0, 0]) - int(picture[0, 5, 0])) == 255
