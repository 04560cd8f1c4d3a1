"""What a store's samples depend on: whatever changes them changes its settings, and it is refused."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from diff2in1_mm.creation.batch_labels import BatchLabels
from diff2in1_mm.creation.create import create
from diff2in1_mm.creation.fingerprints import creation_settings, parameters_digest
from diff2in1_mm.creation.settings import CreationSettings
from diff2in1_mm.store.store import StoreMismatch

from ..small_models import write_json
from ..tiny_segmentation import build_dataset, build_model


@pytest.fixture(scope='module')
def describe(root, pipeline_folder):
    """The settings that a store notes for a condition and a noise schedule."""
    model, dataset = build_model(pipeline_folder), build_dataset(root)
    labels, diffusion = BatchLabels(model), model.backbone.diffusion
    schedule = dict(diffusion.schedule)

    def described(condition=None, **changes):
        diffusion.schedule = {**schedule, **changes}
        return creation_settings(dataset, labels, diffusion, CreationSettings(condition=condition), 0, 'c')

    return described


def differences(a, b):
    return [name for name in a if a[name] != b[name]]


@pytest.mark.parametrize(
    'change',
    [
        dict(prediction_type='v_prediction'),
        dict(num_train_timesteps=500),
        dict(beta_schedule='linear'),
        dict(beta_start=0.002),
        dict(beta_end=0.02),
        dict(trained_betas=[0.1, 0.2]),
        dict(rescale_betas_zero_snr=True),
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_value_of_the_noise_schedule_counts(describe, change):
    assert differences(describe(), describe(**change)) == ['schedule']
    assert describe() == describe(of_no_effect=1)


def captions_in_a_file(path, word):
    return dict(type='Captions', path=write_json(path / 'c.json', {'0.png': 'a street', '6.png': word}))


def captions_in_folders(path, word):
    for folder in ('a', 'b'):
        (path / 'captions' / folder).mkdir(parents=True, exist_ok=True)
        (path / 'captions' / folder / '0.txt').write_text(word if folder == 'b' else 'a street')
    return dict(type='Captions', path=str(path / 'captions'))


def embeddings_of_all(path, word):
    array = np.zeros((1, 3, 16), np.float32)
    array[0, -1, -1] = len(word)
    np.save(path / 'e.npy', array)
    return dict(type='PrecomputedEmbeddings', path=str(path / 'e.npy'))


def embeddings_of_each(path, word):
    arrays = {name: torch.full((3, 16), float(len(name + word))) for name in ('0', '12')}
    save_file(arrays, path / 'e.safetensors')
    return dict(type='PrecomputedEmbeddings', path=str(path / 'e.safetensors'))


@pytest.mark.parametrize(
    'written',
    [captions_in_a_file, captions_in_folders, embeddings_of_all, embeddings_of_each],
    ids=lambda f: f.__name__,
)
def test_edited_captions_and_embeddings_count(describe, tmp_path, written):
    before = describe(written(tmp_path, 'a tree'))
    assert describe(written(tmp_path, 'a tree')) == before
    assert differences(before, describe(written(tmp_path, 'a house'))) == ['condition_content']


def test_every_parameter_and_buffer_counts(pipeline_folder):
    model = build_model(pipeline_folder)
    digest = parameters_digest(model)
    for name, tensor in model.state_dict().items():
        before = tensor.clone()
        tensor.view(-1)[-1:] += 1
        assert parameters_digest(model) != digest, name
        tensor.copy_(before)
    assert parameters_digest(model) == digest


def test_a_store_knows_schedule_and_captions(dataset, tmp_path, pipeline_folder):
    """What was made before they were corrected is not taken for what would be made now."""
    path = write_json(tmp_path / 'c.json', {f'{i}.png': 'a street' for i in range(7)})
    settings = dict(seed=0, T=300, steps=1, condition=dict(type='Captions', path=path))
    model = build_model(pipeline_folder)
    create(model, dataset, tmp_path / 's', limit=1, **settings)
    other = build_model(pipeline_folder)
    other.backbone.diffusion.schedule['prediction_type'] = 'v_prediction'
    with pytest.raises(StoreMismatch, match='schedule: there .*epsilon.*, here .*v_prediction'):
        create(other, dataset, tmp_path / 's', **settings)
    write_json(tmp_path / 'c.json', {f'{i}.png': 'a tree' for i in range(7)})
    with pytest.raises(StoreMismatch, match='condition_content'):
        create(model, dataset, tmp_path / 's', **settings)
    # a store of before they were noted is continued
    found = json.loads((tmp_path / 's/store.json').read_text())
    for name in ('schedule', 'condition_content'):
        found['settings'].pop(name)
    text = json.dumps(found['settings'], sort_keys=True)
    found['fingerprint'] = hashlib.sha256(text.encode()).hexdigest()
    write_json(tmp_path / 's/store.json', found)
    assert create(model, dataset, tmp_path / 's', limit=2, **settings).present == 1
