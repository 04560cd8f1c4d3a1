"""From an act on the page, over a restart of its server, to what the next start of a training draws."""

import http.client
import json
from urllib.parse import urlsplit

import pytest
from mmengine.hooks import Hook
from mmengine.runner import Runner

from diff2in1_mm.browse.session import Session
from diff2in1_mm.store.reviews import Reviews
from diff2in1_mm.store.store import SyntheticStore

from ..tiny_runs import config
from .conftest import serving


def say(server, act, id=''):
    """What the page sends when a key is pressed; the sample as it is now."""
    where = urlsplit(server.address)
    connection = http.client.HTTPConnection(where.netloc)
    content = json.dumps(dict(act=act, id=id, name=''))
    connection.request('POST', f'{where.path}review', content, {'Content-Type': 'application/json'})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer['row']


def drawn_by(cfg, after_iteration=lambda iteration: None):
    """Ids of the synthetic samples in the batches of a run, a set for each iteration."""
    drawn = []

    class Watch(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            drawn.append({sample.sample_id for sample in data_batch['data_samples']} - {''})
            after_iteration(runner.iter)

    runner = Runner.from_cfg(cfg)
    runner.register_hook(Watch())
    runner.train()
    return drawn


@pytest.mark.usefixtures('tiny_create')
def test_rejected_samples_leave_a_run_that_goes_on(images, tmp_path):
    drawn_by(config(images, tmp_path, hook={}, iters=8))
    store = SyntheticStore(tmp_path / 'store')
    ids = [record.id for record in store.records()]
    with serving(Session(store)) as server:
        for id in ids[:3]:
            say(server, 'reject', id)
        assert say(server, 'undo')['verdict'] == ''  # the third is as it was
    with serving(Session(SyntheticStore(store.root))) as again:
        assert again.address != server.address
        assert say(again, 'undo')['id'] == ids[1] and say(again, 'reject', ids[1])['verdict'] == 'reject'
    assert Reviews(store.root).verdicts().rejected == set(ids[:2])
    drawn = drawn_by(config(images, tmp_path, hook={}, iters=24, resume=True))
    assert len(drawn) == 16 and set().union(*drawn) == set(ids[2:])


@pytest.mark.usefixtures('tiny_create')
def test_what_is_rejected_while_a_run_lasts_leaves_the_next(images, tmp_path):
    def reject_all(iteration):
        if iteration == 8:
            store = SyntheticStore(tmp_path / 'store')
            for record in store.records():
                Reviews(store.root).add('reject', record.id)

    drawn = drawn_by(config(images, tmp_path, hook={}, iters=24), reject_all)
    assert set().union(*drawn[12:]) == {record.id for record in SyntheticStore(tmp_path / 'store').records()}
    with pytest.raises(ValueError, match='every sample of round 0.*was rejected'):
        drawn_by(config(images, tmp_path, hook={}, iters=32, resume=True))
