"""Heads of normals and depth: what each is by definition, its options, and missing truth."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData

pytest.importorskip('mmseg')

from mmseg.structures import SegDataSample  # noqa: E402

from diff2in1_mm.models.decode_heads.idisc_head import Discretisation, Partitioning  # noqa: E402
from diff2in1_mm.models.decode_heads.targets import batch_size_of, depth_target, normal_target  # noqa: E402

from ...versions import needs_float16  # noqa: E402

FPN = dict(
    in_channels=[8] * 3,
    in_index=[0, 1, 2],
    feature_strides=[4, 8, 16],
    channels=16,
    norm_cfg=dict(type='BN'),
    align_corners=False,
    dropout_ratio=0.0,
)
VPD = dict(
    in_channels=[16, 24, 32, 32],
    embed_dim=16,
    feature_dim=128,
    num_deconv_layers=3,
    num_deconv_filters=(16, 16, 16),
    max_depth=8.0,
)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')
    torch.manual_seed(0)


def normals(size=(16, 24), weight=None):
    sample = SegDataSample()
    sample.gt_normal_map = PixelData(data=F.normalize(torch.randn(3, *size), dim=0))
    if weight is not None:
        sample.gt_normal_weight = PixelData(data=torch.full((1, *size), weight))
    return sample


def maps(count=2, size=(16, 24), channels=8):
    return [torch.randn(count, channels, size[0] // 2**k, size[1] // 2**k) for k in range(3)]


@pytest.mark.parametrize(
    'meta',
    [
        dict(img_shape=(30, 40), pad_shape=(32, 48, 3)),
        dict(img_shape=(32, 48, 3), pad_shape=None),
        dict(img_shape=(32, 48)),
        dict(pad_shape=(32, 48)),
        dict(img_shape=torch.Size((32, 48)), pad_shape=(64, 96)),
    ],
)  # a window of slide inference
def test_predictions_are_wanted_at(meta):
    assert batch_size_of([meta]) == (32, 48)


class TestFPN:
    def test_losses_are_one_less_the_cosine_and_the_sum_of_differences(self):
        head = MODELS.build(dict(type='FPNNormalHead', **FPN)).eval()
        inputs, samples = maps(), [normals(), normals()]
        samples[1].gt_normal_map.data[:, :5] = 0
        losses = head.loss(inputs, samples, None)
        pred = F.normalize(F.interpolate(head(inputs), (16, 24), mode='bilinear'), dim=1)
        target = torch.stack([s.gt_normal_map.data for s in samples])
        valid = (target != 0).any(1)
        torch.testing.assert_close(losses['loss_cosine'], (1 - (pred * target).sum(1))[valid].mean())
        torch.testing.assert_close(losses['loss_l1'], (pred - target).abs().sum(1)[valid].mean())

    def test_depth_stays_below_its_maximum(self):
        head = MODELS.build(dict(type='FPNDepthHead', max_depth=5.0, **FPN)).eval()
        head.conv_seg.bias.data.fill_(30)
        found = head.predict(maps(), [dict(pad_shape=(40, 50))] * 2, None)
        assert found.shape == (2, 1, 40, 50) and 4.9 < found.min() and found.max() <= 5

    def test_a_loss_of_ones_own(self):
        head = MODELS.build(dict(type='FPNNormalHead', loss_decode=dict(type='NormalLoss', kind='angular'), **FPN))
        assert set(head.loss(maps(), [normals(), normals()], None)) == {'loss_normal'}


@pytest.mark.parametrize(
    'options', [dict(type='FPNNormalHead', **FPN), dict(type='IDiscHead', task='normals', in_channels=8)]
)
@pytest.mark.parametrize('kind', ['nll_angular', 'nll_vmf'])
def test_a_loss_that_needs_kappa_is_refused_by_heads_without(options, kind):
    name, loss = options['type'], dict(type='NormalLoss', kind=kind)
    for losses in (loss, [dict(type='NormalLoss', kind='l1'), loss]):
        with pytest.raises(
            ValueError, match=f"loss_decode of {name} is .*{kind}.*needs kappa.*set kind='cosine' or 'l1'.*NormalHead"
        ):
            MODELS.build(dict(loss_decode=losses, **options))


class TestIDisc:
    def test_priors_share_each_pixel_out(self):
        """A map of equal pixels gives each prior the same mean, however many pixels there are."""
        part = Partitioning(8, 4, 1).eval()
        pixel = torch.randn(1, 8, 1, 1)
        few, many = (part(pixel.expand(1, 8, *size)) for size in ((2, 3), (7, 9)))
        torch.testing.assert_close(few, many, rtol=1e-4, atol=1e-5)
        assert few.shape == (1, 4, 8)

    def test_the_order_of_pixels_does_not_matter(self):
        part = Partitioning(8, 4, 2).eval()
        x = torch.randn(1, 8, 4, 5)
        torch.testing.assert_close(part(x), part(x.flip(-1)), rtol=1e-4, atol=1e-5)

    def test_every_pixel_reads_the_representations_alone(self):
        read = Discretisation(8, 2, 2).eval()
        x, found = torch.randn(1, 8, 4, 5), torch.randn(1, 3, 8)
        whole = read(x, found)
        torch.testing.assert_close(whole[..., 1:3], read(x[..., 1:3], found))

    @pytest.mark.parametrize('task, channels', [('normals', 3), ('depth', 1)])
    def test_tasks(self, task, channels):
        head = MODELS.build(dict(type='IDiscHead', task=task, in_channels=8, count=4)).eval()
        found = head.predict(maps(), [dict(pad_shape=(32, 48))] * 2, None)
        assert found.shape == (2, channels, 32, 48)
        if task == 'normals':
            torch.testing.assert_close(found.norm(dim=1), torch.ones(2, 32, 48))

    def test_unknown_task(self):
        with pytest.raises(ValueError, match="one of .'normals', 'depth'., not 'albedo'"):
            MODELS.build(dict(type='IDiscHead', task='albedo', in_channels=8))


class TestVPD:
    def test_equals_mmsegmentations_on_even_maps(self):
        ours = MODELS.build(dict(type='DepthHead', **VPD)).eval()
        theirs = MODELS.build(dict(type='VPDDepthHead', **VPD)).eval()
        theirs.load_state_dict(ours.state_dict())
        inputs = [torch.randn(1, c, 32 // 2**k, 48 // 2**k) for k, c in enumerate((16, 24, 32, 32))]
        with torch.no_grad():
            torch.testing.assert_close(ours(inputs), theirs(inputs))

    @needs_float16
    @pytest.mark.parametrize('dtype', ['fp16', 'bf16'])
    def test_joins_maps_of_a_backbone_in_another_half_precision(self, pipeline_folder, dtype):
        backbone = MODELS.build(
            dict(
                type='DiffusionBackbone',
                out_strides=[4, 8, 16, 16],
                diffusion=dict(source=pipeline_folder, dtype=dtype),
            )
        )
        head = MODELS.build(dict(type='DepthHead', **VPD))
        with torch.autocast('cpu', torch.float16):
            depth = head(backbone(torch.zeros(1, 3, 32, 48)))
        assert depth.isfinite().all()

    @pytest.mark.parametrize(
        'size, border', [((480, 480), (1, 1)), ((640, 480), (0, 1)), ((512, 448), (0, 0)), ((427, 640), (0, 0))]
    )
    def test_the_padding_of_the_window_is_cut_off(self, size, border):
        """Windows padded to multiples of 64; what VPD's code does to those of 480 pixels."""
        ours = MODELS.build(dict(type='DepthHead', padded_stride=32, **VPD)).eval()
        theirs = MODELS.build(dict(type='VPDDepthHead', fmap_border=border, **VPD)).eval()
        theirs.load_state_dict(ours.state_dict())
        padded = [-(-side // 64) * 64 for side in size]
        inputs = [torch.randn(1, c, *(side // 2**k for side in padded)) for k, c in zip((3, 4, 5, 6), (16, 24, 32, 32))]
        sample = SegDataSample()
        sample.gt_depth_map = PixelData(data=1 + torch.rand(1, *size))
        with torch.no_grad():
            expected = theirs(inputs)[..., : size[0], : size[1]]
            found = ours.predict(inputs, [dict(pad_shape=(*size, 3))], None)
            loss = ours.loss(inputs, [sample], None)['loss_silog']
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(loss, ours.loss_decode(expected, sample.gt_depth_map.data[None]))

    def test_the_padding_is_cut_off_once(self):
        with pytest.raises(ValueError, match=r'padded_stride=32 leave fmap_border=\(1, 1\) out'):
            MODELS.build(dict(type='DepthHead', padded_stride=32, fmap_border=1, **VPD))

    def test_odd_maps(self):
        head = MODELS.build(dict(type='DepthHead', **VPD)).eval()
        inputs = [torch.randn(1, c, *size) for c, size in zip((16, 24, 32, 32), ((31, 45), (16, 23), (8, 12), (4, 6)))]
        found = head.predict(inputs, [dict(pad_shape=(61, 90))], None)
        assert found.shape == (1, 1, 61, 90) and 0 < found.min() and found.max() < 8


class TestBae:
    def build(self, **options):
        return MODELS.build(dict(type='NormalHead', in_channels=(4, 6, 8, 12, 32), channels=128, **options))

    def pyramid(self):
        return [torch.randn(2, c, 32 // 2**k, 32 // 2**k) for k, c in enumerate((4, 6, 8, 12, 32))]

    @pytest.mark.parametrize('kind', ['l1', 'l2', 'cosine', 'angular', 'nll_vmf', 'nll_angular'])
    @pytest.mark.parametrize('sampled', [True, False])
    def test_every_loss_with_and_without_sampling(self, kind, sampled):
        head = self.build(
            uncertainty_sampling=sampled, loss_decode=dict(type='MultiscaleNormalLoss', kind=kind)
        ).train()
        loss = head.loss(self.pyramid(), [normals((64, 64)), normals((64, 64))], None)
        loss['loss_normal'].backward()
        assert torch.isfinite(loss['loss_normal'])
        assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)

    def test_dense_training_is_the_loss_of_every_scale(self):
        head = self.build(uncertainty_sampling=False).train()
        inputs, samples = self.pyramid(), [normals((64, 64)), normals((64, 64))]
        target, mask = normal_target(samples)
        terms = [
            head.loss_decode.single(
                F.interpolate(scale.maps, (64, 64), mode='bilinear', align_corners=True), target, mask
            )
            for scale in head.decoder(inputs)
        ]
        torch.testing.assert_close(head.loss(inputs, samples, None)['loss_normal'], sum(terms))

    def test_prediction_has_unit_length_at_any_size(self):
        found = self.build().eval().predict(self.pyramid(), [dict(pad_shape=(61, 50))] * 2, None)
        assert found.shape == (2, 4, 61, 50) and (found[:, 3] > 0).all()
        torch.testing.assert_close(found[:, :3].norm(dim=1), torch.ones(2, 61, 50))


class TestTargets:
    def test_weights_of_some_samples(self):
        plain, weighted = normals(), normals(weight=0.25)
        weighted.gt_normal_map.data[:, 0] = 0
        _, mask = normal_target([plain, plain])
        assert mask.dtype == torch.bool and mask.all()
        _, mask = normal_target([plain, weighted])
        assert (mask[0] == 1).all() and (mask[1, 0] == 0).all() and (mask[1, 1:] == 0.25).all()

    def test_missing_truth_is_told(self):
        for target, name in ((normal_target, 'gt_normal_map'), (depth_target, 'gt_depth_map')):
            with pytest.raises(ValueError, match=f'no {name}: load it in the pipeline'):
                target([SegDataSample()])
