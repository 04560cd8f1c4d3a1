"""A diffusers folder of the model in training, from time to time."""
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .averaged_model import averaged_model


@HOOKS.register_module()
class SavePipelineHook(Hook):
    """Saves ``model.save_pipeline(out_dir)`` every so often and at the end.

    The averaged weights are saved where there is an ``EMAHook``. The folder is replaced as a whole:
    who loads it meanwhile gets one state or another, never a mix.

    Args:
        out_dir (str): The diffusers folder to write.
        interval (int): Iterations between saves. Default 500.
        dtype (str): 'fp32', 'fp16' or 'bf16' of the weights on disk. Default 'fp32'.
    """

    # after EMAHook has averaged this iteration
    priority = 'LOW'

    def __init__(self, out_dir: str, interval: int = 500, dtype: str = 'fp32') -> None:
        self.out_dir = out_dir
        self.interval = interval
        self.dtype = dtype

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None,
                         outputs=None) -> None:
        """Save every ``interval`` iterations and at the end."""
        if (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self.save(runner)

    @master_only
    def save(self, runner: Runner) -> None:
        """Save the present weights and log where they are."""
        averaged_model(runner).save_pipeline(self.out_dir, self.dtype)
        runner.logger.info(f'Pipeline saved to {self.out_dir}')
