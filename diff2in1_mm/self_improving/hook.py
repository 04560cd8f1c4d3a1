"""Self-improving learning as a hook: warm-up, creation, self-improvement in one run."""

from collections.abc import Mapping, Sequence

from mmengine.dist import barrier
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop

from ..creation.settings import CreationSettings, creation_of_hook
from ..creation.stage import create_round, mixed_dataset
from ..hooks.summary import RunSummary, Stopwatch, log_latest, logs_after, plain_metrics, unreadable_files
from ..preflight.class_weights import check_class_weights
from ..preflight.creation import check_creation_stage
from ..preflight.inputs import check_inputs
from ..preflight.run import (
    check_interval,
    check_run,
    check_targets,
    check_views,
    to_iterations,
    warn_of_ended_schedules,
)
from ..tasks import labeller_for
from ..tasks.base import check_confidence
from ..utils.compat import draw_again_on_resume
from ..utils.errors import UserError
from ..utils.models import seed_of_run, unwrapped
from ..utils.values import check_choice, check_whole
from .pseudo_labels import BatchPass, ViewSettings
from .state import (
    CREATION,
    SELF_IMPROVING,
    WARM_UP,
    SlotVisits,
    StageState,
    check_schedules,
    forget_state,
    restart_schedules,
    restart_timer,
    rounds_in,
    update_due,
)
from .theta_c import ThetaC

__all__ = ['SelfImprovingHook']


