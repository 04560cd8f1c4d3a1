"""Images with pictures of their label maps."""

import cv2
import numpy as np
import pytest
import torch

from diff2in1_mm.datasets.labelled_folder import LabelledImageFolder, colour_table

PALETTE = [[200, 0, 0], [0, 100, 0], [0, 0, 50]]


def write(root, name, labels, image=None):
    """An image whose red channel is 10 times its label map, and the map."""
    for folder in ('images', 'maps'):
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
    labels = np.asarray(labels, np.uint8)
    picture = np.zeros((*labels.shape, 3), np.uint8)
    picture[..., 2] = 10 * labels
    cv2.imwrite(str(root / f'images/{name}.png'), picture if image is None else image)
    cv2.imwrite(str(root / f'maps/{name}.png'), labels)


@pytest.fixture
def root(tmp_path):
    halves = np.repeat([[0, 1, 2, 255]], 4, 0)
    write(tmp_path, 'a/one', np.kron(halves, np.ones((4, 4))))
    write(tmp_path, 'two', np.kron(halves[:, ::-1], np.ones((4, 4))))
    return tmp_path


def folder(root, **options):
    return LabelledImageFolder(
        **{**dict(path='images', size=(16, 16), maps='maps', palette=PALETTE, data_root=str(root)), **options}
    )


def test_each_image_has_the_map_of_its_name_in_colours(root):
    data = folder(root)
    for i, order in enumerate(([0, 1, 2, 3], [3, 2, 1, 0])):
        colours = torch.tensor([*PALETTE, [0, 0, 0]])[order]
        assert torch.equal(data[i]['pictures'][:, 5, ::4].T, colours)
        assert torch.equal(data.picture(i), data[i]['pictures']) and data.shown(i)['images'].shape == (3, 16, 16)


def test_zoom_crop_and_mirroring_are_those_of_the_image(tmp_path):
    write(tmp_path, 'wide', np.kron([[0, 1, 2, 255]], np.ones((48, 12))))
    data = folder(tmp_path, size=(40, 40), crop=(24, 24), flip=0.5, scale=(1.0, 2.0))
    np.random.seed(0)
    known = {tuple(colour): 10 * label for label, colour in enumerate(PALETTE)}
    for _ in range(20):
        sample = data[0]
        seen = sample['pictures'].flatten(1).T.tolist()
        red = sample['inputs'][0].flatten().tolist()
        agree = [abs(known.get(tuple(colour), 10 * 255 % 256) - value) < 4 for colour, value in zip(seen, red)]
        assert np.mean(agree) > 0.7 and sample['pictures'].shape == (3, 24, 24)  # all but the borders


def test_names_of_other_ends_and_maps_that_begin_with_one(root):
    for path in sorted((root / 'images').rglob('*.png')):
        path.rename(path.with_name(path.stem + '_photo.png'))
    for path in sorted((root / 'maps').rglob('*.png')):
        path.rename(path.with_name(path.stem + '_ids.png'))
    data = folder(root, img_suffix='_photo.png', seg_map_suffix='_ids.png', reduce_zero_label=True)
    assert data.picture(0)[:, 0, ::4].T.tolist() == [[0, 0, 0], PALETTE[0], PALETTE[1], [0, 0, 0]]


def test_images_without_a_map_or_with_a_broken_one_are_left_out(root):
    cv2.imwrite(str(root / 'images/third.png'), np.zeros((16, 16, 3), np.uint8))
    (root / 'maps/two.png').write_bytes(b'broken')
    data = folder(root)
    assert len(data) == 2 and data[1]['index'] == 0 and data.skipped == [str(root / 'images/two.png')]
    assert data.shown(1) is None


@pytest.mark.parametrize(
    'options, sentence',
    [
        (dict(maps=None), 'set images.maps to the folder of their label maps'),
        (dict(maps='nowhere'), 'there is no folder of label maps'),
        (dict(maps='maps', seg_map_suffix='.tif'), "holds no label map of any image; .*one.png' would be .*tif'"),
        (dict(palette='NoDataset'), "'NoDataset' is unknown or has no palette"),
        (dict(palette=[[0, 0, 256]]), r'must be \[\[r, g, b\], ...\]'),
        (dict(palette=[1, 2, 3]), r'must be \[\[r, g, b\], ...\]'),
        (dict(palette=[[1, 2, 3], [4]]), r'images.palette = .* must be \[\[r, g, b\], ...\]'),
    ],
)
def test_bad_options_are_named(root, options, sentence):
    with pytest.raises((ValueError, OSError), match=sentence):
        folder(root, **options)


def test_a_map_of_another_size_is_named(root):
    cv2.imwrite(str(root / 'maps/two.png'), np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match='two.png has 8 x 8 pixels, but its image .* 16 x 16'):
        folder(root)[1]


@pytest.mark.parametrize(
    'labels, sentence',
    [
        (np.full((16, 16), 7), 'holds label 7, but images.palette has 3 colours'),
        (np.zeros((16, 16, 3)), r'is no label map \(shape \(16, 16, 3\)'),
        (np.full((16, 16), 300, np.uint16), 'is no label map .*up to 300'),
    ],
)
def test_maps_of_another_kind_are_named(root, labels, sentence):
    cv2.imwrite(str(root / 'maps/two.png'), labels if labels.dtype == np.uint16 else labels.astype(np.uint8))
    with pytest.raises(ValueError, match=f'two.png {sentence}'):
        folder(root)[1]


def test_labels_of_sixteen_bits_that_fit_eight_are_read(root):
    cv2.imwrite(str(root / 'maps/two.png'), np.full((16, 16), 2, np.uint16))
    assert torch.equal(folder(root)[1]['pictures'][:, 0, 0], torch.tensor(PALETTE[2]))


def test_maps_beside_their_images_are_no_images(tmp_path):
    for i in range(3):
        cv2.imwrite(str(tmp_path / f'{i}.jpg'), np.zeros((16, 16, 3), np.uint8))
        if i:
            cv2.imwrite(str(tmp_path / f'{i}.png'), np.full((16, 16), i, np.uint8))
    data = folder(tmp_path, path='.', maps='.')
    assert [file[-5:] for file in data.files] == ['1.jpg', '2.jpg']
    assert len(folder(tmp_path, path='.', maps='.', limit=1)) == 1


def test_images_that_would_share_a_map_are_named(root):
    for name in ('a', 'b'):
        write(root, f'{name}/same', np.zeros((16, 16)))
    write(root, 'same', np.zeros((16, 16)))
    with pytest.raises(ValueError, match='2 images have the label map .*same.png: give images.path a folder'):
        folder(root, path='images/*/*.png')


def test_a_registered_data_set_gives_its_colours(root):
    datasets = pytest.importorskip('mmseg.datasets')
    data = folder(root, palette='mmseg.ADE20KDataset')
    colours = datasets.ADE20KDataset.METAINFO['palette']
    assert data.colours[:150].tolist() == colours
    # whose files have 0 for what is no class
    assert data.picture(0)[:, 0, ::4].T.tolist() == [[0, 0, 0], *colours[:2], [0, 0, 0]]


def test_what_is_no_class_is_black():
    assert colour_table(PALETTE, '').tolist() == [*PALETTE, *[[0, 0, 0]] * 253]
