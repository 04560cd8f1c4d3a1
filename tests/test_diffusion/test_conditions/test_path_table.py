"""Which entry belongs to which image."""

import pytest

from diff2in1_mm.diffusion.conditions.path_table import PathTable

IMAGE = '/data/cat/0001.png'


@pytest.mark.parametrize(
    'names, expected',
    [
        (['0001'], '0001'),
        (['0001.png'], '0001.png'),
        (['0001.JPG'], '0001.JPG'),
        (['cat/0001.png', 'dog/0001.png'], 'cat/0001.png'),
        (['dog/0001.png'], None),
        (['at/0001.png'], None),
        (['00'], None),
        (['0001.5'], None),
        (['0001.png', 'cat/0001'], 'cat/0001'),  # more folders
        (['0001.jpg', '0001.png', '0001'], '0001.png'),  # its own suffix
        (['./cat//0001.png'], './cat//0001.png'),
        (['../cat/0001.png'], '../cat/0001.png'),
        (['/data/cat/0001.png'], '/data/cat/0001.png'),
        (['/home/cat/0001.png'], None),
    ],
)
def test_the_longest_end_of_the_path_counts(names, expected):
    assert PathTable('c', [(name, name) for name in names]).find(IMAGE) == expected


def test_a_dot_in_a_name_is_no_suffix():
    table = PathTable('c', {'frame_0.5': 'half', 'frame_0.25.png': 'a quarter'}.items())
    assert table.find('x/frame_0.5.png') == 'half'
    assert table.find('x/frame_0.25.jpg') == 'a quarter'
    assert table.find('x/frame_0.png') is None


def test_what_cannot_be_told_apart_is_named():
    table = PathTable(
        'c.json',
        [
            ('cat/1.png', 'a cat'),
            ('dog/1', 'a dog'),
            ('cat/2.png', 'the same'),
            ('dog/2.png', 'the same'),
            ('3.png', 'three'),
            ('3.png', '3'),
        ],
    )
    assert len(table) == 6
    with pytest.raises(
        ValueError,
        match="c.json says different things of '1.png' .under 'cat/1.png' and 'dog/1'.: .* names with the folders",
    ):
        table.find('1.png')
    with pytest.raises(ValueError, match='keep one of them'):
        table.find('a/3.png')
    assert table.find('2.png') == 'the same' and table.find('bird/1.png') is None
