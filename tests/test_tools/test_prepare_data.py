"""tools/prepare_data.py: published copies, as small as can be, in the layout of our data sets."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / 'tools' / 'prepare_data.py'
XML = """<annotation><filename>b.jpg</filename><size><width>9</width></size>{objects}</annotation>"""
OBJECT = """<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>
<ymax>{}</ymax></bndbox></object>"""


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('prepare_data', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def segnet(tmp_path):
    """Two photographs in each split, labelled with all of 0 to 11."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for folder in (split, f'{split}annot'):
            (tmp_path / 'CamVid' / folder).mkdir(parents=True)
        for name in ('0001TP_1', '0001TP_2'):
            Image.fromarray(rng.integers(0, 255, (24, 36, 3), np.uint8)).save(
                tmp_path / 'CamVid' / split / f'{name}.png'
            )
            Image.fromarray((np.arange(24 * 36).reshape(24, 36) % 12).astype(np.uint8)).save(
                tmp_path / 'CamVid' / f'{split}annot' / f'{name}.png'
            )
    return tmp_path / 'CamVid'


@pytest.fixture
def voc(tmp_path):
    """Three images, of which one has a box without an area."""
    root = tmp_path / 'BCCD'
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    (root / 'ImageSets/Main/train.txt').write_text('b0\nb1\n')
    (root / 'ImageSets/Main/val.txt').write_text('b2\n')
    objects = [[('WBC', 3, 4, 13, 24)], [('RBC', 1, 1, 5, 5), ('RBC', 7, 7, 7, 9)], []]
    for i, boxes in enumerate(objects):
        Image.new('RGB', (64, 48), (i, 0, 0)).save(root / 'JPEGImages' / f'b{i}.jpg')
        (root / 'Annotations' / f'b{i}.xml').write_text(
            XML.format(objects=''.join(OBJECT.format(*box) for box in boxes))
        )
    return root


def test_camvid(tool, segnet, tmp_path, capsys):
    pytest.importorskip('mmseg')
    from diff2in1_mm.datasets.camvid import CamVidDataset

    out = tmp_path / 'data' / 'camvid'
    tool.main(['camvid', str(segnet), str(out)])
    assert f'{out} holds 2 train and 2 val images.' in capsys.readouterr().out
    dataset = CamVidDataset(
        data_root=str(out), pipeline=[], data_prefix=dict(img_path='images/val', seg_map_path='annotations/val')
    )
    assert len(dataset) == 2
    info = dataset.get_data_info(1)
    labels = np.array(Image.open(info['seg_map_path']))
    wanted = np.arange(24 * 36).reshape(24, 36) % 12
    assert (labels == np.where(wanted == 11, 255, wanted)).all()
    assert Image.open(info['img_path']).size == (36, 24)
    assert sorted(path.name for path in out.parent.iterdir()) == ['camvid']


def test_bccd(tool, voc, tmp_path, capsys):
    pytest.importorskip('mmdet')
    from diff2in1_mm.datasets.bccd import BCCDDataset

    out = tmp_path / 'bccd'
    tool.main(['bccd', str(voc), str(out)])
    assert 'holds 2 train and 1 val images' in capsys.readouterr().out
    found = {split: json.loads((out / f'annotations/{split}.json').read_text()) for split in ('train', 'val')}
    assert found['train']['images'][1] == dict(id=1, file_name='b1.jpg', width=64, height=48)
    assert [a['bbox'] for a in found['train']['annotations']] == [[3, 4, 10, 20], [1, 1, 4, 4]]
    assert not found['val']['annotations']
    dataset = BCCDDataset(
        data_root=str(out), ann_file='annotations/train.json', data_prefix=dict(img='images/'), pipeline=[]
    )
    first = dataset.get_data_info(0)['instances'][0]
    assert first['bbox_label'] == 1 and first['bbox'] == [3, 4, 13, 24]


def refused(tool, capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        tool.main([str(argument) for argument in arguments])
    said = str(stopped.value.code) + capsys.readouterr().err
    assert 'Traceback' not in said
    return said


def test_what_is_not_as_published(tool, segnet, voc, tmp_path, capsys):
    out = tmp_path / 'out'
    assert 'there is no folder' in refused(tool, capsys, 'camvid', tmp_path / 'none', out)
    assert 'has no train/*.png' in refused(tool, capsys, 'camvid', voc, out)
    assert 'has no ImageSets/Main/train.txt' in refused(tool, capsys, 'bccd', segnet, out)
    coloured = segnet / 'valannot/0001TP_2.png'
    Image.open(coloured).convert('RGB').save(coloured)
    assert '0001TP_2.png is no map of the class indices' in refused(tool, capsys, 'camvid', segnet, out)
    coloured.unlink()
    assert '0001TP_2.png cannot be read' in refused(tool, capsys, 'camvid', segnet, out)
    (voc / 'Annotations/b2.xml').write_text(XML.format(objects=OBJECT.format('cat', 1, 1, 2, 2)))
    assert "b2.xml has a box of 'cat'" in refused(tool, capsys, 'bccd', voc, out)
    (voc / 'Annotations/b2.xml').write_text('<annotation>')
    assert 'b2.xml cannot be read' in refused(tool, capsys, 'bccd', voc, out)
    (voc / 'JPEGImages/b1.jpg').write_bytes(b'')
    assert 'b1.jpg cannot be read' in refused(tool, capsys, 'bccd', voc, out)
    assert not out.exists() and not list(tmp_path.glob('.prepare-*'))
    out.mkdir()
    assert 'is there already' in refused(tool, capsys, 'bccd', voc, out)
