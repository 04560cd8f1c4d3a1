"""Which synthetic samples a resumed run sees: those that the unbroken run would have seen."""

from typing import Any, List, Mapping, Optional

from mmengine.dist import all_gather, get_dist_info
from torch import Tensor

__all__ = ['SlotVisits']


class SlotVisits:
    """How often every process has drawn the slots of ``SyntheticMixDataset``, for checkpoints.

    Which sample fills a slot depends on how often it was drawn since its round began. Where an
    iteration-based run resumes, MMEngine draws all past batches again, so they are counted again;
    the count at which the round began has to be known. An epoch-based run draws nothing again, and
    the present count has to be known too.
    """

    def __init__(self) -> None:
        self._since: List[Tensor] = []
        self._now: List[Tensor] = []

    def round_began(self, dataset: Any) -> None:
        """To be called by every process when a round is served for the first time."""
        self._since, self._now = all_gather(dataset.since.clone()), []

    def epoch_ended(self, dataset: Any) -> None:
        """To be called by every process, in epoch-based runs."""
        self._now = all_gather(dataset.visits.clone())

    def to_dict(self) -> dict:
        """Counts as tensors, int32 of shape (slots,), a list entry for each process."""
        return dict(since=[visits.cpu() for visits in self._since],
                    now=[visits.cpu() for visits in self._now])

    def serve(self, dataset: Any, round: int, saved: Optional[Mapping[str, List[Tensor]]]) -> None:
        """Serve a round as it was served when a checkpoint was written.

        Where the number of processes or of slots is another one, batches are other ones as well, and
        counting begins anew.

        Args:
            dataset (SyntheticMixDataset): Of the resumed run.
            round (int): Of the checkpoint.
            saved (Mapping | None): What :meth:`to_dict` gave; None: counting begins anew.
        """
        rank, world_size = get_dist_info()
        since, now = (saved or {}).get('since', ()), (saved or {}).get('now', ())
        fits = len(since) == world_size and since[rank].shape == dataset.visits.shape
        if fits and now:
            dataset.visits.copy_(now[rank])
        if fits:
            self._since, self._now = list(since), list(now)
        dataset.serve(round, since[rank] if fits else None)
        if not fits:
            self.round_began(dataset)
