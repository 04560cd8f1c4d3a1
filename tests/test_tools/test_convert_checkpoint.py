"""Published layouts, converted and run by tools/test.py."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer
from mmengine.registry import METRICS, MODELS, init_default_scope
from safetensors.torch import load_file, save_file
from torch import nn

import diff2in1_mm  # noqa: F401
from diff2in1_mm.diffusion.contract import same_weights
from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion
from diff2in1_mm.diffusion.taps import FeatureTaps
from diff2in1_mm.utils.compat import load_weights_only

from .. import published
from ..golden_values import Golden
from ..original_layout import original_state, small_sd
from ..small_models import assert_same

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip('mmseg')


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def convert(*args):
    """Run the tool; what it reports."""
    args = [str(arg) for arg in args]
    tool('convert_checkpoint').main(args)
    return json.loads((Path(args[args.index('--out') + 1]) / 'report.json').read_text())


def refusal(capsys, *args):
    """The one sentence that the tool stops with."""
    capsys.readouterr()  # progress bars of earlier calls
    with pytest.raises(SystemExit) as stopped:
        convert(*args)
    text = capsys.readouterr().err.strip()
    assert stopped.value.code == 2 and '\n' not in text
    return text


@METRICS.register_module(force=True)
class KeptPredictions(BaseMetric):
    """Keeps what the model predicts."""

    kept: list = []

    def process(self, data_batch, data_samples):
        self.results += [0] * len(data_samples)
        KeptPredictions.kept += data_samples

    def compute_metrics(self, results):
        return dict(images=len(results))


def evaluate(folder, dataset, field, tmp_path, **more):
    """Predictions (2, C, H, W) that tools/test.py makes with a converted model."""
    text = Config(
        dict(
            test_dataloader=dict(
                _delete_=True,
                batch_size=1,
                num_workers=0,
                dataset=dataset,
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            test_evaluator=dict(_delete_=True, type='KeptPredictions'),
            **more,
        )
    ).pretty_text
    config = tmp_path / 'evaluation.py'
    config.write_text(f'_base_ = [{str(folder / "config.py")!r}]\n{text}')
    KeptPredictions.kept.clear()
    tool('test').main([str(config), str(folder / 'checkpoint.pth'), '--work-dir', str(tmp_path / 'work')])
    assert len(KeptPredictions.kept) == 2
    return torch.stack([sample[field]['data'] for sample in KeptPredictions.kept])


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Two photographs of 96 x 160 in a folder for all tasks, and they as the models see them."""
    root = tmp_path_factory.mktemp('data')
    rng = np.random.default_rng(0)
    inputs = []
    for name in ('img', 'norm', 'depth'):
        (root / 'test' / name).mkdir(parents=True)
    for i in range(2):
        coarse = rng.integers(0, 256, (6, 10, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (160, 96), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(root / 'test' / 'img' / f'{i}.png'), image)
        cv2.imwrite(str(root / 'test' / 'norm' / f'{i}.png'), np.full_like(image, 200))
        depth = np.full(image.shape[:2], 2000, np.uint16)
        cv2.imwrite(str(root / 'test' / 'depth' / f'{i}.png'), depth)
        inputs.append(torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1) / 127.5 - 1)
    return root, torch.stack(inputs)


def adapted(state, prefix, scenes=False):
    """Embeddings as VPD makes them in every forward."""
    fc = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))
    fc.load_state_dict({key.split('fc.')[1]: value for key, value in state.items() if '.fc.' in key})
    texts = state[f'{prefix}class_embeddings']
    texts = texts[:4].mean(0, keepdim=True) if scenes else texts
    with torch.no_grad():
        return texts + state[f'{prefix}gamma'] * fc(texts)


def built(config, seed):
    init_default_scope('mmseg')
    module = MODELS.build(config)
    module.load_state_dict(published.randomised(module, seed))
    return module.eval()


