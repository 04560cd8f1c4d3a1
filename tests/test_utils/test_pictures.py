"""Contact sheets: colours in the right place and order, whole files only."""

import numpy as np
import pytest
from PIL import Image

from diff2in1_mm.utils.pictures import contact_sheet, label_colours, overlay, with_legend, write_picture


def test_palette_of_the_data_set_or_distinct_colours():
    palette = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert label_colours(2, palette).tolist() == palette[:2]
    made = label_colours(150, palette)
    assert made.shape == (150, 3) and made.dtype == np.uint8
    assert len(np.unique(made, axis=0)) > 140
    assert label_colours(0).shape == (0, 3)


def test_overlay_paints_classes_and_blackens_the_ignored():
    image = np.full((2, 2, 3), 200, np.uint8)
    labels = np.array([[0, 1], [255, -100]])
    painted = overlay(image, labels, np.array([[255, 0, 0], [0, 0, 255]], np.uint8), opacity=0.5)
    assert painted[0, 0].tolist() == [228, 100, 100] and painted[0, 1].tolist() == [100, 100, 228]
    assert painted[1].tolist() == [[100] * 3] * 2


def test_rows_of_pictures_of_any_size():
    red, green = np.zeros((10, 20, 3), np.uint8), np.zeros((300, 100, 3), np.uint8)
    red[..., 0], green[..., 1] = 255, 255
    sheet = contact_sheet([[red, green], [green]], titles=['first ü 中'], height=50)
    assert sheet.shape[0] == 14 + 2 * 54 and sheet.shape[1] == 100 + 4 + 17 + 4
    assert sheet[30, 50].tolist() == [255, 0, 0] and sheet[30, 110].tolist() == [0, 255, 0]
    assert sheet[80, 5].tolist() == [0, 255, 0] and sheet[80, 100].tolist() == [255] * 3


def test_a_legend_stands_below_and_takes_the_lines_that_it_needs():
    picture = np.full((10, 100, 3), 7, np.uint8)
    colours = label_colours(6)
    few, many = (with_legend(picture, ['wall', 'sky', 'lamp', 'ü', '中', 'sofa'][:n], colours[:n]) for n in (1, 6))
    for made in (few, many):
        assert made.shape[1:] == (100, 3) and (made[:10] == 7).all()
    assert len(few) == 10 + 4 + 14 + 4 < len(many)
    shown = {tuple(colour) for colour in many[10:].reshape(-1, 3).tolist()}
    assert shown > {tuple(colour) for colour in colours.tolist()}
    assert with_legend(picture, [], colours[:0]) is picture


def test_written_wholly_or_not_at_all(tmp_path, monkeypatch):
    picture = np.random.default_rng(0).integers(0, 256, (8, 9, 3)).astype(np.uint8)
    path = tmp_path / 'new' / 'sheet.png'
    write_picture(path, picture)
    assert np.array_equal(np.asarray(Image.open(path)), picture)

    def full(descriptor):
        raise OSError('no space')

    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(OSError, match='no space'):
        write_picture(path, picture * 0)
    assert np.array_equal(np.asarray(Image.open(path)), picture)
    assert [p.name for p in path.parent.iterdir()] == ['sheet.png']
