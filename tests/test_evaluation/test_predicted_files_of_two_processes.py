"""Evaluations on two processes, as MMEngine's loops run them: both metrics in one start."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch.distributed as dist
from mmengine.registry import METRICS

from ..processes import context
from . import test_depth_metric as depth, test_normal_metric as normals


def images():
    """Three of each task; the second has no truth, and the third is called as the second."""
    sets = [[module.sample(seed, (60, 60)) for seed in range(3)] for module in (depth, normals)]
    sets[0][1]['gt_depth_map']['data'].zero_()
    sets[1][1]['gt_normal_map']['data'].zero_()
    for samples in sets:
        for item, path in zip(samples, ('a/0.jpg', 'a/1.jpg', 'b/1.jpg')):
            item.update(img_path=path)
    return dict(zip(('DepthErrors', 'NormalMetric'), sets))


def _work(rank, folder, queue):
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2)
    found = {}
    for name, samples in images().items():
        metric = METRICS.build(dict(type=name, output_dir=f'{folder}/{name}'))
        # the sampler gives all processes as many: the fourth image is the first once more
        metric.process({}, [samples[i % 3] for i in (rank, rank + 2)])
        found[name] = metric.evaluate(3)
    dist.barrier()
    if rank == 0:
        queue.put(found)
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    """``figures`` of each metric, and the ``folder`` of its predictions."""
    folder = tmp_path_factory.mktemp('two')
    queue = context.Queue()
    workers = [context.Process(target=_work, args=(rank, folder, queue)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    found = queue.get(timeout=300)
    for worker in workers:
        worker.join(60)
    return SimpleNamespace(figures=found, folder=folder)


def test_depth_errors_are_those_of_one_process(done):
    samples = images()['DepthErrors']
    wanted = [depth.plain(*depth.arrays(samples[i])) for i in (0, 2)]
    for name, value in done.figures['DepthErrors'].items():
        assert value == pytest.approx(np.mean([w[name] for w in wanted]), rel=1e-9), name


def test_errors_of_normals_are_those_of_one_process(done):
    errors = normals.plain(images()['NormalMetric'])
    assert done.figures['NormalMetric']['median'] == pytest.approx(np.median(errors), abs=0.01)
    assert done.figures['NormalMetric']['mean'] == pytest.approx(errors.mean(), abs=1e-6)


@pytest.mark.parametrize('metric', ['DepthErrors', 'NormalMetric'])
def test_each_image_has_its_file(done, metric):
    files = {
        str(path.relative_to(done.folder / metric)): path.read_bytes()
        for path in (done.folder / metric).rglob('*')
        if not path.is_dir()
    }
    assert set(files) == {'a/0.png', 'a/1.png', 'b/1.png'} and len(set(files.values())) == 3