def test_vpd_segmentation(small, folder, photos, tmp_path):
    neck, head = built(published.FPN, 1), built(published.FPN_HEAD, 2)
    state = published.vpd_segmentation(*small, neck.state_dict(), head.state_dict())
    torch.save(dict(meta=dict(epoch=1), state_dict=state, optimizer={}), tmp_path / 'seg.pth')
    content = convert(tmp_path / 'seg.pth', '--out', tmp_path / 'out')
    assert content['source'] == 'VPD segmentation'
    assert set(content['unused']) == {'sd_model.betas'}
    assert len(content['used']) == len(state) - 1
    assert all(name.startswith('vae.decoder.') for name in content['missing'])

    # directly: our backbone on the owner's folder, with the adapter's own output
    save_file({'c': adapted(state, '')}, tmp_path / 'tokens.safetensors')
    backbone = MODELS.build(
        dict(
            type='DiffusionBackbone',
            diffusion=str(folder),
            scale_latents=False,
            attention_maps=True,
            condition=dict(type='PrecomputedEmbeddings', path=str(tmp_path / 'tokens.safetensors')),
        )
    )
    with torch.no_grad():
        logits = head(neck(backbone(photos[1])))
    logits = F.interpolate(logits, photos[1].shape[-2:], mode='bilinear')

    load = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(photos[0]),
        img_suffix='.png',
        data_prefix=dict(img_path='test/img'),
        test_mode=True,
        pipeline=load,
        metainfo=dict(classes=('a', 'b', 'c'), palette=[[0] * 3] * 3),
    )
    found = evaluate(tmp_path / 'out', dataset, 'seg_logits', tmp_path)
    assert_same(found, logits, 1e-4)
    assert (found.flatten(2).std(-1) > 0.01).all()


@pytest.mark.parametrize('layout', ['vpd', 'mmseg'])
def test_vpd_depth(layout, small, photos, tmp_path):
    # MMSegmentation's own head stands for the reference.
    head = built(dict(type='VPDDepthHead', **published.DEPTH_HEAD), 3)
    if layout == 'vpd':
        state = published.vpd_depth(*small, head.state_dict())
        content = dict(model={f'module.{key}': value for key, value in state.items()})
        prefix, name = 'encoder.', 'VPD depth'
    else:
        state = published.mmseg_depth(*small, head.state_dict())
        content = dict(state_dict=state, message_hub=dict(log=HistoryBuffer([1.0], [1])))
        prefix, name = 'backbone.', "MMSegmentation's VPD depth"
    torch.save(content, tmp_path / 'depth.ckpt')
    content = convert(tmp_path / 'depth.ckpt', '--out', tmp_path / 'out')
    assert content['source'] == name and not content['unused']
    assert ('unet.conv_out.weight' in content['missing']) == (layout == 'vpd')

    depth = vpd_depth_reference(*small, adapted(state, prefix, scenes=True), head, photos[1])
    load = [dict(type='LoadImageFromFile'), dict(type='LoadDepth'), dict(type='PackSceneInputs')]
    dataset = dict(
        type='NYUDataset',
        data_root=str(photos[0]),
        img_suffix='.png',
        data_prefix=dict(img_path='test/img', depth_map_path='test/depth'),
        test_mode=True,
        pipeline=load,
    )
    found = evaluate(tmp_path / 'out', dataset, 'pred_depth_map', tmp_path)
    assert_same(found, depth, 1e-4)
    assert found.std() > 0.01


def vpd_depth_reference(vae, unet, token, head, images):
    """What the VPD code computes for images 32 pixels short of the stride, averaged with a flip."""
    names = [
        'up_blocks.3.attentions.2',
        'up_blocks.2.attentions.1',
        'up_blocks.1.attentions.1',
        'up_blocks.0.resnets.1',
    ]
    found = []
    for batch in (images, images.flip(-1)):
        padded = F.pad(batch, (0, 32, 0, 32))
        with torch.no_grad(), FeatureTaps(unet, names) as maps:
            unet(vae.encode(padded).latent_dist.mean, 1, token.expand(len(batch), 1, -1))
            found.append(head([maps[name] for name in names]))
    return (found[0] + found[1].flip(-1)) / 2


