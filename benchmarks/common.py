"""What the benchmarks share: models with random weights, alternating timing, a small report."""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from mmengine.registry import MODELS
from mmengine.utils import get_git_hash
from transformers import CLIPTextConfig, CLIPTextModel

import diff2in1_mm  # noqa: F401  (registers the modules)
from diff2in1_mm.diffusion.conditions.clip_texts import clip_tokenizer

# 'small' is the model of configs/diffusion_camvid.py, 'sd15' Stable Diffusion 1.5.
ARCHITECTURES = dict(
    small=dict(
        vae=dict(
            block_out_channels=[24, 48, 64],
            layers_per_block=1,
            norm_num_groups=8,
            latent_channels=8,
            mid_block_add_attention=False,
        ),
        unet=dict(
            sample_size=64,
            block_out_channels=[64, 96, 160],
            layers_per_block=1,
            in_channels=8,
            out_channels=8,
            norm_num_groups=16,
            attention_head_dim=4,
            cross_attention_dim=64,
            down_block_types=['DownBlock2D', *['CrossAttnDownBlock2D'] * 2],
            up_block_types=[*['CrossAttnUpBlock2D'] * 2, 'UpBlock2D'],
        ),
        text=dict(hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4),
        dtype='fp32',
        size=(192, 256),
        head_channels=64,
    ),
    sd15=dict(
        vae=dict(
            block_out_channels=[128, 256, 512, 512], layers_per_block=2, latent_channels=4, scaling_factor=0.18215
        ),
        unet=dict(
            sample_size=64,
            block_out_channels=[320, 640, 1280, 1280],
            layers_per_block=2,
            attention_head_dim=8,
            cross_attention_dim=768,
        ),
        text=dict(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
        ),
        dtype='bf16',
        size=(512, 512),
        head_channels=256,
    ),
)


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        '--model',
        choices=sorted(ARCHITECTURES),
        default='small',
        help='the small model of the CamVid config, or Stable Diffusion 1.5; both '
        'with random weights, since only time and memory are measured',
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=10, help='how often each side is timed; the sides take turns')
    parser.add_argument('--out', help='also write the figures to this JSON file')
    return parser


@contextmanager
def random_pipeline(name: str):
    """A diffusers folder of an architecture with random weights, while the block lasts."""
    spec = ARCHITECTURES[name]
    torch.manual_seed(0)
    levels = len(spec['vae']['block_out_channels'])
    vae = AutoencoderKL(
        down_block_types=['DownEncoderBlock2D'] * levels, up_block_types=['UpDecoderBlock2D'] * levels, **spec['vae']
    )
    unet = UNet2DConditionModel(**spec['unet'])
    text = CLIPTextModel(CLIPTextConfig(vocab_size=49408, max_position_embeddings=77, **spec['text']))
    # By keyword: diffusers takes positional arguments for defaults, and then loses them.
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule='scaled_linear',
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipe = StableDiffusionPipeline(
        vae,
        text,
        clip_tokenizer(),
        unet,
        scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    half = torch.float16 if spec['dtype'] != 'fp32' else torch.float32
    with tempfile.TemporaryDirectory() as folder:
        pipe.to(half).save_pretrained(folder)
        del pipe, vae, unet, text
        yield folder


def segmentor(name: str, folder: str, device: str, num_classes: int = 19, dtype: str | None = None, **options):
    """EncoderDecoder with DiffusionBackbone (which gets the options), FPN and FPNHead, as in the shipped configs."""
    spec = ARCHITECTURES[name]
    diffusion = dict(source=folder, dtype=dtype or spec['dtype'])
    backbone = dict(type='DiffusionBackbone', diffusion=diffusion, **options)
    channels = spec['head_channels']
    widths = list(spec['unet']['block_out_channels'])
    norm = dict(type='BN', requires_grad=True)
    cfg = dict(
        type='mmseg.EncoderDecoder',
        backbone=backbone,
        data_preprocessor=dict(type='mmseg.SegDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3),
        neck=dict(type='mmseg.FPN', in_channels=widths, out_channels=channels, num_outs=len(widths)),
        decode_head=dict(
            type='mmseg.FPNHead',
            in_channels=[channels] * len(widths),
            in_index=list(range(len(widths))),
            feature_strides=[4 * 2**i for i in range(len(widths))],
            channels=channels,
            num_classes=num_classes,
            norm_cfg=norm,
            align_corners=False,
            loss_decode=dict(type='mmseg.CrossEntropyLoss', use_sigmoid=False),
        ),
    )
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    return model.to(device)


def alternate(
    sides: dict[str, Callable], rounds: int, device: str, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Time the sides in turn, so that what disturbs the machine disturbs them alike.

    Args:
        sides (dict[str, Callable]): What to time, by name.
        rounds (int): How often each; two more rounds warm up.
        device (str): Waited for before a clock is read.
        clock (Callable): In seconds; ``time.process_time`` on a CPU that others use too.

    Returns:
        dict[str, float]: Median seconds of each side.
    """
    seconds = {name: [] for name in sides}
    for round in range(rounds + 2):
        for name, run in sides.items():
            wait(device)
            start = clock()
            run()
            wait(device)
            if round >= 2:
                seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def clock_of(device: str) -> Callable[[], float]:
    """Processor time of this process on a CPU, which others may use too; else the time of day."""
    return time.process_time if device == 'cpu' else time.perf_counter


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device.startswith('cuda'):
        torch.cuda.synchronize()


def machine(device: str) -> str:
    """What the figures were taken on."""
    name = torch.cuda.get_device_name() if device.startswith('cuda') else platform.machine()
    return f'{name}, {torch.get_num_threads()} threads, torch {torch.__version__}'


def report(title: str, rows: Sequence[tuple], args) -> None:
    """Print the figures, and write them where asked."""
    print(f'\n{title} ({machine(args.device)}, batch {args.batch_size})')
    for name, value, unit in rows:
        print(f'  {name:<58} {value:10.3f} {unit}')
    if args.out:
        content = dict(
            title=title,
            machine=machine(args.device),
            commit=get_git_hash(),
            arguments=vars(args),
            figures={name: value for name, value, _ in rows},
        )
        temporary = f'{args.out}.tmp'
        with open(temporary, 'w', encoding='utf-8') as file:
            json.dump(content, file, indent=2)
        os.replace(temporary, args.out)
