"""Evaluations on two processes, as MMEngine's loops run them: both metrics in one start."""
import numpy as np
import pytest
import torch
import torch.distributed as dist
from mmengine.registry import METRICS

from . import test_depth_metric as depth
from . import test_normal_metric as normals


def images():
    """Three of each task; the second has no truth."""
    sets = [[module.sample(seed, (60, 60)) for seed in range(3)] for module in (depth, normals)]
    sets[0][1]['gt_depth_map']['data'].zero_()
    sets[1][1]['gt_normal_map']['data'].zero_()
    return dict(zip(('DepthErrors', 'NormalMetric'), sets))


def _work(rank, meeting, queue):
    dist.init_process_group('gloo', init_method=f'file://{meeting}', rank=rank, world_size=2)
    found = {}
    for name, samples in images().items():
        metric = METRICS.build(dict(type=name))
        # the sampler gives all processes as many: the fourth image is the first once more
        metric.process({}, [samples[i % 3] for i in (rank, rank + 2)])
        found[name] = metric.evaluate(3)
    dist.barrier()
    if rank == 0:
        queue.put(found)
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def figures(tmp_path_factory):
    meeting = str(tmp_path_factory.mktemp('gloo') / 'meeting')
    context = torch.multiprocessing.get_context('spawn')
    queue = context.Queue()
    workers = [context.Process(target=_work, args=(rank, meeting, queue)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    found = queue.get(timeout=300)
    for worker in workers:
        worker.join(60)
    return found


def test_depth_errors_are_those_of_one_process(figures):
    samples = images()['DepthErrors']
    wanted = [depth.plain(*depth.arrays(samples[i])) for i in (0, 2)]
    for name, value in figures['DepthErrors'].items():
        assert value == pytest.approx(np.mean([w[name] for w in wanted]), rel=1e-9), name


def test_errors_of_normals_are_those_of_one_process(figures):
    errors = normals.plain(images()['NormalMetric'])
    assert figures['NormalMetric']['median'] == pytest.approx(np.median(errors), abs=0.01)
    assert figures['NormalMetric']['mean'] == pytest.approx(errors.mean(), abs=1e-6)
