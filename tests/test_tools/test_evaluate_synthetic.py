"""tools/evaluate_synthetic.py: figures and sheet of a small store, and its sentences."""

import importlib.util
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from diff2in1_commands import program
from diff2in1_mm.store.records import SampleRecord
from diff2in1_mm.store.store import SyntheticStore

pytest.importorskip('torchmetrics')
SCRIPT = Path(__file__).resolve().parents[2] / 'tools' / 'evaluate_synthetic.py'
COUNT = 8


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('evaluate_synthetic', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def picture(seed, size=(32, 48)):
    """Blocks of colour, uint8 (H, W, 3)."""
    blocks = np.random.RandomState(seed).randint(0, 256, (4, 6, 3)).astype(np.uint8)
    return cv2.resize(blocks, size[::-1], interpolation=cv2.INTER_NEAREST)


@pytest.fixture
def folders(tmp_path):
    """A store whose samples are their sources with changed blocks, and real images."""
    real, sources = tmp_path / 'real', tmp_path / 'sources'
    for folder, first in ((real, 100), (sources, 0)):
        folder.mkdir()
        for i in range(COUNT):
            cv2.imwrite(str(folder / f'{i}.png'), picture(first + i))
    store = SyntheticStore.prepare(tmp_path / 'store', ['segmentation'], ['a'], 'f', {})
    for i in range(COUNT):
        image = picture(i)
        image[:16, :16] = 0
        add(store, i, image, str(sources / f'{i}.png'), T=400)
    return tmp_path / 'store', real


def add(store, source, image, path, T, copy=0):
    """A sample; at T = 0 it is an unlabelled picture as it is."""
    record = SampleRecord(
        id=store.sample_id(0, source, copy),
        round=0,
        source=source,
        source_path=path,
        copy=copy,
        seed=source,
        T=T,
        steps=10,
        solver='ddim',
        caption='',
        checkpoint='c',
    )
    store.add(record, image[..., ::-1], dict(segmentation=np.zeros((32, 48), np.uint8)))


def test_figures_and_sheet(tool, folders, pipeline_folder, capsys):
    store, real = folders
    tool.main([str(store), '--real', str(real), '--diffusion', pipeline_folder])
    found = json.loads((store / 'evaluation' / 'figures.json').read_text())['diffusion']
    assert 0 < found['diversity']['features'] and 0 < found['diversity']['pixels'] < 0.5
    for name in ('samples to real', 'one half of real to the other', 'jittered copies to real'):
        assert np.isfinite(found[name]['kid'])
    sheet = cv2.imread(str(store / 'evaluation' / 'samples.png'))
    assert sheet is not None and sheet.std() > 20
    told = capsys.readouterr().out
    assert 'diversity against the source' in told
    assert '* fewer than 50 images in a set: this KID says little' in told
    assert found['one half of real to the other']['images'] == COUNT // 2


def test_pictures_that_were_not_made_are_left_out(tool, folders, pipeline_folder, capsys):
    root, real = folders
    asked = ['--real', str(real), '--diffusion', pipeline_folder, '--out']
    store = SyntheticStore(root)
    tool.main([str(root), *asked, str(root / 'before')])
    for i in range(COUNT):
        add(store, i, picture(200 + i), str(real / f'{i}.png'), T=0, copy=99)
    tool.main([str(root), *asked, str(root / 'after')])
    before, after = ((root / name / 'figures.json').read_text() for name in ('before', 'after'))
    assert before == after
    pictures = SyntheticStore.prepare(root.parent / 'pictures', ['segmentation'], ['a'], 'f', {})
    add(pictures, 0, picture(200), str(real / '0.png'), T=0, copy=99)
    with pytest.raises(SystemExit):
        tool.main([str(pictures.root), *asked, str(root / 'none')])
    assert 'holds no samples that were made' in capsys.readouterr().err


def test_a_source_of_several_samples_counts_once(tool):
    class Network(torch.nn.Module):
        seen = 0

        def forward(self, images):
            Network.seen += len(images)
            return images.float().flatten(1)[:, ::97]

    def images(first, count):
        return [torch.from_numpy(picture(first + i)).permute(2, 0, 1) for i in range(count)]

    real, sources, samples = images(0, 8), images(20, 4), images(40, 8)
    found = tool.figures(Network(), real, samples, sources + sources)
    assert Network.seen == 8 + 8 + 4 + 4  # real, samples, sources, their jittered copies
    assert found['sources to real']['images'] == 4
    one = tool.figures(Network(), real, samples, sources[:1] * 8)
    assert 'sources to real' not in one and list(one['diversity']) == ['pixels']
    assert 'diversity against the source: ' in tool.table(one)


def test_the_kid_of_many_images_is_not_marked(tool):
    figures = dict(kid=0.1, kid_std=0.1, images=50, fid_needs=2049)
    result = {'samples to real': figures, 'diversity': dict(features=0.5, pixels=0.1)}
    assert '*' not in tool.table(result) and 'needs 2,049' in tool.table(result)
    assert '0.1000 *' in tool.table(dict(result, few=dict(figures, images=49))).replace('   needs 2,049', '')


def test_an_unreadable_image_is_named_and_left_out(tool, folders, pipeline_folder, capsys):
    store, real = folders
    cv2.imwrite(str(real / 'more.png'), picture(200))
    for path in (real / '2.png', *store.glob(f'images/*/{SyntheticStore.sample_id(0, 0, 0)}.png')):
        path.write_bytes(b'')
    (store.parent / 'sources' / '3.png').write_bytes(b'no image')
    tool.main([str(store), '--real', str(real), '--diffusion', pipeline_folder])
    told = capsys.readouterr().err
    assert '2.png cannot be read' in told and '3.png cannot be read' in told
    assert (store / 'evaluation' / 'figures.json').exists()


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(store='nowhere'), 'there is no store'),
        (dict(real='nowhere'), 'there is no folder of real images'),
        (dict(sources=True), 'is not there any more'),
        (dict(few='real'), '--real needs at least 8 images that can be read, and .* has 7'),
        (dict(few='store/images'), 'needs at least 4 samples that can be read, and has 3'),
        (dict(limit='7'), '--limit 7 must be at least 8'),
        (dict(few='real', left=0), 'real. holds no image .*: give another folder with --real'),
        (dict(out='/proc/nothing'), '--out /proc/nothing cannot be written'),
    ],
)
def test_bad_input(tool, folders, change, message, capsys):
    """Told before the diffusion model is loaded."""
    store, real = folders
    if 'few' in change:
        left = change.get('left', dict(real=7).get(change['few'], 3))
        for path in sorted((store.parent / change['few']).rglob('*.png'))[left:]:
            path.unlink()
    if change.get('sources'):
        (store.parent / 'sources' / '3.png').unlink()
    arguments = [
        change.get('store', str(store)),
        '--real',
        change.get('real', str(real)),
        '--diffusion',
        'nowhere',
        '--limit',
        change.get('limit', '2000'),
        '--out',
        change.get('out', str(store.parent / 'out')),
    ]
    with pytest.raises(SystemExit):
        tool.main(arguments)
    assert re.search(message, capsys.readouterr().err)


def test_a_diffusion_model_that_is_none_is_one_sentence(tool, folders, capsys):
    with pytest.raises(SystemExit) as stop:
        tool.main([str(folders[0]), '--real', str(folders[1]), '--diffusion', './nowhere'])
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"{program()}: './nowhere' is neither")


def test_a_bug_keeps_its_traceback(tool, folders, monkeypatch, pipeline_folder):
    monkeypatch.setattr(tool, 'figures', lambda *args, **options: float('a number'))
    with pytest.raises(ValueError, match='could not convert'):
        tool.main([str(folders[0]), '--real', str(folders[1]), '--diffusion', pipeline_folder])


def test_what_computes_the_distances_is_asked_for_first(tool, folders, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(SystemExit):
        tool.main([str(folders[0]), '--real', str(folders[1]), '--diffusion', 'nowhere'])
    assert 'pip install torchmetrics' in capsys.readouterr().err
