"""Where a self-improving run stands: what a checkpoint keeps of it, in plain types."""

import os.path as osp
from dataclasses import asdict, dataclass, field
from typing import Mapping

from ..synthesis.store import SyntheticStore

__all__ = ['CREATION', 'SELF_IMPROVING', 'WARM_UP', 'StageState', 'rounds_in']

WARM_UP = 'warm_up'
CREATION = 'creation'
SELF_IMPROVING = 'self_improving'


@dataclass
class StageState:
    """The stage of a run and the figures that its summary needs.

    Attributes:
        stage (str): 'warm_up', 'creation' or 'self_improving'.
        round (int): Round of synthetic samples that is created or served.
        start (int): First iteration after the warm-up.
        metrics (dict): Of the last validation.
        validated_at (int): Iteration of the last validation, -1 before the first.
        stages (dict): Stage that has ended -> its last metrics.
        synthetic (dict): What was created (``samples``, ``rounds``).
        seconds (dict): Part of the run -> seconds so far.
    """

    stage: str = WARM_UP
    round: int = 0
    start: int = 0
    metrics: dict = field(default_factory=dict)
    validated_at: int = -1
    stages: dict = field(default_factory=dict)
    synthetic: dict = field(default_factory=dict)
    seconds: dict = field(default_factory=dict)

    def to_dict(self) -> dict:
        """Python's own types only, so that it loads with ``weights_only=True``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: Mapping) -> 'StageState':
        """Keys of another version are left out."""
        return cls(**{key: state[key] for key in cls.__dataclass_fields__ if key in state})


def rounds_in(store_root: str) -> set[int]:
    """Rounds of which a store holds samples; none where there is no store."""
    if not osp.exists(osp.join(store_root, 'store.json')):
        return set()
    return {record.round for record in SyntheticStore(store_root, warn=False).records()}
