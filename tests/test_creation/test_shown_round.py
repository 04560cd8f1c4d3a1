"""What MMEngine's visualizer is given of a round, and that its backends write it."""

import json
from types import SimpleNamespace
from unittest.mock import Mock

import cv2
import pytest
from mmengine.visualization import Visualizer

from diff2in1_mm.creation.create import create
from diff2in1_mm.creation.shown_round import show_round
from diff2in1_mm.store.store import SyntheticStore

from ..tiny_segmentation import CLASSES


@pytest.fixture
def made(model, dataset, tmp_path):
    create(model, dataset, tmp_path / 's', steps=1, T=100, limit=3)
    return SyntheticStore(tmp_path / 's')


def runner_of(visualizer):
    return SimpleNamespace(visualizer=visualizer, iter=7, logger=Mock())


def test_sheet_table_shares_and_agreement(model, dataset, made):
    seen = {}
    visualizer = SimpleNamespace(
        add_scalars=lambda values, step: seen.update(values, scalars_at=step),
        add_image=lambda name, image, step: seen.update({name: image.shape, 'image_at': step}),
    )
    runner = runner_of(visualizer)
    show_round(runner, model, dataset, made, 0, {})
    assert seen['scalars_at'] == seen['image_at'] == 7
    assert len(seen['synthetic']) == len(seen['synthetic_classes']) == 3  # pictures
    shares = {name: share for name, share in seen.items() if name.startswith('synthetic/')}
    assert set(shares) <= {f'synthetic/{name}' for name in CLASSES} and sum(shares.values()) == pytest.approx(1)
    by_class = {name for name in seen if name.startswith('agreement/segmentation/')}
    assert by_class <= {f'agreement/segmentation/{name}' for name in CLASSES} and by_class
    (said,) = (call[0][0] for call in runner.logger.info.call_args_list)
    assert (
        said.startswith('Labels of 3 samples (segmentation) agree') and f'{seen["agreement/segmentation"]:.3f}' in said
    )


def test_labels_that_are_the_sources_own_have_no_agreement(model, dataset, made):
    visualizer = Mock()
    show_round(runner_of(visualizer), model, dataset, made, 0, dict(label_from='source'))
    (scalars,) = visualizer.add_scalars.call_args[0]
    assert scalars and not [name for name in scalars if name.startswith('agreement')]
    assert [call[0][0] for call in visualizer.add_image.call_args_list] == ['synthetic_classes', 'synthetic']


def test_a_backend_that_fails_ends_no_run(model, dataset, made):
    runner = runner_of(Mock(add_scalars=Mock(side_effect=ConnectionError('no network'))))
    show_round(runner, model, dataset, made, 0, {})
    (said,) = runner.logger.warning.call_args[0]
    assert said == 'What round 0 holds is not shown (ConnectionError: no network).'


def test_files_of_the_local_backend(model, dataset, made, tmp_path):
    visualizer = Visualizer(vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path))
    show_round(runner_of(visualizer), model, dataset, made, 0, {})
    for name in ('synthetic', 'synthetic_classes'):
        (picture,) = tmp_path.rglob(f'vis_image/{name}_7.png')
        assert cv2.imread(str(picture)).std() > 10
    (scalars,) = tmp_path.rglob('scalars.json')
    (line,) = scalars.read_text().splitlines()
    assert 0 <= json.loads(line)['agreement/segmentation'] <= 1 and json.loads(line)['step'] == 7


def test_events_of_tensorboard(model, dataset, made, tmp_path):
    accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator', reason='TensorBoard is not installed'
    )
    visualizer = Visualizer(vis_backends=[dict(type='TensorboardVisBackend')], save_dir=str(tmp_path))
    show_round(runner_of(visualizer), model, dataset, made, 0, {})
    visualizer.close()
    (events,) = tmp_path.rglob('events.out.*')
    found = accumulator.EventAccumulator(str(events.parent), size_guidance=dict(images=0))
    found.Reload()
    assert set(found.Tags()['images']) == {'synthetic', 'synthetic_classes'}
    assert {'agreement/segmentation', 'synthetic/sky'} & set(found.Tags()['scalars']) >= {'agreement/segmentation'}
    assert found.Scalars('agreement/segmentation')[0].step == 7
