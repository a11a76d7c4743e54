"""The verdict: green, amber or red, from rules that can be read in a minute.

Red: what was found is not distinguishable from luck, or loses on candles it was not chosen on. Green: nothing speaks against
it. Amber: everything between. A rule that could not be measured for lack of candles or trades is never green.
"""

from __future__ import annotations

from collections.abc import Sequence

from ctp.i18n import number, percent
from ctp.research.validation.outcome import (
    AMBER,
    GREEN,
    RED,
    CrossValidation,
    DeflatedSharpe,
    Overfitting,
    Plateau,
    RealityCheck,
    Reason,
    Stress,
    WalkForward,
)

SURE, DOUBTFUL = 0.95, 0.90  # probability that the Sharpe ratio beats luck
P_GOOD, P_BAD = 0.05, 0.10
LOSS_GOOD, LOSS_BAD = 0.10, 0.50  # probability that the best in sample loses out of sample
PLATEAU_GOOD = 1 / 3  # of the candidate's Sharpe ratio, by the median neighbour
TRADES_GOOD, TRADES_BAD = 30, 10
STRESSES_LOST = 2  # of fees, slippage and delay
ORDER = (RED, AMBER, GREEN)


def verdict_of(reasons: Sequence[Reason]) -> str:
    """Return the worst colour among the reasons."""
    return min((reason.colour for reason in reasons), key=ORDER.index)


