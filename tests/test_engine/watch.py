"""What a run does in each iteration, watched from outside."""
from mmengine.hooks import Hook


class CountHook(Hook):
    """Notes how many images each training iteration sent through the frozen model."""
    priority = 'LOWEST'

    def __init__(self, counts, seen):
        self.counts, self.seen = counts, seen

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.before = dict(self.counts)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append(tuple(self.counts[k] - self.before[k] for k in ('encode', 'predict')))


def with_gradients(model):
    """A list to which each backward pass adds the set of parameters that got a gradient."""
    passes = [set()]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(
                lambda p, name=name: passes[-1].add(name))
    model.register_forward_pre_hook(lambda *args: passes.append(set()) if passes[-1] else None)
    return passes
