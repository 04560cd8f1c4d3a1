"""Pictures of a sample, and figures that take two of them."""

import cv2
import numpy as np
import pytest

from diff2in1_mm.browse.pictures import SamplePictures, agreement_with, diversity_of
from diff2in1_mm.store.corrections import correct
from diff2in1_mm.store.reviews import Reviews

from ..test_store.samples import make_sample
from .conftest import fill_store


def decoded(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def test_source_sample_and_label(store):
    record = store.records()[1]
    pictures = SamplePictures(store, palette=[[255, 0, 0], [0, 255, 0], [0, 0, 255]])
    assert list(pictures.kinds) == ['source', 'sample', 'label segmentation']
    sample, source = (decoded(pictures.get(record, kind)) for kind in ('sample', 'source'))
    assert sample.shape == (12, 16, 3) and source.mean() == pytest.approx(sample.mean() / 2, abs=4)
    before = pictures.get(record, 'label segmentation')
    correct(store, record, 'segmentation', np.full((12, 16), 2, np.uint8))
    after = decoded(pictures.get(Reviews(store.root).verdicts().applied(record), 'label segmentation'))
    assert after[..., 2].mean() > after[..., :2].mean() + 100 and not np.array_equal(after, decoded(before))


def test_large_pictures_are_made_smaller_unless_asked_for_whole(store, tmp_path):
    record = store.records()[0]
    cv2.imwrite(record.source_path, np.zeros((400, 600, 3), np.uint8))
    pictures = SamplePictures(store)
    assert decoded(pictures.get(record, 'source')).shape == (192, 288, 3)
    assert decoded(pictures.get(record, 'source', whole=True)).shape == (400, 600, 3)


def test_labels_of_another_checkpoint_stand_beside_and_agree_more_or_less(store, tmp_path):
    (tmp_path / 'b').mkdir()
    other = fill_store(tmp_path / 'b', count=2, shift=3)
    pictures = SamplePictures(store, beside=other)
    first, second, third = store.records()[:3]
    assert pictures.get(first, 'beside segmentation') != pictures.get(first, 'label segmentation')
    with pytest.raises(OSError, match='no sample'):
        pictures.get(third, 'beside segmentation')
    labels = make_sample(1)[1]['segmentation']
    assert agreement_with(store, other)(second) == pytest.approx((labels == np.roll(labels, 3)).mean())
    assert agreement_with(store, store)(second) == 1 and agreement_with(store, other)(third) is None


def test_diversity_is_that_of_the_evaluation(store):
    import torch

    from diff2in1_mm.evaluation.generated_images import diversity

    record = store.records()[1]
    image = make_sample(1)[0]
    pair = [torch.from_numpy(i.copy()).permute(2, 0, 1) for i in (image // 2, image)]
    expected = diversity(pair[:1], pair[1:], torch.zeros(1, 2), torch.zeros(1, 2))['pixels']
    assert diversity_of(store)(record) == pytest.approx(expected, abs=1e-5)
    record.source_path = 'gone.png'
    assert diversity_of(store)(record) is None
