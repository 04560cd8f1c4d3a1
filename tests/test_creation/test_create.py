"""The creation stage: what is stored, in which shares, and how it goes on."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS

from diff2in1_mm.creation.batch_labels import BatchLabels
from diff2in1_mm.creation.create import create
from diff2in1_mm.creation.job import CreationJob
from diff2in1_mm.creation.plan import source_indices
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.preflight.creation import check_creation
from diff2in1_mm.store.store import StoreMismatch, SyntheticStore

from ..small_models import write_json
from ..stores import lose_record, read_one
from ..tiny_segmentation import CLASSES, FAST, build_dataset, build_model, dataset_config


def contents(store):
    """Every sample as bytes."""
    return {
        record.id: (
            *(array.tobytes() for array in read_one(store, record)),
            record.seed,
            record.T,
            record.caption,
            tuple(record.quality.values()),
        )
        for record in store.records()
    }


def test_samples_and_records(model, dataset, root, tmp_path):
    model.train()
    model.decode_head.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = create(model, dataset, tmp_path / 's', seed=5, copies_per_source=2, confidence=0.4, **FAST)
    assert (report.samples, report.present, report.skipped) == (14, 0, [])
    # modes and values are as before
    assert model.backbone.training and not model.decode_head.conv_seg.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    store = SyntheticStore(tmp_path / 's', classes=CLASSES, tasks=['segmentation'])
    assert len(store) == 14
    ignored = []
    for record in store.records():
        image, annotation = read_one(store, record)
        real = cv2.imread(f'{root}/img/{record.source}.png')[..., ::-1]
        assert image.shape == real.shape and annotation.shape == real.shape[:2]
        assert set(np.unique(annotation)) <= {0, 1, 2, 255}
        assert record.source_path.endswith(f'{record.source}.png')
        assert (record.T, record.steps, record.solver) == (300, 3, 'dpmsolver++')
        assert record.quality['ignored'] == pytest.approx((annotation == 255).mean())
        assert 1 / 3 <= record.quality['confidence'] <= 1
        ignored.append(record.quality['ignored'])
    assert 0 < np.mean(ignored) < 1 and report.ignored == pytest.approx(np.mean(ignored))
    assert len({record.seed for record in store.records()}) == 14
    written = [p for part in ('images', 'annotations/segmentation') for p in (tmp_path / 's' / part).rglob('*.png')]
    assert report.bytes == sum(path.stat().st_size for path in written)
    assert len({record.checkpoint for record in store.records()}) == 1
    preview = cv2.imread(str(tmp_path / 's/preview.png'))
    assert preview.shape[0] > 7 * 192  # seven rows: one for each image


def test_a_sample_made_again_alone_is_what_is_stored(model, dataset, tmp_path):
    """From the record and plain steps: generate, round, label as test data."""
    create(model, dataset, tmp_path / 's', seed=5, **FAST)
    store = SyntheticStore(tmp_path / 's')
    generator = CreationSettings.from_dict(FAST).build_generator()
    diffusion = model.backbone.diffusion
    model.eval()
    for record in (store.records()[1], store.records()[6]):
        source = torch.from_numpy(cv2.imread(record.source_path)[..., ::-1].copy())
        source = source.permute(2, 0, 1)[None].float() / 127.5 - 1
        made = generator.generate(
            diffusion, source, diffusion.text.embed([record.caption]), [record.seed], record.T
        ).images[0]
        pixels = ((made + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        image, annotation = read_one(store, record)
        assert np.abs(pixels.astype(int) - image).max() <= 1  # rounding in another batch
        # what MMSeg's own inference says of the stored picture
        bgr = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)
        data = model.data_preprocessor(dict(inputs=[bgr], data_samples=None), False)
        with torch.no_grad():
            labels = model.encode_decode(data['inputs'], [dict(img_shape=image.shape[:2])])
        assert (labels.argmax(1)[0].numpy() == annotation).mean() > 0.999


def test_shares_of_processes_make_the_same_samples(model, dataset, tmp_path):
    create(model, dataset, tmp_path / 'one', **FAST)
    reports = [create(model, dataset, tmp_path / 'two', rank=rank, world_size=2, **FAST) for rank in (1, 0)]
    whole, parts = (contents(SyntheticStore(tmp_path / name)) for name in ('one', 'two'))
    assert whole == parts and sum(report.samples for report in reports) == 7


def test_an_interrupted_creation_continues(model, dataset, tmp_path, monkeypatch):
    create(model, dataset, tmp_path / 'whole', copies_per_source=2, **FAST)
    made = []
    make_group = CreationJob._make_group

    def stop_after_five(self, group, writer):
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append(group)
        make_group(self, group, writer)

    monkeypatch.setattr(CreationJob, '_make_group', stop_after_five)
    with pytest.raises(KeyboardInterrupt):
        create(model, dataset, tmp_path / 's', copies_per_source=2, **FAST)
    monkeypatch.undo()
    half = SyntheticStore(tmp_path / 's')
    assert 0 < len(half) < 14 and not half.damaged
    # one sample of a batch is lost: the batch is made again, the sample alone is added
    lost = half.records()[0]
    lose_record(half.root, lost.id)
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / 's/images').rglob('*.png') if lost.id not in p.name}
    report = create(model, dataset, tmp_path / 's', copies_per_source=2, **FAST)
    assert report.present == len(half) - 1 and report.samples == 15 - len(half)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert contents(SyntheticStore(tmp_path / 's')) == contents(SyntheticStore(tmp_path / 'whole'))
    again = create(model, dataset, tmp_path / 's', copies_per_source=2, **FAST)
    assert (again.samples, again.present) == (0, 14)


@pytest.fixture
def nothing_in_odd_sources(monkeypatch):
    """Labels of images with an odd number are None; gives the size of each batch labelled."""
    sizes, call = [], BatchLabels.__call__

    def label(self, pixels, taps, entries, own):
        sizes.append(len(entries))
        return [
            None if int(entry['img_path'][-5]) % 2 else found
            for entry, found in zip(entries, call(self, pixels, taps, entries))
        ]

    monkeypatch.setattr(BatchLabels, '__call__', label)
    return sizes


def test_samples_without_a_label_are_not_made_again(model, dataset, tmp_path, nothing_in_odd_sources):
    report = create(model, dataset, tmp_path / 's', copies_per_source=2, **FAST)
    assert (report.samples, report.empty) == (8, 6) and sum(nothing_in_odd_sources) == 14
    assert [r.source for r in SyntheticStore(tmp_path / 's').records()] == [0, 0, 2, 2, 4, 4, 6, 6]
    again = create(model, dataset, tmp_path / 's', copies_per_source=2, **FAST)
    assert (again.samples, again.present, again.empty) == (0, 8, 6)
    assert sum(nothing_in_odd_sources) == 14
    # a batch that is made again for another sample's sake counts none twice
    store = SyntheticStore(tmp_path / 's')
    lose_record(store.root, store.records()[0].id)
    again = create(model, dataset, tmp_path / 's', copies_per_source=2, **FAST)
    assert (again.samples, again.present, again.empty) == (1, 7, 6)


def test_nothing_found_is_told_before_an_unreadable_image(model, root, tmp_path, monkeypatch):
    copy = shutil.copytree(root, tmp_path / 'data')
    (copy / 'img/0.png').write_bytes(b'no image')
    monkeypatch.setattr(BatchLabels, '__call__', lambda self, pixels, *_, own: [None] * len(pixels))
    for _ in range(2):  # also when all that could be read was noted before
        with pytest.raises(ValueError, match='none of 6 images was stored'):
            create(model, build_dataset(copy), tmp_path / 's', **FAST)


def test_a_store_made_for_something_else_is_refused(model, dataset, tmp_path):
    create(model, dataset, tmp_path / 's', limit=2, **FAST)
    with pytest.raises(StoreMismatch, match=r'T: there \[300\], here \[400\]'):
        create(model, dataset, tmp_path / 's', **{**FAST, 'T': 400})
    with pytest.raises(StoreMismatch, match='seed: there 0, here 1'):
        create(model, dataset, tmp_path / 's', seed=1, **FAST)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    with pytest.raises(StoreMismatch, match='checkpoint: there'):
        create(model, dataset, tmp_path / 's', **FAST)


def test_a_store_of_another_world_is_refused(model, dataset, root, tmp_path):
    """The same names and classes, other pictures; a set that only moved is the same."""
    create(model, dataset, tmp_path / 's', limit=2, **FAST)
    shutil.copytree(root, tmp_path / 'moved')
    assert create(model, build_dataset(tmp_path / 'moved'), tmp_path / 's', limit=2, **FAST).present == 2
    flat = np.zeros_like(cv2.imread(str(root / 'img/3.png')))
    cv2.imwrite(str(tmp_path / 'moved/img/3.png'), flat)
    with pytest.raises(StoreMismatch, match='images: there .*, here '):
        create(model, build_dataset(tmp_path / 'moved'), tmp_path / 's', limit=2, **FAST)


def test_rounds_share_a_store(model, dataset, tmp_path):
    create(model, dataset, tmp_path / 's', round=0, **FAST)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    create(model, dataset, tmp_path / 's', round=1, **FAST)
    store = SyntheticStore(tmp_path / 's')
    first, second = store.records(0), store.records(1)
    assert len(first) == len(second) == 7 and first[0].checkpoint != second[0].checkpoint
    assert not np.array_equal(read_one(store, first[0])[0], read_one(store, second[0])[0])
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    with pytest.raises(StoreMismatch, match='round 1 that other parameters labelled'):
        create(model, dataset, tmp_path / 's', round=1, **FAST)


def test_unreadable_images_are_skipped_and_counted(model, root, tmp_path, monkeypatch):
    copy = shutil.copytree(root, tmp_path / 'data')
    (copy / 'img/1.png').write_bytes(b'no image')
    (copy / 'img/4.png').write_bytes((copy / 'img/4.png').read_bytes()[:60])
    dataset = build_dataset(copy)
    report = create(model, dataset, tmp_path / 's', copies_per_source=2, **FAST)
    assert sorted(path[-5:] for path in report.skipped) == ['1.png', '4.png']
    assert report.samples == len(SyntheticStore(tmp_path / 's')) == 10
    for path in (copy / 'img').iterdir():
        path.write_bytes(b'')
    with pytest.raises(ValueError, match='none of the images could be read'):
        create(model, dataset, tmp_path / 't', **FAST)


def test_repeated_images_count_once(root):
    repeated = DATASETS.build(dict(type='RepeatDataset', times=3, dataset=dataset_config(root)))
    assert source_indices(repeated) == list(range(7))
    mixed = DATASETS.build(
        dict(
            type='SyntheticMixDataset',
            dataset=dict(type='ConcatDataset', datasets=[dataset_config(root), dataset_config(root)]),
        )
    )
    assert source_indices(mixed) == list(range(7))


def test_served_by_the_mixed_data_set(model, root, tmp_path):
    """Stored labels come out of the data set's own pipeline as they were predicted."""
    config = dataset_config(root, reduce_zero_label=True)
    dataset = DATASETS.build(dict(type='SyntheticMixDataset', dataset=config, store=str(tmp_path / 's')))
    create(model, dataset, dataset.store_root, confidence=0.4, **FAST)
    dataset.serve(0)
    loaded = dataset[7]['data_samples']
    assert loaded.synthetic
    record = next(r for r in SyntheticStore(tmp_path / 's').records() if r.id == loaded.sample_id)
    raw = torch.from_numpy(read_one(SyntheticStore(tmp_path / 's'), record)[1])
    assert set(raw.unique().tolist()) <= {1, 2, 3, 255}
    expected = torch.where(raw == 255, 255, raw.int() - 1)
    assert torch.equal(loaded.gt_sem_seg.data[0].int(), expected)