def normal_parts(folder):
    init_default_scope('mmseg')
    groups = MODELS.build(
        dict(
            type='DiffusionBackbone',
            diffusion=str(folder),
            taps='all',
            timestep=0,
            condition=dict(type='PrecomputedEmbeddings', path=str(folder / 'empty.safetensors')),
        )
    )
    outputs = [8, 8, 16, 16, 32]
    neck = built(dict(type='DiffusionAggregator', in_channels=groups.out_channels, out_channels=outputs), 4)
    head = built(dict(type='NormalHead', in_channels=outputs, channels=128), 5)
    return groups, neck, head


def test_normals_of_diff2in1(folder, photos, tmp_path, capsys):
    save_file({'c': torch.zeros(2, 64)}, folder / 'empty.safetensors')
    backbone, neck, head = normal_parts(folder)
    torch.save(published.released_aggregator(neck.state_dict()), tmp_path / 'a.pth')
    torch.save(published.released_decoder(head.decoder.state_dict()), tmp_path / 'b.pth')
    assert 'the normal decoder is missing' in refusal(capsys, tmp_path / 'a.pth', '--out', tmp_path / 'out')
    assert 'the aggregator is missing' in refusal(capsys, tmp_path / 'b.pth', '--out', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()

    content = convert(tmp_path / 'b.pth', tmp_path / 'a.pth', '--out', tmp_path / 'out', '--diffusion', folder)
    assert list(content['unused']) == ['mlp.layers.0.weight']
    state = load_weights_only(tmp_path / 'out' / 'checkpoint.pth')['state_dict']
    assert same_weights(state['backbone.frozen_fingerprint'], backbone.diffusion.fingerprint())
    # The prompt is the empty one; the small model has no text encoder.
    plain = dict(
        backbone=dict(
            noise=False,
            sample_posterior=False,
            condition=dict(type='PrecomputedEmbeddings', path=str(folder / 'empty.safetensors')),
        )
    )
    load = [dict(type='LoadImageFromFile'), dict(type='LoadNormals'), dict(type='PackSceneInputs')]
    dataset = dict(type='NYUNormalsDataset', data_root=str(photos[0]), split='test', pipeline=load)
    found = evaluate(tmp_path / 'out', dataset, 'pred_normal_map', tmp_path, model=plain)
    with torch.no_grad():
        maps = head(neck(backbone(photos[1])))
        expected = F.interpolate(maps[:, :3], found.shape[-2:], mode='bilinear')
    assert_same(found, F.normalize(expected, dim=1), 1e-3)


def test_normals_name_their_diffusion_model_only_where_it_is_given(folder, tmp_path):
    save_file({'c': torch.zeros(2, 64)}, folder / 'empty.safetensors')
    _, neck, head = normal_parts(folder)
    torch.save(
        {**published.released_aggregator(neck.state_dict()), **published.released_decoder(head.decoder.state_dict())},
        tmp_path / 'both.pt',
    )
    content = convert(tmp_path / 'both.pt', '--out', tmp_path / 'out')
    assert 'was not loaded' in content['missing']['backbone.frozen_fingerprint']
    cfg = Config.fromfile(tmp_path / 'out' / 'config.py')
    assert cfg.model.backbone.diffusion.source == 'stable-diffusion-v1-5/stable-diffusion-v1-5'
    assert 'creation' in cfg.custom_hooks[0]  # the released recipe goes on from here


def test_stable_diffusion(tmp_path, capsys):
    vae, unet, text = small_sd()
    state = original_state(vae, unet, text)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    state.update({'model_ema.decay': torch.zeros(()), 'alphas_cumprod': (1 - betas).cumprod(0)})
    save_file(state, tmp_path / 'sd.safetensors')
    content = convert(tmp_path / 'sd.safetensors', '--out', tmp_path / 'out')
    assert set(content['unused']) == {'model_ema.decay', 'alphas_cumprod'}
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / 'out')
    for ours, theirs in ((pipe.vae, vae), (pipe.unet, unet), (pipe.text_encoder, text)):
        for key, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[key], value), key
    a, b = (LatentDiffusion.from_pretrained(str(tmp_path / name)) for name in ('out', 'sd.safetensors'))
    assert torch.equal(a.fingerprint(), b.fingerprint()) and a.can_decode
    assert a.schedule['beta_schedule'] == b.schedule['beta_schedule']

    save_file(original_state(*small_sd(v2=True), v2=True), tmp_path / 'v2.safetensors')
    command = (tmp_path / 'v2.safetensors', '--out', tmp_path / 'v2')
    assert 'add --prediction-type v_prediction' in refusal(capsys, *command)
    convert(*command, '--prediction-type', 'v_prediction')
    folder = LatentDiffusion.from_pretrained(str(tmp_path / 'v2'))
    assert folder.schedule['prediction_type'] == 'v_prediction'
    file = LatentDiffusion.from_pretrained(str(tmp_path / 'v2.safetensors'), prediction_type='v_prediction')
    # padded as the 2.x folders of the hub are
    assert folder.text._load()[0].pad_token == '!'
    assert torch.equal(*(model.text.sequences(['a car']) for model in (folder, file)))


