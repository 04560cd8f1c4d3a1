"""The mix: what is served when, through which pipeline, in which process."""

import copy
import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader, Subset

from diff2in1_mm.datasets.synthetic_mix import SyntheticMixDataset
from diff2in1_mm.datasets.wrappers import distinct_sources, resolve
from diff2in1_mm.preflight.label_maps import check_labels
from diff2in1_mm.store.store import StoreMismatch
from diff2in1_mm.tasks.label_values import to_raw_labels

from .. import processes
from .folders import CLASSES, LOADING, add_samples, base_config, grey, label, make_folder, open_store

mmseg_datasets = pytest.importorskip('mmseg.datasets')


def make_mix(tmp_path, number=4, dataset=None, **options):
    real = dataset or base_config(make_folder(tmp_path / 'real', number))
    return DATASETS.build(dict(type='SyntheticMixDataset', dataset=real, store=str(tmp_path / 'store'), **options))


def state(sample):
    meta = sample['data_samples'].metainfo
    return grey(sample), meta['synthetic'], meta['sample_id']


def test_real_only_until_served(tmp_path):
    mix = make_mix(tmp_path, ratio=1.5)
    assert len(mix) == 10 and mix.serving is None
    # two slots are too few for four samples: they take some of the whole data set
    assert [state(mix[i]) for i in range(10)] == [(i, False, '') for i in (0, 1, 2, 3, 0, 1, 2, 3, 0, 2)]
    ids = add_samples(open_store(tmp_path / 'store'), range(4))
    assert [grey(mix[i]) for i in range(4, 10)] == [0, 1, 2, 3, 0, 2]  # the stage decides
    mix.serve(0)
    assert mix.serving == 0 and len(mix) == 10
    assert [state(mix[i]) for i in range(4)] == [(i, False, '') for i in range(4)]
    assert [state(mix[4 + i]) for i in range(6)] == [(100 + i % 4, True, ids[i % 4]) for i in range(6)]
    assert label(mix[0]) == 0 and label(mix[4]) == 1
    mix.serve(None)
    assert [grey(mix[i]) for i in range(4, 8)] == [0, 1, 2, 3]


def test_every_sample_gets_its_turn(tmp_path):
    mix = make_mix(tmp_path, ratio=0.5)  # 2 slots
    store = open_store(tmp_path / 'store')
    ids = sorted(add_samples(store, range(4)) + add_samples(store, [0], copy=1))
    mix.serve(0)
    visits = [[mix[4 + slot]['data_samples'].sample_id for slot in range(2)] for _ in range(5)]
    assert visits == [[ids[(slot + 2 * v) % 5] for slot in range(2)] for v in range(5)]
    assert {id for visit in visits for id in visit} == set(ids)


@pytest.mark.parametrize('rank', [1, 3])
def test_a_process_begins_with_a_sample_of_its_own(tmp_path, monkeypatch, rank):
    ids = sorted(i for copy in range(4) for i in add_samples(open_store(tmp_path / 'store'), range(2), copy=copy))
    monkeypatch.setattr('diff2in1_mm.datasets.synthetic_mix.get_rank', lambda: rank)
    mix = make_mix(tmp_path, number=2)
    mix.serve(0)
    seen = [mix[2]['data_samples'].sample_id for _ in range(4)]
    assert seen == [ids[2 * (v + rank) % 8] for v in range(4)]


def test_a_store_that_is_there_is_served_from_the_start(tmp_path):
    with pytest.raises(FileNotFoundError, match='store'):
        make_mix(tmp_path, round=0)
    ids = add_samples(open_store(tmp_path / 'store'), range(4))
    mix = make_mix(tmp_path, round=0)
    assert mix.serving == 0
    loader = DataLoader(mix, batch_size=8, collate_fn=pseudo_collate, num_workers=1)
    (batch,) = loader
    assert [sample.sample_id for sample in batch['data_samples']] == [''] * 4 + ids


def test_rounds(tmp_path):
    mix = make_mix(tmp_path)
    store = open_store(tmp_path / 'store')
    add_samples(store, range(4), round=0)
    mix.serve(0)
    add_samples(store, [1], round=1)
    assert grey(mix[4]) == 100
    mix.serve(1)
    store.prune(keep_round=1)
    assert [grey(mix[i]) for i in range(4, 8)] == [151] * 4


@pytest.mark.parametrize('ratio, length', [(0, 3), (0.5, 5), (0.1, 3), (2, 9)])
def test_length(tmp_path, ratio, length):
    mix = make_mix(tmp_path, number=3, ratio=ratio)
    assert len(mix) == length
    assert len(list(DefaultSampler(mix, shuffle=False))) == length
    with pytest.raises(IndexError):
        mix[length]
    assert grey(mix[-length]) == 0


