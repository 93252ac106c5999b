"""Probation: whether a promoted model does worse than its predecessor would have on the same new rows.

The evidence is that of `ml.evidence`, the gain at each row being the champion's loss minus its predecessor's. With
alpha = .001 at most one promotion in a thousand that is at no row expected to be worse is taken back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ml import evidence
from ml.evidence import Evidence

ROWS: Final = 2_000  # labelled rows after which a promotion has proved itself
LIMIT: Final = 1_000.0  # 1/alpha


@dataclass(frozen=True, slots=True)
class Probation(Evidence):
    """That the champion is worse; `against` is the predecessor's version. At most 2,000 rows are compared."""

    against: str

    @property
    def is_over(self) -> bool:
        """Whether the promotion has stood all its rows."""
        return self.rows >= ROWS


def update(state: Probation, differences: ArrayLike) -> Probation:
    """The state after these differences, each in [-1, 1], oldest first; those beyond the 2,000th count no more.

    Raises:
        ValueError: a difference outside [-1, 1], or not one dimension.
    """
    return evidence.update(state, np.asarray(differences, dtype=np.float64)[: ROWS - state.rows], LIMIT)