def sort_reasons(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """Return the reasons, the worst colour first and within a colour the strongest."""
    return tuple(sorted(reasons, key=lambda reason: (ORDER.index(reason.colour), -reason.strength)))


def of_trades(anchored: WalkForward, traded: int) -> Reason:
    """Judge how many out-of-sample trades there are to judge by."""
    count = anchored.trades
    facts = {"trades": str(count), "needed": str(TRADES_GOOD), "traded": str(traded)}
    if count < TRADES_BAD:
        return Reason(name="trades", colour=RED, strength=0.6 + 0.4 * (1.0 - count / TRADES_BAD), facts=facts)
    if count < TRADES_GOOD:
        return Reason(name="trades", colour=AMBER, strength=1.0 - count / TRADES_GOOD, facts=facts)
    return Reason(name="trades", colour=GREEN, strength=0.0, facts=facts)


def of_walk_forward(anchored: WalkForward, rolling: WalkForward) -> Reason:
    """Judge what the choices of the past earned afterwards."""
    folds = len(anchored.folds) + len(rolling.folds)
    facts = {
        "anchored": percent(anchored.total_return, 1, signed=True),
        "rolling": percent(rolling.total_return, 1, signed=True),
        "yearly": percent(anchored.annual_return or 0.0, 1, signed=True),
        "profitable": str(anchored.profitable_folds + rolling.profitable_folds),
        "folds": str(folds),
        "probability": percent(anchored.probability or 0.0, 0),
    }
    returns = (anchored.total_return, rolling.total_return)
    if (1.0 + returns[0]) * (1.0 + returns[1]) <= 1.0:  # together they lose
        lost = 1.0 - (anchored.profitable_folds + rolling.profitable_folds) / folds
        return Reason(name="walk_forward", colour=RED, strength=0.5 + 0.5 * lost, facts=facts)
    probability = anchored.probability or 0.0
    if min(returns) <= 0.0 or probability < DOUBTFUL:
        return Reason(name="walk_forward", colour=AMBER, strength=max(0.3, 1.0 - probability), facts=facts)
    return Reason(name="walk_forward", colour=GREEN, strength=probability, facts=facts)


def of_deflated(found: DeflatedSharpe) -> Reason:
    """Judge the Sharpe ratio against the best that luck brings among all trials."""
    probability = found.probability
    facts = {
        "sharpe": "-" if found.sharpe is None else number(found.sharpe, 2),
        "luck": number(found.luck, 2),
        "trials": number(found.trials, 0),
        "effective": number(found.effective_trials, 0),
        "probability": percent(probability or 0.0, 0),
    }
    if probability is None or probability < DOUBTFUL:
        return Reason(name="deflated", colour=RED, strength=1.0 - (probability or 0.0) / DOUBTFUL, facts=facts)
    if probability < SURE:
        return Reason(name="deflated", colour=AMBER, strength=(SURE - probability) / (SURE - DOUBTFUL), facts=facts)
    return Reason(name="deflated", colour=GREEN, strength=probability, facts=facts)


def of_reality_check(found: RealityCheck | None) -> Reason | None:
    """Judge whether the best of all combinations beats cash by more than luck."""
    if found is None:
        return None
    facts = {"p": percent(found.p_value, 1), "white": percent(found.white, 1), "combinations": number(found.combinations, 0)}
    if found.p_value > P_BAD:
        return Reason(name="reality_check", colour=RED, strength=(found.p_value - P_BAD) / (1.0 - P_BAD), facts=facts)
    if found.p_value > P_GOOD:
        return Reason(name="reality_check", colour=AMBER, strength=(found.p_value - P_GOOD) / (P_BAD - P_GOOD), facts=facts)
    return Reason(name="reality_check", colour=GREEN, strength=1.0 - found.p_value, facts=facts)


def of_overfitting(found: Overfitting | None) -> Reason | None:
    """Judge what becomes of the best in sample.

    The probability that it falls below the median counts only together with losses: where all combinations are equally good,
    the best of one half is below the median of the other half of the time, and nothing is lost by it.
    """
    if found is None:
        return None
    facts = {
        "probability": percent(found.probability, 0),
        "loss": percent(found.loss_probability, 0),
        "inside": number(found.in_sample, 2),
        "outside": number(found.out_of_sample, 2),
        "splits": number(found.splits, 0),
    }
    loss = found.loss_probability
    if loss > LOSS_BAD:
        return Reason(name="overfitting", colour=RED, strength=(loss - LOSS_BAD) / (1.0 - LOSS_BAD), facts=facts)
    if loss > LOSS_GOOD:
        return Reason(name="overfitting", colour=AMBER, strength=loss, facts=facts)
    return Reason(name="overfitting", colour=GREEN, strength=1.0 - loss, facts=facts)


def of_cross_validation(found: CrossValidation | None) -> Reason | None:
    """Judge the days held out in cross-validation."""
    if found is None:
        return None
    sharpe = found.sharpe or 0.0
    facts = {"sharpe": number(sharpe, 2), "profitable": str(found.profitable_folds), "folds": str(found.folds)}
    share = found.profitable_folds / found.folds
    if sharpe <= 0.0:
        return Reason(name="cross_validation", colour=RED, strength=1.0 - share, facts=facts)
    if share < 0.5:
        return Reason(name="cross_validation", colour=AMBER, strength=1.0 - share, facts=facts)
    return Reason(name="cross_validation", colour=GREEN, strength=share, facts=facts)


def of_plateau(found: Plateau) -> Reason | None:
    """Judge the neighbourhood of the candidate."""
    if found.score is None:
        return None
    facts = {"score": percent(found.score, 0), "neighbours": number(found.neighbours, 0)}
    if found.score < PLATEAU_GOOD or (found.profitable or 0.0) < 0.5:
        return Reason(name="plateau", colour=AMBER, strength=1.0 - found.score, facts=facts)
    return Reason(name="plateau", colour=GREEN, strength=found.score, facts=facts)


def of_stresses(found: Sequence[Stress]) -> Reason | None:
    """Judge what is left, out of sample, when trading costs more or comes late."""
    single = {stress.name: stress.total_return for stress in found}
    if not single:
        return None
    facts = {name: percent(single.get(name, 0.0), 1, signed=True) for name in ("fees", "slippage", "delay")}
    lost = sum(single.get(name, 0.0) <= 0.0 for name in ("fees", "slippage", "delay"))
    if lost >= STRESSES_LOST:
        return Reason(name="stress", colour=AMBER, strength=lost / 3.0, facts=facts)
    return Reason(name="stress", colour=GREEN, strength=1.0 - lost / 3.0, facts=facts)
