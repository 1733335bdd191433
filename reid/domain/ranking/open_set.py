"""Open-set identification: how many unknown people are named, how many known people correctly.

Terms are those of ISO/IEC 19795-1:2021: an unknown person's query is a non-mated search, FPIR the
share of them that name somebody, TPIR = 1 - FNIR at rank 1 the share of known queries that name the
right person at or above the threshold. The field also calls the two false-alarm or false-accept
rate and detection-and-identification rate (Grother, Micheals & Phillips 2003, Face recognition
vendor test 2002 performance metrics; IJB-C: Maze et al. 2018, doi:10.1109/ICB2018.2018.00033).

Letters: T trials, U of them unknown people's, K known, S distinct similarities.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid.domain.values.open_set import OpenSetReport, OperatingPoint

_ROUNDING = 1e-9  # 0.29 * 100 must count as 29 unknown people, not as 28
_POINTS_PER_DECADE = 24  # of the curve's false-accept rates: closer ones coincide in a plot


@dataclass(frozen=True, slots=True)
class OpenSetTrials:
    """Answers to queries whose truth is known."""

    similarities: Tensor  # (T,) float64, of the answer; finite
    is_known: Tensor  # (T,) bool, whether the person was in the gallery
    is_right: Tensor  # (T,) bool, whether the answer is that person

    def __post_init__(self) -> None:
        """Refuse contradictory trials."""
        sizes = {len(part) for part in (self.similarities, self.is_known, self.is_right)}
        if len(sizes) != 1:
            raise ValueError(f"trials of different lengths: {sorted(sizes)}")
        if not bool(self.similarities.isfinite().all()):
            raise ValueError("a trial's similarity is not finite")
        if bool((self.is_right & ~self.is_known).any()):
            raise ValueError("an unknown person cannot be answered rightly")


def summarise_trials(trials: OpenSetTrials, rates: Sequence[float]) -> OpenSetReport:
    """Compute identification rates at false-accept rates, in 0..1, and the curve of the two.

    Raises:
        ValueError: No known query, no unknown person, or a rate out of range.
    """
    steps = _Steps(trials)
    return OpenSetReport(
        num_known=steps.num_known,
        num_unknown=steps.num_unknown,
        rank_1=int(trials.is_right.sum()) / steps.num_known,
        points=tuple(steps.operate(rate) for rate in sorted(rates)),
        curve=_thinned(*steps.curve()),
    )


def shows_rate(num_unknown: int, rate: float) -> bool:
    """Whether this many unknown people can resolve a false-accept rate; any number resolves 0."""
    return rate == 0 or rate * num_unknown >= 1 - _ROUNDING


def operating_point(trials: OpenSetTrials, rate: float) -> OperatingPoint:
    """Choose the threshold that names most known people at a false-accept rate.

    It lies half-way between the best unknown person who must be rejected and the next trial above:
    any threshold between the two accepts the same trials, and the middle is safest against
    rounding. Trials of equal similarity are accepted together or not at all.

    Raises:
        ValueError: No known query, no unknown person, or a rate out of range.
    """
    return _Steps(trials).operate(rate)


class _Steps:
    """Both rates as step functions of the threshold."""

    def __init__(self, trials: OpenSetTrials) -> None:
        similarities = trials.similarities.double().numpy()
        is_known = trials.is_known.numpy()
        self._all = np.unique(similarities)  # (S,) ascending
        self._non_mated = np.sort(similarities[~is_known])  # (U,) ascending
        self._right = np.sort(similarities[trials.is_right.numpy()])
        self.num_known, self.num_unknown = int(is_known.sum()), len(self._non_mated)
        if not (self.num_known and self.num_unknown):
            raise ValueError(
                f"need known queries and unknown people, got {self.num_known} and "
                f"{self.num_unknown}"
            )

    def operate(self, rate: float) -> OperatingPoint:
        """Choose the lowest threshold whose false-accept rate is at most `rate`."""
        if not 0 <= rate <= 1:
            raise ValueError(f"a false-accept rate lies in 0..1, got {rate}")
        admitted = math.floor(rate * self.num_unknown + _ROUNDING)
        threshold = self._above_all_but(admitted)
        false, right = self._rates_at(np.array([threshold]))
        return OperatingPoint(
            false_accept_rate=rate,
            threshold=threshold,
            measured_false_accept_rate=float(false[0]),
            identification_rate=float(right[0]) if shows_rate(self.num_unknown, rate) else None,
        )

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Give the best identification rate at every false-accept rate that occurs, ascending."""
        stops = [*np.unique(self._non_mated)[::-1].tolist(), -math.inf]
        return self._rates_at(np.nextafter(np.array(stops), math.inf))

    def _rates_at(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the shares of unknown people and of right answers that reach each threshold."""
        false = self.num_unknown - np.searchsorted(self._non_mated, thresholds, side="left")
        right = len(self._right) - np.searchsorted(self._right, thresholds, side="left")
        return false / self.num_unknown, right / self.num_known

    def _above_all_but(self, admitted: int) -> float:
        """Find the lowest threshold that at most `admitted` unknown people reach."""
        if admitted >= self.num_unknown:
            return float(self._all[0])
        stop = self._non_mated[self.num_unknown - 1 - admitted]
        above = self._all[np.searchsorted(self._all, stop, side="right") :]
        if not len(above):
            return float(np.nextafter(stop, math.inf))
        # Neighbouring floats have no middle; the upper one serves.
        middle = float(stop + (above[0] - stop) / 2)
        return middle if middle > stop else float(above[0])


def _thinned(false: np.ndarray, right: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Keep the steps that a plot with a logarithmic false-accept rate can show, and both ends."""
    with np.errstate(divide="ignore"):
        places = np.floor(np.log10(false) * _POINTS_PER_DECADE)  # -inf at 0
    is_last = np.append(places[1:] != places[:-1], True)
    return tuple(zip(false[is_last].tolist(), right[is_last].tolist(), strict=True))


def fit_confidence(similarities: Tensor, is_right: Tensor) -> tuple[float, float]:
    """Fit P(answer is right) = 1 / (1 + exp(-(slope * similarity + intercept))).

    Platt 1999, Probabilistic outputs for support vector machines, with his targets (N+ + 1) / (N+ +
    2) and 1 / (N- + 2), which keep the fit finite where right and wrong answers separate; the
    likelihood is evaluated without overflow (Lin, Lin & Weng 2007, doi:10.1007/s10994-007-5018-6).
    It is convex, and Newton's method within a trust region finds the same minimum every time.

    Args:
        similarities: (T,) float64, of answers to known queries and unknown people alike.
        is_right: (T,) bool; no unknown person's is.

    Returns:
        Slope and intercept; slope 0 where all similarities are equal.

    Raises:
        ValueError: No trial.
    """
    if not len(similarities):
        raise ValueError("no trial to fit a confidence to")
    right = is_right.numpy()
    num_right = int(right.sum())
    targets = np.where(right, (num_right + 1) / (num_right + 2), 1 / (len(right) - num_right + 2))
    values = similarities.double().numpy()
    centre, spread = float(values.mean()), float(values.std())
    if spread == 0:
        return 0.0, _log_odds(targets)
    design = np.stack([(values - centre) / spread, np.ones_like(values)], axis=1)  # (T, 2)
    slope, intercept = _minimise_cross_entropy(design, targets).tolist()
    return slope / spread, intercept - slope * centre / spread


def _minimise_cross_entropy(design: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Find the (2,) weights of a logistic regression on standardised values."""
    # Imported here: it takes a quarter of a second, which no other command should pay.
    from scipy import optimize, special

    def loss(weights: np.ndarray) -> float:
        scores = design @ weights
        return float((np.logaddexp(0, scores) - targets * scores).mean())

    def gradient(weights: np.ndarray) -> np.ndarray:
        found: np.ndarray = design.T @ (special.expit(design @ weights) - targets) / len(targets)
        return found

    def hessian(weights: np.ndarray) -> np.ndarray:
        share = special.expit(design @ weights)
        found: np.ndarray = (design * (share * (1 - share))[:, None]).T @ design / len(targets)
        return found

    start = np.array([0.0, _log_odds(targets)])
    fitted = optimize.minimize(
        loss, start, method="trust-exact", jac=gradient, hess=hessian, options={"gtol": 1e-9}
    )
    found: np.ndarray = fitted.x
    return found


def _log_odds(targets: np.ndarray) -> float:
    mean = float(targets.mean())
    return math.log(mean / (1 - mean))


def confidence_of(similarities: Tensor, *, slope: float, intercept: float) -> Tensor:
    """Turn similarities into the probability that the answer is right: float64 in 0..1.

    Slope and intercept are those of `fit_confidence`.
    """
    return torch.sigmoid(slope * similarities.double() + intercept)
