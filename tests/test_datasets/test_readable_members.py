"""A mixing wrapper that draws a broken image as one of its others goes on, and the file is named."""

from types import SimpleNamespace

import pytest
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope

from diff2in1_mm.datasets.readable import NoSample, ReadableView

pytest.importorskip('mmdet')

from ..detectors import CLASSES, make_coco  # noqa: E402
from .test_synthetic_mix_detection import PIPELINE, one_box, real_config, store_of  # noqa: E402


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')


@TRANSFORMS.register_module()
class JoinAll:
    """Asks for every other image, and for what MMEngine's data sets know."""

    def __init__(self, fails=False):
        self.fails = fails

    def get_indexes(self, dataset):
        assert dataset.metainfo['classes'] == CLASSES
        return list(range(len(dataset) + 1))  # MMDetection's Mosaic draws this too

    def __call__(self, results):
        if self.fails:
            raise FileNotFoundError('texture.png')
        results['mixed'] = [mixed['img_path'] for mixed in results.pop('mix_results')]
        return results


def mixing(coco, transforms, wrap=None, **options):
    inner = real_config('faster_rcnn', coco)
    inner.pipeline = PIPELINE[:2]
    inner = dict(type='RepeatDataset', times=1, dataset=inner) if wrap == 'inside' else inner
    dataset = dict(
        type='MultiImageMixDataset',
        dataset=inner,
        pipeline=[*transforms, dict(type='PackDetInputs', meta_keys=('img_path', 'mixed'))],
    )
    if wrap == 'around':
        dataset = dict(type='ConcatDataset', datasets=[dataset])
    return DATASETS.build(dict(type='SyntheticMixDataset', dataset=dataset, **options))


def break_file(path, how):
    path.unlink() if how == 'missing' else path.write_bytes(b'not an image')


@pytest.mark.parametrize('how', ['missing', 'no image'])
@pytest.mark.parametrize('wrap', ['inside', 'around', None])
def test_real(tmp_path, logged, how, wrap):
    coco = make_coco(tmp_path / 'set')
    mix = mixing(coco, [dict(type='JoinAll')], wrap, ratio=0)
    break_file(coco / '2.png', how)
    samples = [mix[i]['data_samples'] for i in range(4)]
    assert [s.img_path[-5:] for s in samples] == ['0.png', '1.png', '3.png', '3.png']
    assert {tuple(path[-5:] for path in s.mixed) for s in samples} == {('0.png', '1.png', '3.png', '3.png', '0.png')}
    named = [message for message in logged if 'cannot be read' in message]
    assert len(named) == 1 and 'set/2.png' in named[0] and mix.unreadable == 1


@pytest.mark.parametrize('how', ['missing', 'no image'])
def test_mosaic(tmp_path, how):
    coco = make_coco(tmp_path / 'set')
    mix = mixing(coco, [dict(type='Mosaic', img_scale=(64, 64)), dict(type='MixUp', img_scale=(64, 64))], ratio=0)
    break_file(coco / '2.png', how)
    for index in range(40):
        mix[index % 4]
    assert mix.unreadable == 1


def test_synthetic(tmp_path, logged):
    """The result is the sample of its first image, also where another took the place of one."""
    coco = make_coco(tmp_path / 'set')
    store = store_of(tmp_path / 's', 'instances', CLASSES, one_box(), sources=range(4))
    mix = mixing(coco, [dict(type='Mosaic', img_scale=(64, 64))], store=str(store.root))
    mix.serve(0)
    mix[5]
    broken = store.image_path(store.records(0)[2])
    size = len(open(broken, 'rb').read())
    open(broken, 'wb').write(b'x' * size)  # damaged after it was opened
    for _ in range(5):
        samples = [mix[i]['data_samples'] for i in range(4, 8)]
        ids = [store.records(0)[k].id for k in (0, 1, 3, 3)]
        assert sorted(s.sample_id for s in samples) == sorted(ids)
        assert all(
            s.img_path == store.image_path(next(r for r in store.records(0) if r.id == s.sample_id)) for s in samples
        )
    assert [str(broken) in m for m in logged if 'cannot be read' in m] == [True]


def test_the_transforms_own_faults_are_raised(tmp_path):
    mix = mixing(make_coco(tmp_path / 'set'), [dict(type='JoinAll', fails=True)])
    with pytest.raises(FileNotFoundError, match='texture'):
        mix[0]
    assert mix.unreadable == 0


def test_nothing_readable(tmp_path):
    coco = make_coco(tmp_path / 'set')
    mix = mixing(coco, [dict(type='JoinAll')])
    for index in range(4):
        (coco / f'{index}.png').unlink()
    with pytest.raises(RuntimeError, match='none of 4 real samples.*the last file: .*3.png'):
        mix[0]


def view(samples, **options):
    def load(index):
        if isinstance(samples[index], str):
            raise NoSample(samples[index])
        return samples[index]

    return ReadableView('real', load, len(samples), **options)


def test_view():
    there = view([dict(a=1), None, 'b.png', dict(a=2)])
    assert len(there) == 4 and there.read(1) == (3, dict(a=2)) and there[4] == dict(a=1)
    for first in (1, 2):
        with pytest.raises(NoSample):
            view([dict(a=1), None, 'b.png'], first=first)[first]
    assert view([dict(a=1), None], first=0)[1] == dict(a=1)
    with pytest.raises(RuntimeError, match='none of 2 real samples in a row came out'):
        view([None, None])[0]
    with pytest.raises(RuntimeError, match='the last file: b.png'):
        view(['a.png', 'b.png'])[0]
    assert view([], dataset=SimpleNamespace(metainfo=3)).metainfo == 3
    with pytest.raises(AttributeError, match='no attribute'):
        view([]).metainfo
