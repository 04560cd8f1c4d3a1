import copy

import pytest
import torch
import torch.nn as nn

from diff2in1_mm.self_improving.theta_c import ThetaC


def net():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2), nn.Linear(4, 2))
    model[3].weight = model[2].weight  # tied
    model[0].bias.requires_grad_(False)  # frozen
    model.register_buffer('scale', torch.tensor([3.0]), persistent=False)
    return model


def step(model):
    """Changes parameters and statistics as a training step does."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    model.train()
    model[1](torch.randn(8, 4) + 5)


def test_holds_what_training_changes_and_no_more():
    theta = ThetaC(net())
    assert set(theta.tensors) == {
        '0.weight',
        '1.weight',
        '1.bias',
        '1.running_mean',
        '1.running_var',
        '1.num_batches_tracked',
        '2.weight',
        '2.bias',
        '3.bias',
        'scale',
    }
    assert theta.bytes == 4 * (16 + 4 * 4 + 8 + 2 + 2 + 1) + 8
    assert set(theta.state_dict()) == set(theta.tensors) - {'scale'} | {'3.weight'}


def test_update_is_an_exponential_moving_average():
    model = net()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    theta = ThetaC(model)
    step(model)
    theta.update(model, momentum=0.25)
    for name, value in theta.state_dict().items():
        new = model.state_dict()[name]
        if new.is_floating_point():
            torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * new)
        else:
            assert value == new == 1
    theta.update(model, momentum=1.0)
    assert torch.equal(theta.state_dict()['2.weight'], model[2].weight)


def test_applied_swaps_pointers_and_restores_bit_for_bit():
    model = net()
    theta = ThetaC(model)
    step(model)
    values = copy.deepcopy(model.state_dict())
    pointers = [t.data_ptr() for t in model.state_dict().values()]
    expected = {name: t.clone() for name, t in theta.state_dict().items()}
    with pytest.raises(KeyError), theta.applied(model):
        for name, value in expected.items():
            assert torch.equal(model.state_dict()[name], value)
        model[1](torch.randn(8, 4))  # moves the statistics of theta_C
        with pytest.raises(RuntimeError, match='in the model'):
            theta.update(model, 0.5)
        raise KeyError
    assert [t.data_ptr() for t in model.state_dict().values()] == pointers
    for name, value in values.items():
        assert torch.equal(model.state_dict()[name], value)
    assert theta.tensors['1.num_batches_tracked'] == 1


def test_a_buffer_that_a_module_replaces_stays_theta_cs():
    model = net()
    theta = ThetaC(model)
    with theta.applied(model):
        model[1].running_mean = torch.full((4,), 9.0)
    assert torch.equal(model[1].running_mean, torch.zeros(4))
    assert torch.equal(theta.tensors['1.running_mean'], torch.full((4,), 9.0))


def test_gradients_flow_to_theta_e_after_a_pass_of_theta_c_under_autocast():
    model = nn.Linear(4, 4)
    theta = ThetaC(model)
    with torch.no_grad():
        model.weight.mul_(2)
    x = torch.randn(3, 4)
    with torch.autocast('cpu', torch.bfloat16):
        with torch.no_grad(), theta.applied(model):
            model(x)
        out = model(x)
    out.float().sum().backward()
    assert model.weight.grad is not None
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(out, model(x))


def test_takes_up_what_becomes_trainable():
    model = net()
    model[2].requires_grad_(False)  # its weight is tied to that of the next one
    theta = ThetaC(model)
    assert '2.weight' not in theta.tensors and theta.take_up() == []
    model[0].bias.requires_grad_(True)
    model[2].weight.requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert theta.take_up() == ['0.bias', '2.weight'] and theta.take_up() == []
    step(model)
    theta.update(model, momentum=0.25)
    assert {'0.bias', '2.weight', '3.weight'} <= set(theta.state_dict())
    for name in ('0.bias', '3.weight'):
        torch.testing.assert_close(theta.state_dict()[name], before[name] + 0.25)
    own, averaged = model[2].weight.clone(), theta.tensors['2.weight'].clone()
    with theta.applied(model):
        assert torch.equal(model[3].weight, averaged)
    assert torch.equal(model[3].weight, own)


def test_a_checkpoint_says_what_was_trainable():
    held = net()
    theta = ThetaC(held)
    weights = {name: t.clone() for name, t in held.state_dict().items()}
    weights.update({name: t.clone() + 1 for name, t in theta.state_dict().items()})
    model = net()
    model[1].requires_grad_(False)
    model[0].bias.requires_grad_(True)
    restored = ThetaC.restored(model, weights, set(theta.state_dict()))
    assert set(restored.tensors) == set(theta.tensors) | {'0.bias'}
    assert all(torch.equal(t, weights[name]) for name, t in restored.state_dict().items())
    model[1].requires_grad_(True)
    assert restored.take_up() == []
    with pytest.raises(ValueError, match='it lacks 0.bias and has nothing too many'):
        ThetaC.restored(model, {k: v for k, v in weights.items() if k != '0.bias'}, set(theta.state_dict()))
    with pytest.raises(ValueError, match='has 4.weight too many'):
        ThetaC.restored(model, {**weights, '4.weight': weights['2.weight']}, {*theta.state_dict(), '4.weight'})


def test_loading_says_what_does_not_fit():
    theta = ThetaC(net())
    state = {name: t.clone() + 1 for name, t in theta.state_dict().items()}
    theta.load_state_dict(state)
    assert torch.equal(theta.state_dict()['0.weight'], state['0.weight'])
    with pytest.raises(ValueError, match='lacks 0.weight'):
        theta.load_state_dict({k: v for k, v in state.items() if k != '0.weight'})
    with pytest.raises(ValueError, match=r'0.weight has shape \(1,\) there and \(4, 4\) here'):
        theta.load_state_dict({**state, '0.weight': torch.zeros(1)})
    with pytest.raises(ValueError, match='another model'):
        theta.update(net(), 0.1)
    with pytest.raises(ValueError, match='no trainable parameter'):
        ThetaC(nn.Linear(2, 2).requires_grad_(False))


def _work(rank, store, queue):
    """Both sets see other images on each rank; averages of theta_C before and after an update."""
    import torch.distributed as dist

    torch.set_num_threads(1)  # as data loader workers do: the parent's threads are not there
    dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    model = net()
    theta = ThetaC(model)
    step(model)
    model[1].running_mean.fill_(rank)
    with theta.applied(model):
        model[1].running_mean.fill_(10.0 * rank)
        model[1].running_var.fill_(2.0 * rank)
    found = []
    for change in (theta.average_over_ranks, lambda: theta.update(model, momentum=0.5)):
        change()
        found.append({name: value.clone().numpy() for name, value in theta.state_dict().items()})
        theta.tensors['1.running_mean'].add_(4.0 * rank)
    queue.put((rank, found, model[1].running_mean[0].item()))
    dist.barrier()
    dist.destroy_process_group()


def test_all_processes_hold_the_same_theta_c(tmp_path):
    """Also where theta_C's own statistics moved, as they do with ``target_mode='train'``."""
    context = torch.multiprocessing.get_context('fork')  # spawned ones would import all again
    queue = context.Queue()
    workers = [context.Process(target=_work, args=(r, str(tmp_path / 's'), queue)) for r in (0, 1)]
    for worker in workers:
        worker.start()
    found = sorted(queue.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(60)
    for first, second in zip(found[0][1], found[1][1]):
        assert all((first[name] == second[name]).all() for name in first)
    averaged, updated = found[0][1]
    assert averaged['1.running_mean'].tolist() == [5.0] * 4
    assert averaged['1.running_var'].tolist() == [1.0] * 4
    assert updated['1.running_mean'].tolist() == [0.5 * (5 + 2) + 0.5 * 0.5] * 4
    assert [own for _, _, own in found] == [0.0, 1.0]  # theta_E's stay its own


def test_statistics_are_averaged_over_the_processes(monkeypatch):
    """Floating buffers only: parameters are equal on all processes, temporary ones constant."""
    from diff2in1_mm.self_improving import theta_c as module

    model = net()
    theta = ThetaC(model)
    step(model)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    sizes = []

    def all_reduce(flat, op):
        assert op == 'mean'
        sizes.append(flat.numel())
        flat.mul_(0.5)  # the other process has zeros

    monkeypatch.setattr(module, 'get_world_size', lambda: 2)
    monkeypatch.setattr(module, 'all_reduce', all_reduce)
    theta.update(model, momentum=1.0)
    assert sizes == [8]
    for name, value in theta.state_dict().items():
        expected = before[name] * (0.5 if 'running' in name else 1)
        torch.testing.assert_close(value, expected.to(value.dtype))
    assert all(torch.equal(model.state_dict()[name], t) for name, t in before.items())
