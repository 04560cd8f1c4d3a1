import io
import json
import random
import shutil
import struct

import pytest
import torch
from diffusers import StableDiffusionPipeline
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from diff2in1_mm.diffusion.condition import Condition
from diff2in1_mm.diffusion.families import load_diffusion
from diff2in1_mm.diffusion.loading import original_layout
from diff2in1_mm.diffusion.loading.source import trained_side
from diff2in1_mm.diffusion.stable_diffusion import LatentDiffusion
from diff2in1_mm.utils import compat

from ...original_layout import original_state, small_sd
from ...small_models import assert_same, save_tiny_pipeline, tiny_pipeline, write_json


@pytest.fixture(scope='module', params=[False, True], ids=['v1', 'v2'])
def original(request, tmp_path_factory):
    """(path of a single file, its parts, whether it is of the 2.x family)."""
    parts = small_sd(v2=request.param)
    path = tmp_path_factory.mktemp('original') / 'model.safetensors'
    save_file(original_state(*parts, v2=request.param), path)
    return str(path), parts, request.param


def test_a_single_file_gives_the_same_model(original):
    path, (vae, unet, text), v2 = original
    model = LatentDiffusion.from_pretrained(path, prediction_type='v_prediction' if v2 else None)
    assert model.schedule['prediction_type'] == ('v_prediction' if v2 else 'epsilon')
    assert model.stride == 16 and model.context_dim == 64
    image, latents = torch.rand(1, 3, 32, 32), torch.randn(1, 4, 8, 8)
    context = torch.randn(1, 77, 64)
    with torch.no_grad():
        expected = vae.encode(image).latent_dist.mean * 0.18215
        prediction = unet(latents, 400, context).sample
    assert_same(model.encode(image), expected)
    assert_same(model.predict(latents, 400, Condition(context))[0], prediction)


def test_a_single_file_brings_its_text_encoder(original):
    pytest.importorskip('mmseg', reason="CLIP's vocabulary comes with MMSegmentation")
    path, (_, _, text), v2 = original
    model = LatentDiffusion.from_pretrained(path, prediction_type='epsilon')
    # Ids of CLIP's published vocabulary; the 2.x family was trained with zeros as padding, which
    # are '!' in the middle of a word. At the end of one it is 256.
    rest = [49407] + [0 if v2 else 49407] * 70
    ids = torch.tensor([[49406, 320, 1125, 539, 320, 2368, *rest], [49406, 2781, 256, 320, 2368, 256, *rest]])
    with torch.no_grad():
        expected = text(ids)[0]
    assert_same(model.text.sequences(['a photo of a cat', 'wow! a cat!']), expected)


def test_the_2x_family_must_say_what_it_predicts(original):
    path, _, v2 = original
    if not v2:
        return
    with pytest.raises(ValueError, match="set prediction_type='v_prediction'"):
        LatentDiffusion.from_pretrained(path)


def test_a_plain_checkpoint_file_loads_without_unpickling_code(tmp_path):
    parts = small_sd()
    torch.save({'state_dict': original_state(*parts)}, tmp_path / 'model.ckpt')
    model = LatentDiffusion.from_pretrained(str(tmp_path / 'model.ckpt'))
    assert torch.equal(model.unet.conv_in.weight, parts[1].conv_in.weight)
    torch.save({'state_dict': {}, 'callback': pytest.Config}, tmp_path / 'lightning.ckpt')
    with pytest.raises(ValueError, match='cannot be read as plain tensors.*use the .safetensors'):
        LatentDiffusion.from_pretrained(str(tmp_path / 'lightning.ckpt'))