def test_labels_from_the_last_step_save_a_pass(model, dataset, tmp_path, monkeypatch):
    passes = []
    predict = model.backbone.diffusion.predict
    monkeypatch.setattr(model.backbone.diffusion, 'predict', lambda *a: passes.append(len(a[0])) or predict(*a))
    create(model, dataset, tmp_path / 'last', label_from='last_step', **FAST)
    assert sum(passes) == 7 * 3
    create(model, dataset, tmp_path / 'fresh', **FAST)
    assert sum(passes) == 7 * 3 + 7 * 4
    last, fresh = (SyntheticStore(tmp_path / name) for name in ('last', 'fresh'))
    agreed = []
    for a, b in zip(last.records(), fresh.records()):
        np.testing.assert_array_equal(last.read(a)[0], fresh.read(b)[0])
        agreed.append((read_one(last, a)[1] == read_one(fresh, b)[1]).mean())
    # an untrained head decides by small differences; the two views agree all the same
    assert np.mean(agreed) > 0.5


@pytest.mark.parametrize('option', [dict(scale_latents=False), dict(keep_padding=True)])
def test_the_last_step_has_no_features_of_other_inputs(pipeline_folder, dataset, option):
    model = build_model(pipeline_folder, **option)
    with pytest.raises(ValueError, match="scaled latents.*set it to 'fresh'"):
        check_creation(model, dict(FAST, label_from='last_step'), dataset)


