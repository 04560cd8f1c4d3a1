"""Checkpoints of VPD: its segmentation, its depth, and MMSegmentation's port of the latter.

They hold a tuned U-Net and the encoder of the autoencoder in the original key layout, the text
adapter with the class embeddings, and the task's layers (wl-zhao/VPD,
segmentation/models/vpd_seg.py and depth/models_depth/model.py). All read latents *without* the
autoencoder's scale factor at t = 1, without noise.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..diffusion.attention_maps import attention_layers
from ..diffusion.loading.original_layout import UNET, VAE
from ..diffusion.loading.original_parts import build_parts
from ..diffusion.padding import latent_stride
from ..diffusion.taps import select_taps, unet_taps
from ..utils.errors import UserError
from .converted import Converted, Keys
from .text_adapter import fold_text_adapter

_HERE = '{{ fileDirname }}'  # what MMEngine replaces by the folder of the config
_ZEROS = 'zeros: perception does without'
_SCHEDULE = 'noise schedule, which the diffusers folder has as settings'


def convert_vpd_segmentation(state: Mapping[str, Tensor]) -> Converted:
    """``VPDSeg``: ``FPN`` and ``FPNHead`` on features with one attention map per class.

    Args:
        state (Mapping[str, Tensor]): Of the released checkpoint.

    Returns:
        Converted: For ``EncoderDecoder``.

    Raises:
        ValueError: The parts do not belong together; one sentence says which.
    """
    keys = Keys(state)
    keys.leave(_SCHEDULE, 'sd_model.')
    keys.leave('auxiliary head, for training only', 'auxiliary_head.')
    result = _perception(keys, '')
    neck, head = keys.take('neck.', 'neck.'), keys.take('decode_head.', 'decode_head.')
    laterals = [
        neck[f'neck.lateral_convs.{i}.conv.weight'] for i in range(4) if f'neck.lateral_convs.{i}.conv.weight' in neck
    ]
    wanted = [weight.shape[1] for weight in laterals]
    strides, plain, with_maps = _outputs(result)
    if wanted not in (plain, with_maps):
        raise UserError(
            f'the neck takes maps of {wanted} channels, but this U-Net gives {plain}, or {with_maps} with attention '
            'maps: the checkpoint has another neck than the FPN of VPD'
        )
    result.weights = {**neck, **head}
    result.base = 'diff2in1_ade20k.py'
    classes, channels = head['decode_head.conv_seg.weight'].shape[:2]
    width = laterals[0].shape[0]
    backbone = _backbone(attention_maps=wanted == with_maps)
    result.model = dict(
        backbone=backbone,
        neck=dict(in_channels=wanted, out_channels=width, num_outs=len(wanted)),
        decode_head=dict(
            in_channels=[width] * len(wanted),
            in_index=list(range(len(wanted))),
            feature_strides=strides,
            channels=channels,
            num_classes=classes,
        ),
    )
    return result


def convert_vpd_depth(state: Mapping[str, Tensor]) -> Converted:
    """``VPDDepth`` of the VPD code.

    Args:
        state (Mapping[str, Tensor]): Of the released checkpoint, what stands under ``model``.

    Returns:
        Converted: For ``DepthMapEstimator``.

    Raises:
        ValueError: The parts do not belong together; one sentence says which.
    """
    keys = Keys(state)
    result = _perception(keys, 'encoder.', of_scenes=True)
    for theirs, ours in (
        ('encoder.layer1.', 'conv1.'),
        ('encoder.layer2.0.', 'conv2.'),
        ('encoder.out_layer.', 'conv_aggregation.'),
        ('decoder.', 'decoder.'),
        ('last_layer_depth.', 'depth_pred_layer.'),
    ):
        result.weights.update(keys.take(theirs, f'decode_head.{ours}'))
    return _depth(result)


def convert_mmseg_depth(state: Mapping[str, Tensor]) -> Converted:
    """``VPD`` with ``VPDDepthHead`` of MMSegmentation 1.2.

    Args:
        state (Mapping[str, Tensor]): Of the checkpoint.

    Returns:
        Converted: For ``DepthMapEstimator``.

    Raises:
        ValueError: The parts do not belong together; one sentence says which.
    """
    keys = Keys(state)
    keys.leave('set by the config', 'data_preprocessor.')
    result = _perception(keys, 'backbone.', of_scenes=True)
    result.weights = keys.take('decode_head.', 'decode_head.')
    return _depth(result)


def _perception(keys: Keys, prefix: str, of_scenes: bool = False) -> Converted:
    """What the three have in common: diffusion model and embeddings.

    Args:
        keys (Keys): Of the checkpoint.
        prefix (str): Before all of them.
        of_scenes (bool): The embeddings are of kinds of rooms, of which VPD takes one per image,
            and not of classes, of which it takes all. Default False.
    """
    keys.leave('loss of the autoencoder', f'{prefix}encoder_vq.loss.')
    original = keys.take(f'{prefix}unet.unet.diffusion_model.', UNET)
    original.update(keys.take(f'{prefix}encoder_vq.', VAE))
    parts, zeros = build_parts(original, complete=False)
    texts = keys.take(f'{prefix}class_embeddings')
    gamma = keys.take(f'{prefix}gamma')
    if not (texts and gamma):
        name = 'gamma' if texts else 'class_embeddings'
        raise UserError(f'the checkpoint lacks {prefix + name!r}: the file is incomplete, fetch it again')
    (text,), (scale,) = texts.values(), gamma.values()
    result = Converted(keys, parts=parts, missing=dict.fromkeys(zeros, _ZEROS), other_generator=True)
    if of_scenes:
        text = _mean_scene(text)
        result.notes.append(
            'VPD tells the U-Net the kind of room (one of its scene tokens); here every image gets '
            "their mean, as MMSegmentation's VPD gives images of no known scene"
        )
    result.embeddings = fold_text_adapter(text, scale, keys.take(f'{prefix}text_adapter.'))
    result.notes.append(f'text adapter and gamma are folded into {len(result.embeddings)} embedding(s)')
    width, taken = result.embeddings.shape[1], parts.unet.config.cross_attention_dim
    if width != taken:
        raise UserError(
            f'the embeddings have {width} channels, but the U-Net takes {taken}: the checkpoint is not one of VPD'
        )
    return result


def _mean_scene(texts: Tensor) -> Tensor:
    """(scenes, C) -> (1, C), the mean of the scenes; MMSegmentation stores it as the last row."""
    if (
        len(texts) > 1
        and not texts.is_meta
        and torch.allclose(texts[:-1].float().mean(0), texts[-1].float(), atol=1e-3)
    ):
        return texts[-1:]
    return texts.float().mean(0, keepdim=True)


def _outputs(result: Converted) -> tuple[list[int], list[int], list[int]]:
    """Strides and channels of the decoder's maps, and channels with attention maps."""
    parts, embeddings = result.parts, result.embeddings
    assert parts is not None and embeddings is not None  # of `_perception`
    stride = latent_stride(parts.vae.config)
    taps = [group[0] for group in select_taps(unet_taps(parts.unet, stride), 'decoder')]
    layers = attention_layers(parts.unet, stride)
    return (
        [tap.stride for tap in taps],
        [tap.channels for tap in taps],
        [tap.channels + len(embeddings) * (tap.stride in layers) for tap in taps],
    )