@pytest.mark.parametrize('ratio', [-1, float('nan'), 'half', True, None])
def test_bad_ratio(tmp_path, ratio):
    with pytest.raises(ValueError, match='number >= 0'):
        make_mix(tmp_path, ratio=ratio)


def test_like_mmengines_wrappers(tmp_path):
    real = base_config(make_folder(tmp_path / 'real', 4))
    mix = make_mix(tmp_path, dataset=real, lazy_init=True)
    assert not mix._fully_initialized
    assert mix.metainfo['classes'] == CLASSES and mix.metainfo is not mix.metainfo
    assert len(mix) == 8 and mix._fully_initialized
    assert mix.get_data_info(5)['img_path'] == mix.source_info(1)['img_path']
    assert mix.source_info(1)['seg_map_path'].endswith('annotations/01.png')
    with pytest.raises(NotImplementedError):
        mix.get_subset([0])
    with pytest.raises(IndexError):
        mix.source_info(4)
    built = SyntheticMixDataset(DATASETS.build(real), str(tmp_path / 'store'))
    assert len(built) == 8 and built.real is built.dataset
    with pytest.raises(TypeError, match='should be a config'):
        SyntheticMixDataset([1, 2], 'store')


def test_copies(tmp_path):
    """MMEngine copies data loader configs: a copy works on its own."""
    mix = make_mix(tmp_path)
    add_samples(open_store(tmp_path / 'store'), range(4))
    copied = copy.deepcopy(mix)
    copied.serve(0)
    assert grey(copied[4]) == 100 and grey(mix[4]) == 0
    assert copied._round.tensor.is_shared()
    assert len(pickle.loads(pickle.dumps(mix))) == 8


def test_serve_says_what_is_wrong(tmp_path):
    mix = make_mix(tmp_path)
    with pytest.raises(FileNotFoundError, match='create_data'):
        mix.serve(0)
    store = open_store(tmp_path / 'store')
    with pytest.raises(ValueError, match='no samples of round 0'):
        mix.serve(0)
    add_samples(store, [9])
    with pytest.raises(ValueError, match='at least 10 images.*has 4'):
        mix.serve(0)
    with pytest.raises(ValueError, match='count from 0'):
        mix.serve(-1)
    other = make_mix(tmp_path, dataset=base_config(tmp_path / 'real', metainfo=dict(classes=('a', 'b'))))
    with pytest.raises(StoreMismatch, match="'road'.*'a'"):
        other.serve(0)
    with pytest.raises(ValueError, match='give `store=`'):
        SyntheticMixDataset(mix.real).serve(0)
    assert mix.serving is None and grey(mix[4]) == 0


@DATASETS.register_module()
class RawLabelsDataset(mmseg_datasets.BaseSegDataset):
    """Four classes of which a config may take a part."""

    METAINFO = dict(classes=('void', 'road', 'sky', 'tree'), palette=[[0] * 3] * 4)


@pytest.mark.parametrize(
    'options, classes',
    [
        (dict(metainfo=None, reduce_zero_label=True), ('void', 'road', 'sky', 'tree')),
        (dict(metainfo=dict(classes=('tree', 'road'))), ('tree', 'road')),
        (dict(metainfo=dict(classes=('tree', 'road')), reduce_zero_label=True), ('tree', 'road')),
    ],
)
def test_labels_round_trip(tmp_path, options, classes):
    """Labels in training indices, stored raw, are read back through the data set's own loading."""
    root = make_folder(tmp_path / 'real', 2)
    mix = make_mix(tmp_path, dataset={**base_config(root), 'type': 'RawLabelsDataset', **options})
    info = mix.source_info(1)
    labels = np.full((6, 8), 255)
    labels[:2], labels[2:4] = 0, len(classes) - 1
    raw = to_raw_labels(labels, info['reduce_zero_label'], info['label_map'])
    add_samples(open_store(tmp_path / 'store', classes), [1], labels=raw)
    mix.serve(0)
    loaded = mix[2]['data_samples'].gt_sem_seg.data[0].numpy()
    np.testing.assert_array_equal(loaded, labels)


