"""A family of one's own: one class and one line of the table, and perception and generation take it."""

import json

import pytest
import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from mmengine.registry import MODELS
from torch import nn

from diff2in1_mm.creation.generator import PartialNoiseGenerator
from diff2in1_mm.diffusion import families
from diff2in1_mm.diffusion.condition import Condition
from diff2in1_mm.diffusion.contract import DiffusionModel
from diff2in1_mm.diffusion.padding import pad_to_stride
from diff2in1_mm.diffusion.schedules import partial_noise_schedule
from diff2in1_mm.diffusion.taps import FeatureTaps, Tap, select_taps

from ..small_models import write_json

SCHEDULE = dict(num_train_timesteps=500, beta_start=0.001, beta_end=0.02, beta_schedule='linear')


class ToyTransformer(ModelMixin, ConfigMixin):
    """Patches of 4 x 4 pixels, one layer, a pooled condition."""

    @register_to_config
    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.patches = nn.Linear(3 * 16, width)
        self.block = nn.Linear(width, width)
        self.out = nn.Linear(width, 3 * 16)

    def forward(self, pixels, pooled):
        tokens = nn.functional.pixel_unshuffle(pixels, 4).flatten(2).transpose(1, 2)
        tokens = self.block(self.patches(tokens) + pooled[:, None])
        grid = self.out(tokens).transpose(1, 2).unflatten(2, [side // 4 for side in pixels.shape[-2:]])
        return nn.functional.pixel_shuffle(grid, 4)


class TokenTap(Tap):
    def to_map(self, output, size):
        return output.transpose(1, 2).unflatten(2, [side // self.stride for side in size])


class ToyTexts:
    def embed(self, texts):
        return Condition(torch.zeros(len(texts), 0, 0), pooled=torch.tensor([[float(len(t))] * 12 for t in texts]))

    def check_lengths(self, texts):
        assert texts


class ToyDiffusion(DiffusionModel):
    stride, num_train_timesteps = 4, 500

    def __init__(self, net, source):
        super().__init__()
        self.net, self.source, self.schedule, self.text = net, source, SCHEDULE, ToyTexts()
        self.freeze()

    @classmethod
    def from_pretrained(cls, source, dtype='fp32'):
        return cls(ToyTransformer.from_pretrained(source, subfolder='transformer'), source)

    def taps(self):
        return [TokenTap('patches', 4, 12, 'encoder'), TokenTap('block', 4, 12, 'decoder')]

    def encode(self, images, generators=None, scaled=True):
        return pad_to_stride(images, self.stride)

    def decode(self, latents, size):
        return latents[..., : size[0], : size[1]].clamp(-1, 1)

    def add_noise(self, latents, noise, level):
        return latents + noise * level / 500

    def noise_ratio(self, level):
        return level / 500

    def predict(self, latents, timestep, condition, taps=()):
        chosen = [tap for tap in self.taps() if tap.name in taps]
        with torch.no_grad(), FeatureTaps(self.net, chosen, latents.shape[-2:]) as maps:
            output = self.net(latents, condition.expand(len(latents)).pooled)
        return output, maps

    def partial_schedule(self, T, steps, solver='dpmsolver++'):
        return partial_noise_schedule(self.schedule, T, steps, solver)

    def check_condition(self, condition):
        assert condition.pooled.shape[1] == 12


@pytest.fixture
def toy(tmp_path, monkeypatch):
    torch.manual_seed(0)
    ToyTransformer().save_pretrained(tmp_path / 'transformer')
    write_json(tmp_path / 'model_index.json', {'_class_name': 'ToyPipeline', 'transformer': ['here', 'ToyTransformer']})
    line = families.Family('Toy', ('ToyPipeline',), __name__, 'ToyDiffusion')
    monkeypatch.setattr(families, 'FAMILIES', [*families.FAMILIES, line])
    return str(tmp_path)


def test_a_family_is_one_class_and_one_line(toy):
    backbone = MODELS.build(dict(type='DiffusionBackbone', diffusion=toy, condition=dict(type='Prompt', text='abc')))
    assert isinstance(backbone.diffusion, ToyDiffusion) and backbone.frozen and backbone.strides == (4,)
    images = torch.rand(2, 3, 9, 14) * 2 - 1
    (feature,) = backbone.eval()(images)
    assert feature.shape == (2, 12, 3, 4)
    net, padded = backbone.diffusion.net, pad_to_stride(images, 4)
    tokens = nn.functional.pixel_unshuffle(padded, 4).flatten(2).transpose(1, 2)
    expected = net.block(net.patches(tokens) + 3).transpose(1, 2).unflatten(2, (3, 4))
    torch.testing.assert_close(feature, expected)

    generator = PartialNoiseGenerator(T=300, steps=3, condition=dict(type='Prompt', text='abc'))
    generator.check_model(backbone.diffusion)
    told = generator.condition.embed(backbone.diffusion.text)
    made = generator.generate(backbone.diffusion, images, told, [1, 2], 300, backbone.tap_names)
    assert made.images.shape == images.shape and made.images.isfinite().all()
    assert made.taps['block'].shape == (2, 12, 3, 4)
    families.check_source(toy)


def test_a_family_has_its_own_levels(toy):
    with pytest.raises(ValueError, match='T = 600 is out of range: .* between 1 and 499'):
        PartialNoiseGenerator(T=600, steps=3).check_model(families.load_diffusion(toy))
    with pytest.raises(ValueError, match='backbone.timestep = 500 is out of range: a whole number between 0 and 499'):
        MODELS.build(dict(type='DiffusionBackbone', diffusion=toy, timestep=500))


def test_the_decoder_is_a_role_and_no_name(toy):
    assert select_taps(families.load_diffusion(toy).taps(), 'decoder') == [[TokenTap('block', 4, 12, 'decoder')]]


@pytest.mark.parametrize('load', [families.load_diffusion, families.check_source])
def test_a_family_that_is_not_there_is_refused_with_those_that_are(tmp_path, toy, load):
    folder = tmp_path / 'other'
    (folder / 'transformer').mkdir(parents=True)
    write_json(folder / 'model_index.json', {'_class_name': 'UnknownPipeline', 'transformer': ['diffusers', 'X']})
    with pytest.raises(ValueError, match='is a UnknownPipeline, .*Stable Diffusion 1.x and 2.x, or of .* or of Toy$'):
        load(str(folder))


def test_a_pipeline_of_another_name_around_a_known_unet_is_served(pipeline_folder, tmp_path):
    folder = tmp_path / 'custom'
    folder.mkdir()
    for part in ('unet', 'vae', 'scheduler'):
        (folder / part).symlink_to(f'{pipeline_folder}/{part}')
    index = json.loads(open(f'{pipeline_folder}/model_index.json').read())
    write_json(folder / 'model_index.json', {**index, '_class_name': 'MyPipeline'})
    assert families.load_diffusion(str(folder)).stride == 16