def _backbone(**options) -> dict:
    return dict(
        _delete_=True,
        type='DiffusionBackbone',
        diffusion=dict(source=f'{_HERE}/diffusion', dtype='fp32'),
        taps='decoder',
        timestep=1,
        scale_latents=False,
        condition=dict(type='PrecomputedEmbeddings', path=f'{_HERE}/embeddings.safetensors'),
        **options,
    )


def _depth(result: Converted) -> Converted:
    """The settings of ``DepthHead`` from the shapes of its weights."""
    weights: dict[str, Tensor] = result.weights
    head = 'decode_head.'
    strides, channels, _ = _outputs(result)
    joined = weights[f'{head}conv_aggregation.0.weight'].shape
    own = [weights[f'{head}conv1.0.weight'].shape[1], weights[f'{head}conv2.weight'].shape[1]]
    if own != channels[:2] or joined[1] != sum(channels):
        raise UserError(
            f'the depth head takes maps of {own} and {joined[1] - sum(own)} channels, but this U-Net gives {channels}: '
            'the checkpoint is not one of VPD'
        )
    layers = f'{head}decoder.deconv_layers.'
    deconvolutions = [value for name, value in weights.items() if name.startswith(layers) and value.ndim == 4]
    _check_kernels(deconvolutions)
    result.base = 'diff2in1_nyu_depth.py'
    result.model = dict(
        backbone=_backbone(keep_padding=True),
        decode_head=dict(
            in_channels=channels,
            embed_dim=weights[f'{head}depth_pred_layer.0.weight'].shape[0],
            feature_dim=joined[0],
            num_deconv_layers=len(deconvolutions),
            num_deconv_filters=[weight.shape[1] for weight in deconvolutions],
            # the backbone pads windows of 480 pixels to 512
            padded_stride=strides[2],
        ),
    )
    return result


def _check_kernels(deconvolutions: Sequence[Tensor]) -> None:
    kernels = {tuple(weight.shape[2:]) for weight in deconvolutions}
    if kernels != {(2, 2)}:
        raise UserError(
            f'the depth decoder has transposed convolutions of {sorted(kernels)} '
            'where (2, 2) is supported, which the published weights have'
        )