def test_labels_of_the_source_image(model, dataset, root, tmp_path):
    create(model, dataset, tmp_path / 's', label_from='source', **FAST)
    store = SyntheticStore(tmp_path / 's')
    for record in store.records():
        truth = cv2.imread(str(root / f'ann/{record.source}.png'), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(read_one(store, record)[1], truth)
        assert record.quality == dict(confidence=1.0, ignored=0.0)
    create(model, dataset, tmp_path / 'small', label_from='source', scale=(24, 16), keep_ratio=False, **FAST)
    small = SyntheticStore(tmp_path / 'small')
    image, labels = read_one(small, small.records()[0])
    assert image.shape[:2] == labels.shape == (16, 24)


def test_padding_of_the_test_config_is_cut_off(pipeline_folder, dataset, tmp_path):
    model = build_model(pipeline_folder, test_cfg=dict(size_divisor=64))
    create(model, dataset, tmp_path / 's', limit=2, **FAST)
    store = SyntheticStore(tmp_path / 's')
    assert read_one(store, store.records()[0])[1].shape == (32, 48)


@pytest.mark.parametrize('keep_ratio, size', [(True, (21, 32)), (False, (16, 32))])
def test_scale(model, dataset, tmp_path, keep_ratio, size):
    create(
        model,
        dataset,
        tmp_path / 's',
        scale=(32, 16) if not keep_ratio else (32, 32),
        keep_ratio=keep_ratio,
        limit=2,
        **FAST,
    )
    store = SyntheticStore(tmp_path / 's')
    assert {read_one(store, record)[1].shape for record in store.records()} == {size}


def test_another_backbone_takes_a_diffusion_model_of_its_own(pipeline_folder, dataset, tmp_path):
    from mmengine.registry import MODELS

    model = MODELS.build(
        dict(
            type='mmseg.EncoderDecoder',
            data_preprocessor=dict(
                type='mmseg.SegDataPreProcessor',
                mean=[123.675, 116.28, 103.53],
                std=[58.395, 57.12, 57.375],
                bgr_to_rgb=True,
                size=(32, 48),
            ),
            backbone=dict(type='mmseg.ResNetV1c', depth=18, base_channels=8),
            decode_head=dict(
                type='mmseg.FCNHead',
                in_channels=64,
                in_index=3,
                channels=8,
                num_convs=1,
                num_classes=3,
                norm_cfg=dict(type='BN'),
                align_corners=False,
            ),
        )
    )
    with pytest.raises(ValueError, match='ResNetV1c has no diffusion model.*creation.diffusion'):
        check_creation(model, FAST, dataset)
    with pytest.raises(ValueError, match='EncoderDecoder is none: leave it out'):
        check_creation(model, dict(FAST, label_scale=(64, 64)), dataset)
    with pytest.raises(ValueError, match="set it to 'fresh'"):
        check_creation(model, dict(label_from='last_step', diffusion='x'), dataset)
    report = create(model, dataset, tmp_path / 's', diffusion=str(pipeline_folder), **FAST)
    assert report.samples == len(SyntheticStore(tmp_path / 's')) == 7


def test_captions(model, dataset, root, tmp_path):
    text = model.backbone.diffusion.text
    captions = {f'{i}.png': f'view {i}' for i in range(7)}
    condition = dict(type='Captions', path=write_json(tmp_path / 'c.json', captions))
    create(model, dataset, tmp_path / 's', condition=condition, **FAST)
    assert [r.caption for r in SyntheticStore(tmp_path / 's').records()] == [f'view {i}' for i in range(7)]
    assert not text.in_memory
    composed = dict(type='ComposedCaption', scene='view', max_classes=1)
    create(model, dataset, tmp_path / 't', condition=composed, **FAST)
    for record in SyntheticStore(tmp_path / 't').records():
        labels = cv2.imread(f'{root}/ann/{record.source}.png', cv2.IMREAD_UNCHANGED)
        largest = CLASSES[np.bincount(labels.ravel()).argmax()]
        assert record.caption == f'a photo of a view with {largest}'


def test_too_little_disk_is_told_after_the_preview(model, dataset, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=5000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(ValueError, match=r'7 more samples need about .* MB, but .* free'):
        create(model, dataset, tmp_path / 's', copies_per_source=2, **FAST)
    assert len(SyntheticStore(tmp_path / 's')) == 7 and (tmp_path / 's/preview.png').exists()
    with pytest.raises(ValueError, match='7 more samples need about'):  # continued, still full
        create(model, dataset, tmp_path / 's', copies_per_source=2, **FAST)
    monkeypatch.undo()
    assert create(model, dataset, tmp_path / 's', copies_per_source=2, **FAST).samples == 7


def test_a_failing_write_is_raised(model, dataset, tmp_path, monkeypatch):
    def full(self, record, image, annotation):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(SyntheticStore, 'add', full)
    with pytest.raises(OSError, match='No space left'):
        create(model, dataset, tmp_path / 's', **FAST)


def test_settings_are_readable_in_the_store(model, dataset, tmp_path):
    create(model, dataset, tmp_path / 's', limit=1, **FAST)
    settings = json.loads((tmp_path / 's/store.json').read_text())['settings']
    assert settings['T'] == [300] and settings['condition'] == {'type': 'Prompt'}
