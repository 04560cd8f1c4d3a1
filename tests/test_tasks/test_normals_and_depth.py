"""Normals and depth of theta_C as targets and as stored labels."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from diff2in1_mm.tasks import labeller_for
from diff2in1_mm.tasks.depth import DepthLabeller
from diff2in1_mm.tasks.normals import NormalsLabeller
from diff2in1_mm.utils.kappa import expected_angular_error

from ..test_models.test_segmentors.test_dense_estimator import build

SIZE = (8, 10)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


class Model(torch.nn.Module):
    """What the labellers ask of an estimator."""

    def __init__(self, out_channels=4, max_depth=10.0):
        super().__init__()
        self.out_channels = out_channels
        self.decode_head = torch.nn.Identity()
        self.decode_head.max_depth = max_depth


def sample(padding=(0, 0, 0, 0)):
    return SegDataSample(metainfo=dict(padding_size=padding))


def normals(seed=0, kappa=None):
    """A prediction (4, H, W); kappa falls from left to right unless given."""
    raw = torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(seed))
    if kappa is None:
        kappa = torch.linspace(20, 0.05, SIZE[1]).expand(SIZE)
    return torch.cat([raw / raw.norm(dim=0), torch.as_tensor(kappa).expand(SIZE)[None]])


class TestNormals:
    def test_the_prediction_is_the_target_but_for_the_padding(self):
        labeller, samples = NormalsLabeller(Model()), [sample((0, 3, 0, 2)), sample()]
        predictions = [normals(0), normals(1)]
        figures = labeller.assign(samples, predictions)
        target = samples[0].gt_normal_map.data
        torch.testing.assert_close(target[:, :6, :7], predictions[0][:3, :6, :7])
        assert (target[:, 6:] == 0).all() and (target[:, :, 7:] == 0).all()
        torch.testing.assert_close(samples[1].gt_normal_map.data, predictions[1][:3])
        assert 'gt_normal_weight' not in samples[0]
        assert figures['ignored'] == 0 and labeller.ignored(samples) == 0

    def test_uncertain_pixels_are_ignored(self):
        labeller, prediction = NormalsLabeller(Model(), max_error=30.0), normals()
        uncertain = expected_angular_error(prediction[3]) > 30
        assert 0 < uncertain.float().mean() < 1
        samples = [sample((0, 5, 0, 0))]
        figures = labeller.assign(samples, [prediction])
        inside = uncertain[:, :5]
        assert torch.equal((samples[0].gt_normal_map.data == 0).all(0)[:, :5], inside)
        assert figures['ignored'] == inside.float().mean() == labeller.ignored(samples)

    def test_an_error_exactly_at_the_bound_is_not_ignored(self):
        at = expected_angular_error(normals(0, 3.0)[3, 0, 0]).item()
        for bound, ignored in ((at, 0), (np.nextafter(np.float32(at), np.float32(0)).item(), 1)):
            labeller = NormalsLabeller(Model(), max_error=bound)
            assert labeller.assign([sample()], [normals(0, 3.0)])['ignored'] == ignored

    def test_weights_fall_with_the_expected_error(self):
        labeller, samples = NormalsLabeller(Model(), weigh=True, max_error=60.0), [sample()]
        prediction = normals()
        labeller.assign(samples, [prediction])
        error = expected_angular_error(prediction[3])
        weight = samples[0].gt_normal_weight.data
        assert weight.shape == (1, *SIZE)
        torch.testing.assert_close(weight[0], (1 - error / 90) * (error <= 60))

    def test_agreement_is_the_mean_cosine(self):
        a, b = normals(0), normals(1)
        found = NormalsLabeller(Model()).agreement([a, a], [a, b])
        assert found == pytest.approx(0.5 + (a * b)[:3].sum(0).mean().item() / 2, abs=1e-6)

    def test_what_is_stored(self):
        labeller = NormalsLabeller(Model(), max_error=30.0)
        (label,) = labeller.labels([normals()], (6, 7), [{}])
        assert label.annotation.shape == (6, 7, 3)
        length = np.linalg.norm(label.annotation, axis=2)
        assert ((abs(length - 1) < 1e-5) | (length == 0)).all()
        error = expected_angular_error(normals()[3, :6, :7])
        assert label.quality['expected_error'] == pytest.approx(error.mean().item(), rel=1e-5)
        assert label.quality['ignored'] == pytest.approx((length == 0).mean())

    def test_a_head_without_kappa(self):
        (label,) = NormalsLabeller(Model(3)).labels([normals()[:3]], SIZE, [{}])
        assert label.quality == dict(ignored=0.0)
        for options in (dict(max_error=30.0), dict(weigh=True)):
            with pytest.raises(ValueError, match='predicts no kappa.*or take NormalHead'):
                NormalsLabeller(Model(3), **options)

    def test_no_confidence(self):
        with pytest.raises(ValueError, match='leave confidence out, or bound the expected error'):
            NormalsLabeller(Model(), 0.5)


class TestDepth:
    def test_the_prediction_is_the_target_but_for_the_padding(self):
        labeller, samples = DepthLabeller(Model()), [sample((0, 3, 0, 2))]
        prediction = torch.rand(1, *SIZE) + 0.5
        assert labeller.assign(samples, [prediction])['ignored'] == 0
        target = samples[0].gt_depth_map.data
        assert torch.equal(target[:, :6, :7], prediction[:, :6, :7])
        assert (target[:, 6:] == 0).all() and (target[:, :, 7:] == 0).all()
        samples[0].gt_depth_map = PixelData(data=target * 0)
        assert labeller.ignored(samples) == 1

    def test_agreement_is_the_share_within_a_quarter(self):
        a = torch.full((1, *SIZE), 4.0)
        b = a.clone()
        b[0, :2], b[0, 2:4] = 3.3, 3.1
        assert DepthLabeller(Model()).agreement([a], [b]) == pytest.approx(0.75)

    def test_what_is_stored(self):
        (label,) = DepthLabeller(Model()).labels([torch.full((1, *SIZE), 2.5)], (6, 7), [{}])
        assert label.annotation.shape == (6, 7) and (label.annotation == 2.5).all()
        assert label.quality == dict(ignored=0.0)

    @pytest.mark.parametrize(
        'reach, file, task',
        [(10.0, None, 'depth'), (80.0, None, 'depth_npy'), (10.0, 'npy', 'depth_npy'), (80.0, 'png', 'depth')],
    )
    def test_the_file_holds_what_the_head_can_say(self, reach, file, task):
        assert DepthLabeller(Model(max_depth=reach), file=file).task == task

    def test_bad_options(self):
        with pytest.raises(ValueError, match="must be one of .*'npy'.*, not 'tif'"):
            DepthLabeller(Model(), file='tif')
        with pytest.raises(ValueError, match='leave confidence out'):
            DepthLabeller(Model(), 0.9)


@pytest.mark.parametrize(
    'name, kind', [('bae', NormalsLabeller), ('vpd_depth', DepthLabeller), ('idisc_normals', NormalsLabeller)]
)
def test_predictions_are_the_models_in_batch_coordinates(name, kind, pipeline_folder):
    model = build(name, pipeline_folder).eval()
    labeller = labeller_for(model)
    assert isinstance(labeller, kind) and labeller.count_classes(model) is None
    samples = labeller.new_samples(2, (64, 48))
    before = [dict(s.metainfo) for s in samples]
    images = torch.rand(2, 3, 64, 48) * 2 - 1
    model.test_cfg.update(flip=True)  # the target is one plain pass
    found = labeller.predict(model, images, samples)
    with torch.no_grad():
        wanted = model.encode_decode(images, [dict(pad_shape=(64, 48))] * 2)
    torch.testing.assert_close(torch.stack(found), wanted)
    assert [dict(s.metainfo) for s in samples] == before and found[0].shape[1:] == (64, 48)


def test_options_of_the_other_labeller_are_refused(pipeline_folder):
    with pytest.raises(ValueError, match="has no labelling option 'max_error': it knows file"):
        labeller_for(build('fpn_depth', pipeline_folder), options=dict(max_error=3))


def test_estimators_are_recognised():
    from mmseg.models.segmentors import DepthEstimator, EncoderDecoder

    from diff2in1_mm.models.segmentors.depth_estimator import DepthMapEstimator
    from diff2in1_mm.models.segmentors.normal_estimator import NormalEstimator
    from diff2in1_mm.tasks.registry import tasks_of
    from diff2in1_mm.tasks.segmentation import SegmentationLabeller

    kinds = (NormalEstimator, DepthMapEstimator, DepthEstimator, EncoderDecoder)
    found = {kind: tasks_of(kind.__new__(kind))[0].labeller for kind in kinds}
    assert found == {
        NormalEstimator: NormalsLabeller,
        DepthMapEstimator: DepthLabeller,
        DepthEstimator: DepthLabeller,
        EncoderDecoder: SegmentationLabeller,
    }