def test_through_wrappers(tmp_path):
    """Each member of a ConcatDataset has its own pipeline; repeats lead back to the image."""
    first = base_config(make_folder(tmp_path / 'a', 2))
    second = base_config(
        make_folder(tmp_path / 'b', 3, offset=50),
        pipeline=LOADING + [dict(type='Resize', scale=(16, 12)), dict(type='mmseg.PackSegInputs')],
    )
    mix = make_mix(
        tmp_path,
        dataset=dict(
            type='ConcatDataset', ignore_keys=[], datasets=[first, dict(type='RepeatDataset', times=2, dataset=second)]
        ),
    )
    assert len(mix.real) == 8
    assert [grey(mix[i]) for i in range(8)] == [0, 1, 50, 51, 52, 50, 51, 52]
    assert mix.source_info(7)['img_path'].endswith('b/images/02.png')
    add_samples(open_store(tmp_path / 'store'), [1, 7])
    mix.serve(0)
    assert [grey(mix[8 + i]) for i in range(2)] == [101, 107]
    assert [tuple(mix[8 + i]['inputs'].shape[1:]) for i in range(2)] == [(6, 8), (12, 16)]


def test_torch_subset_and_unknown_wrapper(tmp_path):
    real = DATASETS.build(base_config(make_folder(tmp_path / 'real', 4)))
    assert resolve(Subset(real, [3, 1]), 1).place == 1
    repeated = DATASETS.build(dict(type='RepeatDataset', times=3, dataset=real))
    assert distinct_sources(repeated) == [0, 1, 2, 3]
    assert distinct_sources(SyntheticMixDataset(repeated)) == [0, 1, 2, 3]
    with pytest.raises(TypeError, match='list cannot be mixed'):
        resolve([1], 0)


def test_mosaic_keeps_kinds_apart(tmp_path):
    real = dict(
        type='mmseg.MultiImageMixDataset',
        dataset=dict(type='ConcatDataset', datasets=[base_config(make_folder(tmp_path / 'real', 4), pipeline=LOADING)]),
        pipeline=[dict(type='mmseg.RandomMosaic', prob=1.0, img_scale=(6, 8)), dict(type='mmseg.PackSegInputs')],
    )
    mix = make_mix(tmp_path, dataset=real)
    ids = add_samples(open_store(tmp_path / 'store'), range(4))
    mix.serve(0)
    for _ in range(10):
        sample = mix[5]
        values = set(sample['inputs'].unique().tolist()) - {0, 114}  # mosaic pads with these
        assert sample['inputs'].shape[1:] == (12, 16)
        assert values and values <= {100, 101, 102, 103}
        assert set(sample['data_samples'].gt_sem_seg.data.unique().tolist()) <= {1, 255}
    assert sample['data_samples'].sample_id in ids
    mix.update_skip_type_keys(['mmseg.RandomMosaic'])
    assert mix[5]['inputs'].shape[1:] == (6, 8)


def test_over_a_detection_data_set(tmp_path):
    pytest.importorskip('mmdet')
    from ..detectors import CLASSES, make_coco

    mix = SyntheticMixDataset(
        dict(
            type='mmdet.CocoDataset',
            data_root=str(make_coco(tmp_path / 'shapes')),
            ann_file='instances.json',
            data_prefix=dict(img=''),
            metainfo=dict(classes=CLASSES),
            indices=4,
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='mmdet.LoadAnnotations', with_bbox=True),
                dict(type='mmdet.PackDetInputs'),
            ],
        ),
        ratio=0.5,
    )
    assert len(mix) == 6 and mix.get_cat_ids(4) == mix.get_cat_ids(0)
    sample = mix[4]['data_samples']
    assert not sample.synthetic and len(sample.gt_instances) == len(mix.get_cat_ids(0))
    assert check_labels(mix) == 0


def test_pipeline_can_be_switched(tmp_path):
    mix = make_mix(tmp_path)
    mix.pipeline = mix.pipeline
    assert mix.pipeline is mix.real.pipeline


def break_file(path):
    path.write_bytes(b'not an image')


@pytest.mark.parametrize('folder', ['images', 'annotations'])
def test_unreadable_files(tmp_path, folder, logged):
    mix = make_mix(tmp_path)
    ids = add_samples(open_store(tmp_path / 'store'), range(4))
    break_file(tmp_path / f'real/{folder}/01.png')
    (stored,) = (tmp_path / 'store' / folder).rglob(f'{ids[2]}.png')
    mix.serve(0)
    mix[6]
    stored.write_bytes(b'x' * stored.stat().st_size)  # damaged after it was opened
    greys = [[grey(mix[i]) for i in range(8)] for _ in range(2)]
    assert [g[:4] for g in greys] == [[0, 2, 2, 3]] * 2
    assert all(102 not in g for g in greys)
    named = [m for m in logged if 'cannot be read' in m]
    assert len(named) == 2 and '01.png' in named[0] and ids[2] in named[1]
    assert mix.unreadable == 2