def test_other_single_files_are_named(tmp_path):
    cases = [({'a': torch.zeros(1)}, 'holds no U-Net in the original key layout')]
    state = original_state(*small_sd())
    cases.append(({**state, 'conditioner.embedders.0.x': torch.zeros(1)}, 'is a single file of SDXL'))
    first = 'model.diffusion_model.input_blocks.0.0.weight'
    cases.append(({**state, first: torch.zeros(64, 9, 3, 3)}, 'U-Net of 9 input channels'))
    for i, (content, words) in enumerate(cases):
        path = tmp_path / f'{i}.safetensors'
        save_file(content, path)
        with pytest.raises(ValueError, match=words):
            LatentDiffusion.from_pretrained(str(path))
    (tmp_path / 'damaged.safetensors').write_bytes(b'not tensors')
    with pytest.raises(ValueError, match='is not a readable safetensors file'):
        LatentDiffusion.from_pretrained(str(tmp_path / 'damaged.safetensors'))


@pytest.mark.parametrize(
    'content,kind',
    [
        (b'\x80\x02h\x05.', KeyError),
        (b'\x80\x02.', IndexError),
        (b'\x80\x02M\x01', struct.error),
        (b'\x80\x02X\x01\x00\x00\x00\xf9.', UnicodeDecodeError),
        (b'', EOFError),
    ],
)
def test_a_damaged_pickle_is_named_whatever_its_reader_stumbles_over(tmp_path, content, kind):
    path = tmp_path / 'model.ckpt'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'model\.ckpt cannot be read as plain tensors') as error:
        LatentDiffusion.from_pretrained(str(path))
    if compat._TORCH_ALLOWS_NAMES:  # another reader stumbles over other things
        assert isinstance(error.value.__cause__, kind)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_flipped_bytes_of_a_pickle_are_one_sentence_or_other_tensors(tmp_path):
    stream, rng = io.BytesIO(), random.Random(0)
    torch.save({'a': torch.zeros(100)}, stream, _use_new_zipfile_serialization=False)
    path = tmp_path / 'model.pth'
    for _ in range(100):
        content = bytearray(stream.getvalue())
        content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            original_layout.read_tensors(str(path))
        except ValueError as error:
            assert str(error).startswith(str(path)) and '\n' not in str(error)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    def load(*args, **options):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(torch, 'load', load)
    (tmp_path / 'model.ckpt').touch()
    with pytest.raises(PermissionError):
        original_layout.read_tensors(str(tmp_path / 'model.ckpt'))


def test_a_list_of_tensors_under_numbers_is_no_checkpoint(tmp_path):
    torch.save({0: torch.zeros(1)}, tmp_path / 'model.pth')
    with pytest.raises(ValueError, match='holds no weights by name'):
        LatentDiffusion.from_pretrained(str(tmp_path / 'model.pth'))


def test_the_saved_folder_is_a_stable_diffusion_pipeline(pipeline_folder):
    pipe = StableDiffusionPipeline.from_pretrained(pipeline_folder)
    pipe.set_progress_bar_config(disable=True)
    assert pipe('a car', num_inference_steps=2, height=32, width=32, output_type='np').images.shape


def broken(folder, tmp_path, change):
    copy = tmp_path / 'model'
    shutil.copytree(folder, copy)
    change(copy)
    return str(copy)


@pytest.mark.parametrize(
    'change,words',
    [
        (lambda p: shutil.rmtree(p / 'unet'), 'has no unet/config.json: give the folder'),
        (
            lambda p: (p / 'unet/diffusion_pytorch_model.safetensors').rename(p / 'unet/diffusion_pytorch_model.bin'),
            'only the pickle diffusion_pytorch_model.bin',
        ),
        (lambda p: (p / 'vae/diffusion_pytorch_model.safetensors').unlink(), 'holds no weights'),
        (lambda p: shutil.rmtree(p / 'scheduler'), 'has no scheduler/scheduler_config.json'),
    ],
)
def test_incomplete_folders_are_named(pipeline_folder, tmp_path, change, words):
    with pytest.raises(ValueError, match=words):
        LatentDiffusion.from_pretrained(broken(pipeline_folder, tmp_path, change))