def test_the_whole_chain_equals_the_vpd_code(golden, small, tmp_path, monkeypatch):
    """Golden values of VPD's U-Net through the converter's own mapping."""
    values = Golden(golden, 'vpd_unet')
    channels = [32, 64 + 150, 128 + 150, 128]
    neck = built(dict(published.FPN, in_channels=channels), 1)
    head = built(published.FPN_HEAD, 2)
    state = published.vpd_segmentation(*small, neck.state_dict(), head.state_dict())
    state = {key: value for key, value in state.items() if not key.startswith('unet.')}
    state.update({f'unet.{key}': value for key, value in values.state().items()})
    state['class_embeddings'] = values.input('context')[0]
    state['gamma'] = torch.zeros(64)
    save_file(state, tmp_path / 'vpd.safetensors')
    convert(tmp_path / 'vpd.safetensors', '--out', tmp_path / 'out')
    init_default_scope('mmseg')
    backbone = MODELS.build(Config.fromfile(tmp_path / 'out' / 'config.py').model.backbone)
    monkeypatch.setattr(backbone.diffusion, 'encode', lambda pixels, *_, scaled: values.input('latents'))
    features = backbone(torch.zeros(1, 3, 512, 512))
    for i, feature in enumerate(features):
        width = feature.shape[1] - (150 if i in (1, 2) else 0)
        name = f'out{i}.features'
        assert values.error(name, feature[:, :width]) <= 5 * values.rounding(name)
        if width < feature.shape[1]:
            name = f'out{i}.attention'
            assert values.error(name, feature[:, width:]) <= 5 * values.rounding(name)


def test_a_converted_model_does_not_generate_by_itself(small, folder, tmp_path):
    head = built(dict(type='VPDDepthHead', **published.DEPTH_HEAD), 3)
    torch.save(published.vpd_depth(*small, head.state_dict()), tmp_path / 'depth.pth')
    convert(tmp_path / 'depth.pth', '--out', tmp_path / 'out', '--diffusion', folder)
    model = LatentDiffusion.from_pretrained(str(tmp_path / 'out' / 'diffusion'))
    with pytest.raises(ValueError, match='without a decoder and cannot generate: set creation'):
        model.decode(torch.zeros(1, 4, 8, 8), (64, 64))
    cfg = Config.fromfile(tmp_path / 'out' / 'config.py')
    assert cfg.custom_hooks[0].creation.diffusion == str(folder)
    assert cfg.work_dir == 'work_dirs/out'  # and no other's, though each is called config.py
    assert load_file(tmp_path / 'out' / 'embeddings.safetensors')['tokens'].shape == (1, 64)
