"""Counts of matched segments and the panoptic quality made of them."""

from collections import defaultdict
from types import SimpleNamespace

OFFSET = 256 * 256 * 256
VOID = 0


class PQStat:
    """Matches (``tp``, ``fp``, ``fn``, summed ``iou``) per category."""

    def __init__(self):
        self.pq_per_cat = defaultdict(lambda: SimpleNamespace(iou=0.0, tp=0, fp=0, fn=0))

    def __getitem__(self, category):
        return self.pq_per_cat[category]

    def __iadd__(self, other):
        for category, found in other.pq_per_cat.items():
            for name in ('iou', 'tp', 'fp', 'fn'):
                own = self.pq_per_cat[category]
                setattr(own, name, getattr(own, name) + getattr(found, name))
        return self

    def pq_average(self, categories, isthing):
        """Averages over the things (True), the stuff (False) or all categories (None)."""
        figures = {}
        for label, about in categories.items():
            if isthing is not None and bool(about['isthing']) != isthing:
                continue
            c = self.pq_per_cat[label]
            weight = c.tp + 0.5 * c.fp + 0.5 * c.fn
            figures[label] = dict(
                pq=c.iou / weight if weight else 0.0,
                sq=c.iou / c.tp if c.tp else 0.0,
                rq=c.tp / weight if weight else 0.0,
                seen=weight > 0,
            )
        seen = [f for f in figures.values() if f['seen']]
        count = max(len(seen), 1)
        average = {name: sum(f[name] for f in seen) / count for name in ('pq', 'sq', 'rq')}
        return dict(average, n=len(seen)), figures
