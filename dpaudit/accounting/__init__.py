"""What a mechanism costs: (ε, δ), the whole trade-off curve, and the reconstruction bound that follows from it.

Everything rests on the privacy loss distribution of the mechanism as dp-accounting composes it (0.4.3 and later).
The noise multiplier of `GaussianSteps` is relative to the clip norm, so a replaced record moves the sum of a batch
by up to two clip norms.
"""

from dpaudit.accounting.adjacency import allowed_for_replaced, replace_one_claim
from dpaudit.accounting.gaussian import gaussian_delta, gaussian_epsilon, gaussian_mu
from dpaudit.accounting.mechanism import Accounted, epsilon, event, trade_off
from dpaudit.accounting.shuffling import shuffle_lower_bound
from dpaudit.accounting.trade_off_curve import TradeOff, from_profile, gaussian_trade_off

__all__ = [
    "Accounted",
    "TradeOff",
    "allowed_for_replaced",
    "epsilon",
    "event",
    "from_profile",
    "gaussian_delta",
    "gaussian_epsilon",
    "gaussian_mu",
    "gaussian_trade_off",
    "replace_one_claim",
    "shuffle_lower_bound",
    "trade_off",
]