@HOOKS.register_module()
class SelfImprovingHook(Hook):
    """Trains with synthetic samples that the model labels itself (Diff-2-in-1).

    *Warm-up* trains on real data. At its end the model is validated, a checkpoint is written, and
    theta_C, a copy of what training changes, creates and labels synthetic samples. In the
    *self-improving* stage every batch mixes real and synthetic samples; the targets of the
    synthetic ones are theta_C's prediction, made anew in every iteration. theta_E takes the
    gradient steps, and theta_C follows it as an exponential moving average. Validation, test and a
    checkpoint's ``state_dict`` are theta_C.

    Works on MMSegmentation's segmentors and MMDetection's detectors as they are. The training data
    set is wrapped in ``SyntheticMixDataset``. A frozen ``DiffusionBackbone`` runs once per batch;
    with any other backbone theta_C makes a pass of its own.

    A resumed run draws the samples that the unbroken one would have drawn, given
    ``randomness = dict(seed=...)``. One exception: data loader workers are a few batches ahead of
    the training, and a run resumed while those of a replaced round still come has samples of the
    new one in them.

    Args:
        warm_up (int): Length of the warm-up, in epochs of an epoch-based run and in iterations of
            an iteration-based one (see ``by_epoch``).
        creation (dict, optional): See :class:`diff2in1_mm.creation.settings.CreationSettings`;
            its ``confidence`` and ``labelling`` are those below unless given. None: no synthetic
            data (a control).
        momentum (float): Weight of the new value in theta_C, in (0, 1]. MMEngine's convention:
            the paper's m = 0.998 is 0.002, the default.
        interval (int): Iterations from one update of theta_C to the next, counted from the start
            of the stage. Defaults to 1; the released code has 10. Where the optimizer accumulates
            gradients (``accumulative_counts``), its steps count in place of iterations.
        interval_from (str): 'stage', or 'epoch' as in the released code: in every epoch the
            iterations ``interval``, ``2 * interval``, ..., counted from 0, update theta_C.
        restart_optimizer (bool): Forget the optimizer's state, such as Adam's moments, at the end
            of the warm-up, as the released code does, whose stages are two runs. Default False.
        restart_schedule (bool): Begin the config's ``param_scheduler`` anew at the end of the
            warm-up: its ``begin`` and ``end`` then count within a stage. Default False: one
            schedule runs over both stages.
        targets (str): 'per_iteration' (the paper), 'creation': the labels stored at creation stay, or 'unlabelled':
            these stay but for the pictures of ``creation.unlabelled``, which theta_C labels in every iteration.
        target_mode (str): 'eval', or 'train' as in the released code: targets are made with the
            heads in training mode (backbone and neck are not), moving theta_C's statistics only.
        student_view (str | list | dict): What theta_E sees of a synthetic sample. 'same': the view that was labelled
            (the paper). 'feature_dropout': that view with channel dropout on the shared frozen features, which costs
            nothing. 'strong': photometric changes, which cost a second pass of the backbone for these samples. A list
            of transforms, or a dict, likewise: see :class:`~diff2in1_mm.datasets.student_view.StudentView`.
        feature_dropout (float): Share of channels that ``student_view='feature_dropout'`` drops.
        confidence (float | Sequence[float], optional): Pixels (boxes) that theta_C is less sure of
            than this are ignored (left out). None takes 0 for segmentation, 0.9 for boxes, and the model's
            ``object_mask_thr`` (PanopticFPN: ``rcnn.score_thr``) for panoptic segments; boxes may have a number for
            each class. Models of several tasks take a dict by task, here and in ``labelling``.
        labelling (dict, optional): Other arguments of the task's labeller, see
            :mod:`diff2in1_mm.tasks`.
        recreate_every (int, optional): Create a new set with the current theta_C every so many
            epochs or iterations; it replaces the former one, so that only checkpoints since then
            can be resumed. None: once.
        by_epoch (bool, optional): Whether ``warm_up`` and ``recreate_every`` count epochs. None:
            as the training loop does.
    """

    # As EMAHook: before CheckpointHook and LoggerHook, which take what this hook has made.
    priority = 'NORMAL'

    def __init__(
        self,
        warm_up: int,
        creation: dict | None = None,
        momentum: float = 0.002,
        interval: int = 1,
        interval_from: str = 'stage',
        restart_optimizer: bool = False,
        restart_schedule: bool = False,
        targets: str = 'per_iteration',
        target_mode: str = 'eval',
        student_view: str | Sequence[dict] | Mapping = 'same',
        feature_dropout: float = 0.5,
        confidence: None | float | Sequence[float] | Mapping = None,
        labelling: dict | None = None,
        recreate_every: int | None = None,
        by_epoch: bool | None = None,
    ) -> None:
        check_whole('warm_up', warm_up, 0)
        check_whole('interval', interval)
        if recreate_every is not None:
            check_whole('recreate_every', recreate_every)
        check_choice('interval_from', interval_from, ('stage', 'epoch'))
        if not 0 < momentum <= 1:
            raise UserError(f'momentum = {momentum} is out of range: the weight of the new value, in (0, 1]')
        check_confidence(confidence)
        self.warm_up, self.recreate_every, self.by_epoch = warm_up, recreate_every, by_epoch
        self.creation = None
        if creation is not None:
            self.creation = creation_of_hook(dict(creation=creation, confidence=confidence, labelling=labelling))
            CreationSettings.from_dict(self.creation).build_generator()
        self.momentum, self.interval = momentum, interval
        self.interval_from = interval_from
        self.restart_optimizer, self.restart_schedule = restart_optimizer, restart_schedule
        self.confidence, self.labelling = confidence, labelling
        self.views = ViewSettings(targets, target_mode, student_view, feature_dropout)
        self.state = StageState()
        self.theta_c: ThetaC | None = None
        self._pass: BatchPass  # of a run, from before_train on
        self._clock = Stopwatch()
        self._part_before_val: str | None = None
        self._visits = SlotVisits()
        self._resumed = False
        self._resumed_theta_c: tuple[Mapping, set[str]] | None = None
        self._resumed_visits: Mapping | None = None

    @property
    def served_round(self) -> int | None:
        """int | None: Round of synthetic samples that training draws from; None before one is created."""
        created = self.creation is not None and self.theta_c is not None and self.state.stage != CREATION
        return self.state.round if created else None

    # --- life cycle -----------------------------------------------------------------------------

    def before_train(self, runner) -> None:
        """Checks the run, attaches to the model, restores what a checkpoint held."""
        check_run(runner)
        check_inputs(runner)
        check_interval(runner, self.interval, self.interval_from)
        if self.restart_schedule:  # their ends count within a stage
            check_schedules(runner)
        else:
            warn_of_ended_schedules(runner)
        self._convert_lengths(runner)
        model = unwrapped(runner)
        check_views(model, self.views.student_view, self.views.target_mode)
        draw_again_on_resume(runner.train_loop)
        labeller = None
        if self.creation is not None:
            check_targets(self.views.targets, self.creation, mixed_dataset(runner))
            check_class_weights(model, self.confidence, self.creation)
            if self.state.stage != SELF_IMPROVING or self._recreate:  # else all is created
                check_creation_stage(runner, model, self.creation, self._resumed)
            labeller = labeller_for(model, self.confidence, self.labelling)
        log_latest(runner, ('loss_real', 'loss_synthetic'))
        self._logger = next((h for h in runner.hooks if isinstance(h, LoggerHook)), LoggerHook())
        self._pass = BatchPass(model, labeller, self.views, seed_of_run(runner))
        if self._resumed_theta_c is not None:
            self.theta_c = ThetaC.restored(model, *self._resumed_theta_c)
            self._resumed_theta_c = None
        if self.state.stage != WARM_UP and self.creation is not None:
            self._serve_again(runner)
        self._activate()
        self._clock.switch(self.state.stage)

    def _serve_again(self, runner) -> None:
        """Serves the round that was served when the checkpoint was written."""
        creating = self.state.stage == CREATION
        served = self.state.round - creating  # the former one, until the new one is complete
        dataset = mixed_dataset(runner)
        rounds = rounds_in(dataset.store_root)
        barrier()  # all have looked before one creates
        if creating and self.state.round and served not in rounds and self.state.round in rounds:
            served = self.state.round  # complete: only then the former one is removed
        if served in rounds or not (creating or self._recreate):
            self._visits.serve(dataset, served, self._resumed_visits)
        elif creating:
            return  # real samples: there was none before, or a later round has replaced it
        elif max(rounds, default=-1) > served:
            newer = self.state.start + max(rounds) * self._recreate
            raise UserError(
                f'this checkpoint trains on round {served} of the synthetic samples, which round '
                f'{max(rounds)} has replaced in {dataset.store_root}: resume from a checkpoint of '
                f'iteration {newer} or later, or remove that folder, and the theta_C of this '
                'checkpoint creates the round again.'
            )
        else:
            runner.logger.warning(
                f'{dataset.store_root} has no samples of round {served}: the '
                'theta_C of this checkpoint creates them again.'
            )
            self.state.round = self._due_round(runner.iter) - 1  # so that it is due

    def _convert_lengths(self, runner) -> None:
        """``warm_up`` and ``recreate_every`` in iterations."""
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop) if self.by_epoch is None else self.by_epoch
        self._warm_up = to_iterations(runner, self.warm_up, by_epoch, 'warm_up')
        self._recreate = to_iterations(runner, self.recreate_every or 0, by_epoch, 'recreate_every')  # 0: never
        if self._warm_up >= runner.max_iters:
            raise UserError(
                f'the warm-up of {self._warm_up} iterations leaves none of the {runner.max_iters} '
                'of this run to self-improvement: lower warm_up or train longer.'
            )

    def _activate(self) -> None:
        active = self.state.stage == SELF_IMPROVING and self.creation is not None
        self._pass.theta_c = self.theta_c if active else None
        self._pass.kept, self._pass.viewing = self.theta_c, self.state.stage == SELF_IMPROVING

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Changes stage where it is time; tells the batch pass which iteration this is."""
        due = self._due_round(runner.iter)
        if self.state.stage == WARM_UP and runner.iter >= self._warm_up:
            self._end_warm_up(runner)
        elif self.state.stage == SELF_IMPROVING and due > self.state.round and not _stopping(runner):
            self.state.stage, self.state.round = CREATION, due
            self._save(runner)
        if self.state.stage == CREATION and not _stopping(runner):
            self._create(runner)
        self._pass.iteration = runner.iter
        self._pass.measuring = logs_after(runner, self._logger, batch_idx)

    def _due_round(self, iteration: int) -> int:
        """The round that ``iteration`` is to train on."""
        if not self._recreate or self.creation is None:
            return 0
        return (iteration - self.state.start) // self._recreate

    def _end_warm_up(self, runner) -> None:
        """Both parameter sets start here: validated, and safe on disk before a long creation."""
        model = unwrapped(runner)
        self.theta_c = ThetaC(model)
        self.state.start = runner.iter
        if runner.val_loop is not None:
            if self.state.validated_at != runner.iter:
                runner.val_loop.run()
                runner.model.train()
            self.state.stages[WARM_UP] = dict(self.state.metrics)
        self.state.stage = SELF_IMPROVING if self.creation is None else CREATION
        runner.logger.info(
            f'Warm-up ended after {runner.iter} iterations; theta_C takes {self.theta_c.bytes / 2**20:.1f} MiB.'
        )
        if self.restart_optimizer:
            forget_state(runner.optim_wrapper)
        if self.restart_schedule:
            restart_schedules(runner)
        self._activate()
        self._save(runner)
        self._clock.switch(self.state.stage)
        restart_timer(runner)

    def _create(self, runner) -> None:
        """Fills the store with this round and serves it."""
        self._clock.switch(CREATION)
        runner.logger.info(f'Creating synthetic samples, round {self.state.round}.')
        assert self.creation is not None  # else no round is ever due
        made = create_round(runner, unwrapped(runner), self.theta_c, self.creation, self.state.round)
        self._visits.round_began(mixed_dataset(runner))
        self.state.synthetic = dict(made, rounds=self.state.round + 1)
        self.state.stage = SELF_IMPROVING
        self._activate()
        self._clock.switch(SELF_IMPROVING)
        restart_timer(runner)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Moves theta_C, and hands the figures of a measured batch to the log."""
        if self.state.stage == SELF_IMPROVING:
            assert self.theta_c is not None  # the warm-up's end made it
            if update_due(runner, batch_idx, self.interval, self.interval_from, self.state.start):
                self.theta_c.update(unwrapped(runner), self.momentum)
            elif self.views.target_mode == 'train' and self.creation is not None:
                self.theta_c.average_over_ranks()  # else each labels and validates another model
        if self._pass.measuring:
            hub = runner.message_hub
            hub.update_scalar('train/stage', int(self.state.stage == SELF_IMPROVING))
            for name, value in self._pass.figures.items():
                hub.update_scalar(f'train/{name}', value.item())
            self._pass.figures = {}

    def after_train_epoch(self, runner) -> None:
        """Before a checkpoint: what an epoch-based run will not draw again when it resumes."""
        if self._pass.theta_c is not None and isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._visits.epoch_ended(mixed_dataset(runner))

    def after_train(self, runner) -> None:
        """Validates the last state if the loop did not, and writes the summary."""
        # stopped at the end of the warm-up: theta_C is what was validated there
        ended = self.state.stage == CREATION
        if runner.val_loop is not None and self.state.validated_at != runner.iter and not ended:
            runner.val_loop.run()
        self._pass.detach()
        self._clock.switch(None)
        stages = dict(self.state.stages)
        if not ended:
            stages[self.state.stage] = self.state.metrics
        RunSummary(stages, self.state.synthetic, self._clock.seconds(), unreadable_files(runner)).report(runner)

    # --- validation and test are theta_C's ------------------------------------------------------

    def before_val(self, runner) -> None:
        self._part_before_val = self._clock.switch('validation')

    def after_val(self, runner) -> None:
        self._clock.switch(self._part_before_val)

    def before_val_epoch(self, runner) -> None:
        self._swap(runner)

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        self._swap(runner)
        self.state.metrics = plain_metrics(metrics or {})
        self.state.validated_at = runner.iter

    def before_test_epoch(self, runner) -> None:
        self._swap(runner)

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        self._swap(runner)

    def _swap(self, runner) -> None:
        # without theta_C the model already is it: warm-up, or a test of a checkpoint
        if self.theta_c is not None:
            self.theta_c.swap(unwrapped(runner))

    # --- checkpoints ----------------------------------------------------------------------------

    def _save(self, runner) -> None:
        """Writes a checkpoint of this moment, before the iteration, with the run's own hook."""
        hook = next((h for h in runner.hooks if isinstance(h, CheckpointHook)), None)
        if hook is None:
            runner.logger.warning(
                'Without a CheckpointHook an interrupted creation starts again from the beginning of the run.'
            )
            return
        step = runner.epoch if hook.by_epoch else runner.iter
        hook._save_checkpoint_with_step(runner, step, meta=dict(epoch=runner.epoch, iter=runner.iter))

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """``state_dict`` becomes theta_C, theta_E stands beside it; main process only."""
        self.state.seconds = self._clock.seconds()
        checkpoint['self_improving'] = self.state.to_dict()
        checkpoint['slot_visits'] = self._visits.to_dict()
        if self.theta_c is None:
            return
        weights = checkpoint['state_dict']
        averaged = self.theta_c.state_dict()
        checkpoint['theta_E'] = {name: weights[name] for name in averaged}
        weights.update({name: tensor.cpu() for name, tensor in averaged.items()})

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """On ``--resume`` theta_E goes to the model and theta_C here; else both start the same."""
        own = checkpoint.pop('theta_E', None)
        state = checkpoint.get('self_improving')
        if not runner._resume or state is None:
            return
        self._resumed = True  # with `--resume` and no checkpoint a run starts anew
        self.state = StageState.from_dict(state)
        self._clock = Stopwatch(self.state.seconds)
        self._resumed_visits = checkpoint.get('slot_visits')
        if own is not None:
            weights = checkpoint['state_dict']
            self._resumed_theta_c = dict(weights), set(own)
            weights.update(own)


def _stopping(runner) -> bool:
    """Whether training ends as soon as its loop looks, which is after this iteration or epoch."""
    return getattr(runner.train_loop, 'stop_training', False)
