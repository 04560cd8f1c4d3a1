"""Grids of pictures, saved pipelines, and which weights both show."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from diff2in1_mm.hooks.bf16_optim_wrapper import Bf16OptimWrapper
from diff2in1_mm.pretraining.hooks import to_pixels


class Painter(BaseModel):
    """Paints its one parameter."""

    def __init__(self):
        super().__init__()
        self.value = torch.nn.Parameter(torch.zeros(()))

    def forward(self, inputs, mode='loss', **kwargs):
        return dict(loss=-self.value)  # grows by the learning rate

    def sample_rows(self, images, seed):
        assert not self.training and not images.is_floating_point()
        return {'value': self.value.expand(len(images), 3, 16, 16)}

    def save_result(self, folder, dtype):
        with open(folder, 'a', encoding='utf-8') as file:
            file.write(f'{self.value.item():.3f} {dtype}\n')


@pytest.fixture
def images(tmp_path):
    (tmp_path / 'images').mkdir()
    for i in range(5):
        cv2.imwrite(str(tmp_path / 'images' / f'{i}.png'), np.zeros((16, 16, 3), np.uint8))
    return dict(type='ImageFolder', path=str(tmp_path / 'images'), size=(16, 16))


def run(tmp_path, images, hooks):
    painter = Painter()
    runner = Runner(
        painter,
        str(tmp_path / 'work'),
        train_dataloader=dict(
            batch_size=1,
            dataset=images,
            sampler=dict(type='InfiniteSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=5),
        optim_wrapper=OptimWrapper(torch.optim.SGD(painter.parameters(), 0.1)),
        custom_hooks=hooks,
    )
    runner.train()


def test_every_n_iterations_and_at_the_end(tmp_path, images):
    out = tmp_path / 'pipeline.txt'
    run(
        tmp_path,
        images,
        [
            dict(type='SampleGridHook', dataset=images, count=3, interval=2),
            dict(type='SavePipelineHook', out_dir=str(out), interval=3, dtype='fp16'),
        ],
    )
    samples = tmp_path / 'work' / 'samples'
    assert sorted(p.name for p in samples.iterdir()) == [f'iter_{i}.png' for i in (2, 4, 5)]
    picture = cv2.imread(str(samples / 'iter_5.png'))
    assert picture.shape == (14 + 16 + 4, 3 * (16 + 4), 3)
    assert abs(int(picture[20, 0, 0]) - 191) <= 1  # 0.5 in [-1, 1]
    assert out.read_text() == '0.300 fp16\n0.500 fp16\n'


def test_averaged_weights_are_shown_and_saved(tmp_path, images):
    out = tmp_path / 'pipeline.txt'
    run(
        tmp_path,
        images,
        [
            EMAHook(ema_type='ExponentialMovingAverage', momentum=0.5),
            dict(type='SampleGridHook', dataset=images, count=1, interval=9),
            dict(type='SavePipelineHook', out_dir=str(out), interval=9),
        ],
    )
    average = 0.1
    for step in range(2, 6):
        average = 0.5 * average + 0.5 * 0.1 * step
    assert out.read_text() == f'{average:.3f} fp32\n'
    picture = cv2.imread(str(tmp_path / 'work' / 'samples' / 'iter_5.png'))
    assert abs(int(picture[20, 0, 0]) - (average + 1) * 127.5) <= 1


def test_pictures_outside_the_range_are_cut():
    pixels = to_pixels(torch.stack([torch.ones(3, 8, 10), -torch.ones(3, 8, 10) * 3]))
    assert pixels.shape == (2, 8, 10, 3) and pixels.dtype == np.uint8
    assert (pixels[0] == 255).all() and (pixels[1] == 0).all()


def test_bfloat16_forward_and_float32_weights():
    layer = torch.nn.Linear(4, 4)
    wrapper = Bf16OptimWrapper(torch.optim.SGD(layer.parameters(), 0.1))
    with wrapper.optim_context(layer):
        output = layer(torch.randn(2, 4))
    assert output.dtype == torch.bfloat16
    wrapper.update_params(output.float().sum())
    assert layer.weight.dtype == torch.float32
    assert layer(torch.randn(2, 4)).dtype == torch.float32