def test_nothing_readable(tmp_path):
    mix = make_mix(tmp_path)
    for i in range(4):
        (tmp_path / f'real/images/0{i}.png').unlink()
    with pytest.raises(RuntimeError, match='none of 4 real samples.*check the files'):
        mix[0]


@DATASETS.register_module()
class FilteringDataset(mmseg_datasets.BaseSegDataset):
    """Its pipeline gives None for dark images, as MMDetection's filters do."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        inner, threshold = self.pipeline, 101
        self.pipeline = lambda info: (lambda r: None if 100 <= grey(r) < threshold else r)(inner(info))


def test_filtered_by_the_pipeline(tmp_path):
    root = make_folder(tmp_path / 'real', 4)
    mix = make_mix(tmp_path, dataset={**base_config(root), 'type': 'FilteringDataset'})
    add_samples(open_store(tmp_path / 'store'), range(4))
    mix.serve(0)
    assert [grey(mix[i]) for i in range(4, 8)] == [101, 101, 102, 103]


def test_bugs_are_not_called_unreadable(tmp_path):
    real = base_config(
        make_folder(tmp_path / 'real', 2),
        pipeline=[
            dict(type='mmseg.LoadAnnotations'),
            dict(type='RandomFlip', prob=1.0),
            dict(type='mmseg.PackSegInputs'),
        ],
    )
    with pytest.raises(KeyError):
        make_mix(tmp_path, dataset=real)[0]


def test_pipeline_without_data_samples(tmp_path):
    real = base_config(make_folder(tmp_path / 'real', 2), pipeline=LOADING)
    with pytest.raises(TypeError, match='PackSegInputs'):
        make_mix(tmp_path, dataset=real)[0]


def test_bad_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match='real does not exist.*data_root'):
        make_mix(tmp_path, dataset=base_config(tmp_path / 'real'))
    (tmp_path / 'real/images').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match='holds no .png: fill it'):
        make_mix(tmp_path, dataset=base_config(tmp_path / 'real'))
    for name in ('a.JPG', 'b.JPG', 'notes.txt', 'README'):
        (tmp_path / 'real/images' / name).touch()
    with pytest.raises(FileNotFoundError, match='holds no .png, but files that end in .JPG: .*img_suffix'):
        make_mix(tmp_path, dataset=base_config(tmp_path / 'real'))


def collate(batch):
    return pseudo_collate(batch)


@pytest.mark.parametrize('method', ['fork', processes.context])
def test_persistent_workers_follow(tmp_path, method):
    """The same worker processes serve real samples, round 0 and round 1."""
    mix = SyntheticMixDataset(base_config(make_folder(tmp_path / 'real', 4)))
    loader = DataLoader(
        mix, batch_size=4, num_workers=2, persistent_workers=True, collate_fn=collate, multiprocessing_context=method
    )

    def epoch():
        batches = list(loader)
        return [grey(dict(inputs=i)) for batch in batches for i in batch['inputs']]

    assert epoch() == [0, 1, 2, 3] * 2
    workers = [worker.pid for worker in loader._iterator._workers]
    mix.store_root = tmp_path / 'store'  # named only now: the workers learn of it too
    store = open_store(tmp_path / 'store')
    add_samples(store, range(4), round=0)
    add_samples(store, range(4), round=0, copy=1)
    mix.serve(0)
    # Eight samples in four slots: the visits are counted over both workers.
    shown = [epoch(), epoch()]
    assert [e[:4] for e in shown] == [[0, 1, 2, 3]] * 2
    assert sorted(shown[0][4:] + shown[1][4:]) == [100, 101, 102, 103, 110, 111, 112, 113]
    add_samples(store, range(4), round=1)
    mix.serve(1)
    store.prune(keep_round=1)
    assert epoch() == [0, 1, 2, 3, 150, 151, 152, 153]
    break_file(tmp_path / 'real/images/00.png')
    assert epoch()[0] == 1 and mix.unreadable == 1  # counted in the worker, seen here
    assert workers == [worker.pid for worker in loader._iterator._workers]


def test_batches_collate(tmp_path):
    mix = make_mix(tmp_path)
    add_samples(open_store(tmp_path / 'store'), range(4))
    mix.serve(0)
    batch = pseudo_collate([mix[0], mix[4]])
    assert [s.synthetic for s in batch['data_samples']] == [False, True]
    assert torch.stack(batch['inputs']).shape == (2, 3, 6, 8)