def test_unsupported_predictions_are_named(pipeline_folder, tmp_path):
    def change(copy):
        path = copy / 'scheduler/scheduler_config.json'
        write_json(path, {**json.loads(path.read_text()), 'prediction_type': 'flow_prediction'})

    with pytest.raises(ValueError, match="predicts 'flow_prediction'; supported are"):
        LatentDiffusion.from_pretrained(broken(pipeline_folder, tmp_path, change))


def test_a_missing_text_encoder_is_named_when_text_is_needed(pipeline_folder, tmp_path):
    folder = broken(pipeline_folder, tmp_path, lambda p: shutil.rmtree(p / 'text_encoder'))
    model = LatentDiffusion.from_pretrained(folder)
    with pytest.raises(ValueError, match='or use `PrecomputedEmbeddings`'):
        model.text.sequences([''])


def test_a_variant_is_one_of_all_parts(pipeline_folder, tmp_path):
    def rename(copy):
        for path in copy.rglob('*.safetensors'):
            path.rename(path.with_suffix('.fp16.safetensors'))

    folder = broken(pipeline_folder, tmp_path, rename)
    model = LatentDiffusion.from_pretrained(folder, variant='fp16')
    expected = LatentDiffusion.from_pretrained(pipeline_folder)
    assert torch.equal(model.text.sequences(['']), expected.text.sequences(['']))
    assert torch.equal(model.fingerprint(), expected.fingerprint())


def test_text_is_encoded_in_single_precision_whatever_the_file_holds(pipeline_folder, tmp_path):
    def halve(copy):
        path = copy / 'text_encoder' / 'model.safetensors'
        save_file({key: value.half() for key, value in load_file(path).items()}, path, metadata=dict(format='pt'))
        config = copy / 'text_encoder' / 'config.json'
        write_json(config, {**json.loads(config.read_text()), 'dtype': 'float16'})

    model = LatentDiffusion.from_pretrained(broken(pipeline_folder, tmp_path, halve))
    encoder = model.text._load()[1]
    assert encoder.dtype == torch.float32


@pytest.fixture
def hub(pipeline_folder, tmp_path, monkeypatch):
    """The hub's cache on disk, where a model has two revisions; nothing is fetched."""
    root = tmp_path / 'models--owner--name'
    for name, commit, folder in (
        ('main', 'a' * 40, pipeline_folder),
        ('v2', 'b' * 40, save_tiny_pipeline(tmp_path / '2', seed=1)),
    ):
        shutil.copytree(folder, root / 'snapshots' / commit)
        (root / 'refs').mkdir(exist_ok=True)
        (root / 'refs' / name).write_text(commit)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr('transformers.utils.hub.TRANSFORMERS_CACHE', str(tmp_path), raising=False)  # transformers 4
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    return root / 'snapshots'


@pytest.mark.parametrize('revision, commit', [(None, 'a'), ('main', 'a'), ('v2', 'b'), ('b' * 40, 'b')])
def test_a_model_of_the_hub_can_be_pinned_in_all_its_parts(hub, revision, commit):
    # what is missing of the other revision cannot be taken from it
    for folder in hub.iterdir():
        if folder.name[0] != commit:
            for part in ('unet', 'vae', 'scheduler', 'text_encoder', 'tokenizer'):
                shutil.rmtree(folder / part)
    model = LatentDiffusion.from_pretrained('owner/name', revision=revision)
    expected = LatentDiffusion.from_pretrained(str(hub / (commit * 40)))
    assert torch.equal(model.fingerprint(), expected.fingerprint())
    assert model.schedule == expected.schedule
    assert torch.equal(model.text.sequences(['a']), expected.text.sequences(['a']))


def test_a_revision_that_is_not_there_is_named(hub):
    with pytest.raises(ValueError, match='hf download owner/name --revision v3'):
        LatentDiffusion.from_pretrained('owner/name', revision='v3')


