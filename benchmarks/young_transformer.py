"""A small diffusion transformer and a small U-Net of Rooms, trained from random weights for the same processor time.

    python benchmarks/young_transformer.py --minutes 40   # both, then frozen features: two hours of a core
    python benchmarks/young_transformer.py --table

Both denoise latents of the embedded model's autoencoder, at 64 x 64 pixels, are told nothing and trained by
tools/train_diffusion.py; the transformer of SD 3's class by flow matching, the U-Net of the embedded model's shape to
predict the noise. Then mIoU of a head on their frozen features, of which level and block are varied.
"""

import argparse
import os
import os.path as osp
import time

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from experiment import Arm, Experiment, set_lengths
from mmengine.config import Config
from mmengine.registry import init_default_scope
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

import diff2in1_mm
from diff2in1_mm.diffusion.loading.embedded import FOLDER
from diff2in1_mm.pretraining.full_trainer import FullTrainer
from diff2in1_mm.pretraining.pipeline_files import load_pipeline, save_pipeline
from diff2in1_mm.pretraining.tuning import training_of
from diff2in1_mm.utils.atomic_files import write_atomic

SIZE = (64, 64)
BLOCKS, HEADS, HEAD_WIDTH, TEXT_WIDTH, TEXT_TOKENS = 6, 4, 32, 48, 8
_MIDDLE = f'transformer_blocks.{BLOCKS // 2}'
_THREE = dict(timestep=[50, 150, 300])
#: Of the transformer a level is a thousandth of sigma: 364 has the noise of timestep 200.
ARMS = {
    'U-Net': ('unet', dict(taps='decoder')),
    'U-Net, all maps': ('unet', dict(taps='all')),
    'U-Net, three levels': ('unet', dict(taps='decoder', **_THREE)),
    'transformer, input': ('transformer', dict(taps=[f'{_MIDDLE}.norm1'])),
    'transformer, raw output': ('transformer', dict(taps=[_MIDDLE])),
    'transformer, input, level 184': ('transformer', dict(taps=[f'{_MIDDLE}.norm1'], timestep=184)),
    'transformer, input, level 364': ('transformer', dict(taps=[f'{_MIDDLE}.norm1'], timestep=364)),
    'transformer, input, three levels': ('transformer', dict(taps=[f'{_MIDDLE}.norm1'], timestep=[184, 320, 454])),
    'transformer, input, twice the size': ('transformer', dict(taps=[f'{_MIDDLE}.norm1'], image_scale=2)),
    'transformer, three blocks': (
        'transformer',
        dict(taps=[f'transformer_blocks.{i}.norm1' for i in (BLOCKS // 4, BLOCKS // 2, 3 * BLOCKS // 4)]),
    ),
}


def new_transformer(folder: str) -> None:
    """Write an SD 3 folder: the embedded autoencoder, transformer and text encoders at random weights."""
    rooms = load_pipeline(str(FOLDER))
    torch.manual_seed(0)
    vae, tokenizer = rooms.vae, rooms.tokenizer
    vae.register_to_config(shift_factor=0.0)
    tokenizer.model_max_length = TEXT_TOKENS  # for the empty text
    texts = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH // 2,
        intermediate_size=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=TEXT_WIDTH // 2,
        max_position_embeddings=TEXT_TOKENS,
        eos_token_id=tokenizer.eos_token_id,
    )
    latent = SIZE[0] // 2 ** (len(vae.config.block_out_channels) - 1)
    transformer = SD3Transformer2DModel(
        sample_size=latent,
        patch_size=2,
        in_channels=vae.config.latent_channels,
        out_channels=vae.config.latent_channels,
        num_layers=BLOCKS,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=HEADS,
        joint_attention_dim=TEXT_WIDTH,
        caption_projection_dim=HEADS * HEAD_WIDTH,
        pooled_projection_dim=TEXT_WIDTH,
        pos_embed_max_size=latent,  # twice the tokens of a side
    )
    encoders = [CLIPTextModelWithProjection(texts) for _ in range(2)]
    save_pipeline(
        StableDiffusion3Pipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=vae,
            text_encoder=encoders[0],
            tokenizer=tokenizer,
            text_encoder_2=encoders[1],
            tokenizer_2=tokenizer,
            text_encoder_3=None,
            tokenizer_3=None,
        ),
        folder,
    )


def new_unet(folder: str) -> None:
    """Write the embedded model's folder with its U-Net at random weights."""
    rooms: StableDiffusionPipeline = load_pipeline(str(FOLDER))
    torch.manual_seed(0)
    rooms.register_modules(unet=UNet2DConditionModel.from_config(rooms.unet.config))
    save_pipeline(rooms, folder)


NEW = dict(unet=new_unet, transformer=new_transformer)


def seconds_of(trainer: FullTrainer, batch_size: int, rounds: int = 4) -> float:
    """Processor time of an iteration."""
    latents = torch.randn(batch_size, trainer.model.vae.config.latent_channels, *(side // 4 for side in SIZE))
    optimizer = torch.optim.AdamW(trainer.parameters())
    begin = 0.0
    for number in range(rounds + 1):
        if number == 1:  # the first one allocates
            begin = time.process_time()
        optimizer.zero_grad()
        trainer(latents=latents)['loss_denoising'].backward()
        optimizer.step()
    return (time.process_time() - begin) / rounds


def train(args: argparse.Namespace, kind: str) -> None:
    """Train one of them by the tool, for so many iterations as the time allows."""
    start = osp.join(args.out, f'{kind}-new')
    if not osp.isdir(start):
        NEW[kind](start)
    cfg = Config.fromfile(diff2in1_mm.config_path('diffusion_full.py'))
    count = osp.join(args.out, f'{kind}-iterations.txt')
    if not osp.exists(count):  # another one of a run that goes on would have another schedule
        seconds = seconds_of(FullTrainer(start), args.batch_size)
        write_atomic(count, f'{int(args.minutes * 60 / seconds)}\n'.encode())
    with open(count, encoding='utf-8') as file:
        iterations = int(file.read())
    cfg.data_root, cfg.pretrained = args.data_root, start
    cfg.images = dict(path='images/unlabelled', size=SIZE, captions=None)
    cfg.rooms = dict(splits=['unlabelled'], size=SIZE, counts=dict(unlabelled=args.num_unlabelled))
    cfg.denoiser.model.update(dtype='fp32', gradient_checkpointing=False, caption_dropout=0.0)
    cfg.denoiser.train_dataloader.update(batch_size=args.batch_size, num_workers=0, persistent_workers=False)
    cfg.denoiser.optim_wrapper.update(accumulative_counts=1)
    cfg.denoiser.optim_wrapper.optimizer.lr = args.lr
    cfg.denoiser.param_scheduler = [
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=iterations, eta_min=args.lr / 30),
    ]
    cfg.denoiser.train_cfg.max_iters = iterations
    for hook in cfg.denoiser.custom_hooks:
        hook.interval = iterations
    cfg.work_dir = osp.join(args.out, kind)
    print(f'{kind}: {iterations} iterations')
    training_of(cfg, resume=True).run()


def configure(args: argparse.Namespace, arm: Arm, seed: int) -> Config:
    """The shipped config of labels on Rooms, on frozen features of one of them at 64 x 64 pixels."""
    kind, options = ARMS[arm.family]
    cfg = Config.fromfile(diff2in1_mm.config_path('diff2in1_rooms.py'))
    cfg.model.data_preprocessor.size = SIZE
    pyramid = dict(out_channels=[64] * 4, out_strides=[4, 8, 16, 32])
    cfg.model.backbone.update(diffusion=osp.join(args.out, kind, 'pipeline'), feature_dropout=0.2, **options, **pyramid)
    cfg.model.neck.in_channels = [64] * 4
    set_lengths(cfg, args.iterations // 2, args.iterations // 2)
    labelled = cfg.train_dataloader.dataset.dataset
    labelled.update(num_labelled=args.num_labelled, seed=seed)
    for dataset in (labelled, cfg.val_dataloader.dataset):
        dataset.update(data_root=args.data_root, size=SIZE)
    cfg.test_dataloader = cfg.val_dataloader
    cfg.randomness.seed = seed
    cfg.custom_hooks[0].update(arm.hook)
    return cfg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='work_dirs/young_transformer')
    parser.add_argument('--data-root', default='data/rooms_64')
    parser.add_argument('--minutes', type=float, default=40, help='of processor time, of the training of each')
    parser.add_argument('--num-unlabelled', type=int, default=4000)
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--lr', type=float, default=5e-4)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--arms', nargs='+', choices=list(ARMS), default=list(ARMS))
    parser.add_argument('--num-labelled', type=int, default=100)
    parser.add_argument('--iterations', type=int, default=400, help='of a head')
    parser.add_argument('--train', choices=list(NEW), help='only train this one')
    parser.add_argument('--table', action='store_true', help='only print the table')
    args = parser.parse_args()
    args.out = osp.abspath(args.out)
    os.makedirs(args.out, exist_ok=True)
    if args.train:
        return train(args, args.train)
    init_default_scope('mmseg')
    arms = {name: Arm(name, dict(creation=None), kind) for name, (kind, _) in ARMS.items()}
    runs = Experiment(
        args.out, arms, 'U-Net', 'mIoU', lambda arm, seed: configure(args, arm, seed), args.iterations // 2
    )
    if not args.table:
        for kind in NEW:
            train(args, kind)
        runs.run(args.arms, args.seeds)
    return print(runs.table(args.seeds))


if __name__ == '__main__':
    main()
