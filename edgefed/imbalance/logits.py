"""Logit adjustment: after training (post-hoc) or inside the loss (balanced softmax)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgefed.imbalance.remedy import Remedy, smoothed_prior

if TYPE_CHECKING:
    from edgefed.imbalance.remedy import Floats, Ints


class PostHoc(Remedy):
    """Post-hoc logit adjustment f - tau log pi: predictions move, training does not (Menon et al. 2021).

    The mandatory control: moving the decision threshold matches what resampling buys in published comparisons (van
    den Goorbergh et al., JAMIA 2022). Neutral at ``logit-adjustment-tau=0``.
    """

    needs_global_counts: ClassVar[bool] = True
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy", "mse")

    def prediction_shift(self, total: Floats | None, num_classes: int) -> Floats:
        """Return -tau log pi."""
        assert total is not None
        return -self.config.logit_adjustment_tau * np.log(smoothed_prior(total))


class BalancedSoftmax(Remedy):
    """Loss on f + tau log pi, so that f itself is balanced (Ren et al. 2020; Menon et al. 2021).

    Neutral at ``logit-adjustment-tau=0``.
    """

    needs_global_counts: ClassVar[bool] = True
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy", "mse")

    def logit_shift(self, local: Ints, total: Floats | None) -> Floats:
        """Return tau log pi, the same for every client."""
        assert total is not None
        shift = self.config.logit_adjustment_tau * np.log(smoothed_prior(total))
        return np.broadcast_to(shift, local.shape).copy()