@pytest.mark.parametrize('source', ['folder', 'model.safetensors', 'diff2in1_mm/rooms'])
def test_what_is_on_disk_has_no_revisions(pipeline_folder, tmp_path, source):
    if source == 'folder':
        source = pipeline_folder
    elif source == 'model.safetensors':
        source = str(tmp_path / source)
        save_file({'a': torch.zeros(1)}, source)
    with pytest.raises(ValueError, match="revision = 'v2' .* is on this machine: leave it out"):
        LatentDiffusion.from_pretrained(source, revision='v2')


@pytest.mark.parametrize('source', ['./missing', 'model.safetensors', 'no_owner'])
def test_missing_sources_are_named(source):
    with pytest.raises(ValueError, match='neither an existing folder nor a hub id|does not exist'):
        LatentDiffusion.from_pretrained(source)


def test_unknown_options_are_named(pipeline_folder):
    with pytest.raises(ValueError, match="dtype must be one of .*'int8'"):
        LatentDiffusion.from_pretrained(pipeline_folder, dtype='int8')
    with pytest.raises(ValueError, match='prediction_type must be one of'):
        LatentDiffusion.from_pretrained(pipeline_folder, prediction_type='x0')


@pytest.mark.parametrize('size, side', [(32, 128), ([48, 64], 192), ('large', 512), (None, 512)])
def test_the_size_that_a_model_was_made_for(tmp_path, size, side):
    for part in ('unet', 'vae'):
        (tmp_path / part).mkdir()
        write_json(tmp_path / part / 'config.json', dict(sample_size=size, block_out_channels=[1, 2, 3]))
    assert trained_side(str(tmp_path)) == side
    assert trained_side('owner/of-the-hub') == 512


def test_a_unet_of_another_file_takes_the_place_of_the_models_own(pipeline_folder, tmp_path):
    other = tiny_pipeline(seed=3).unet
    path = str(tmp_path / 'cleandift.safetensors')
    save_file(other.state_dict(), path)
    model = load_diffusion(pipeline_folder, unet=path, dtype='bf16')
    plain = LatentDiffusion.from_pretrained(pipeline_folder, dtype='bf16')
    assert torch.equal(model.unet.conv_in.weight, other.conv_in.weight.bfloat16())
    assert torch.equal(model.vae.encoder.conv_in.weight, plain.vae.encoder.conv_in.weight)
    assert model.digest() != plain.digest() and 'with the U-Net of' in model.source
    with pytest.raises(ValueError, match='diffusion.unet = .*gone.* does not exist'):
        load_diffusion(pipeline_folder, unet='gone.safetensors')
    state = {key: value for key, value in other.state_dict().items() if key != 'conv_in.bias'}
    save_file(state, path)
    with pytest.raises(ValueError, match=r"does not fit the U-Net .*\(1 weights differ, the first is 'conv_in.bias'\)"):
        load_diffusion(pipeline_folder, unet=path)
    save_file({**other.state_dict(), 'conv_in.bias': torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="the first is 'conv_in.bias'"):
        load_diffusion(pipeline_folder, unet=path)


@pytest.mark.parametrize(
    'file, content, sentence',
    [
        ('unet/config.json', [], 'unet/config.json of .* holds no settings'),
        ('scheduler/scheduler_config.json', [], 'scheduler/scheduler_config.json of .* holds no settings'),
        ('scheduler/scheduler_config.json', dict(beta_schedule='foo'), 'settings that diffusers does not take .*foo'),
        ('scheduler/scheduler_config.json', dict(num_train_timesteps='1000'), 'settings that diffusers does not take'),
        ('scheduler/scheduler_config.json', dict(trained_betas=[0.1] * 3), 'has 3 trained_betas for 1000'),
    ],
)
def test_configs_that_say_nothing_of_use_are_named(tmp_path, file, content, sentence):
    save_tiny_pipeline(tmp_path / 'x')
    path = tmp_path / 'x' / file
    path.write_text(json.dumps(content and {**json.loads(path.read_text()), **content}))
    with pytest.raises(ValueError, match=sentence):
        load_diffusion(str(tmp_path / 'x'))
