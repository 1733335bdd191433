"""How far rounding to float32 moves the gradient norms of stage 2, measured in float64.

Batch statistics of eight images leave some of the million ReLU inputs of RN50's stem next to zero.
Rounding moves a few of them across, each takes its whole share of the gradient with it, and which
ones they are depends on the order of summation: on processor, instruction set, library and number
of threads. So no float32 program, the official one included, has the gradient: float64 has, and a
float32 program has to come as near to it as rounding allows. That is measured here:

1.  The truth is `plain_resnet` in float64.
2.  A perturbed run is the same, with every image value, text feature and weight multiplied by
    1 + UNITS * 2^-24 * r, where r is drawn evenly from (-1, 1) and 2^-24 is the relative size of
    half a unit in the last place of a float32.
3.  UNITS is 4, because a float32 program rounds after every operation and not at its inputs alone:
    the official features of the three levels err by 13.1, 28.6 and 39.9 x 2^-24 (root mean square,
    relative to that of the feature), those of runs with UNITS = 1 by 3.1, 7.0 and 9.9, a fourth.
    On a processor with AVX2 only they err by 15.9, 36.1 and 49.8, five times as much.
4.  The spread of a norm is the root mean square of its relative deviation over NUM_RUNS perturbed
    runs.
5.  The bound is CRITICAL times the spread. Student's t with NUM_RUNS degrees of freedom exceeds
    6.7 with probability 5e-6; so in fewer than one of 1,000 runs that round as float32 does would
    one of RN50's 177 norms lie outside. The official norms are 1.05 spreads off (root mean square)
    and 3.8 at most, in `bn2.weight`, which is 4.2e-3; UNITS = 16 lies outside the bound.
6.  No bound is below FLOOR: float32 sums over images and positions round too, which perturbed
    inputs do not show. `rn_tiny`, none of whose ReLU inputs crosses, shows it alone: 1.6e-6 at most
    in the official norms, with a fourth of the positions to sum over.

`python -m tests.golden.rounding` measures anew and writes `rn50_rounding.npz`; it takes minutes.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.golden.loading import FOLDER, Array, GoldenCase, golden_clip_state, load_golden
from tests.golden.plain_resnet import Parameters, gradient_norms, parameters_from

HALF_UNIT = 2.0**-24
UNITS = 4
NUM_RUNS = 16
CRITICAL = 6.7
FLOOR = 1e-5


def plain_parameters(case: GoldenCase) -> Parameters:
    """Collect a case's weights for the plain implementation, in float64."""
    size = case.image_size
    grid = ((size.height - 16) // case.stride + 1, (size.width - 16) // case.stride + 1)
    return parameters_from(golden_clip_state(case.arch), case.head_state(), grid=grid)


def true_norms(case: GoldenCase) -> dict[str, float]:
    """Compute the norm of the gradient in each parameter, in float64."""
    texts = case.tensor("text_features").double()
    return gradient_norms(case.images().double(), case.labels, texts, plain_parameters(case))


def perturbed_norms(case: GoldenCase, *, seed: int) -> dict[str, float]:
    """Compute the norms with everything that goes in moved by UNITS half units at most."""
    generator = torch.Generator().manual_seed(seed)

    def moved(values: Tensor) -> Tensor:
        share = 2 * torch.rand(values.shape, generator=generator, dtype=torch.float64) - 1
        return values * (1 + UNITS * HALF_UNIT * share)

    images, texts = moved(case.images().double()), moved(case.tensor("text_features").double())
    parameters = {name: moved(value) for name, value in plain_parameters(case).items()}
    return gradient_norms(images, case.labels, texts, parameters)


@dataclass(frozen=True)
class Rounding:
    """What was measured of a case."""

    names: list[str]
    """Of the parameters."""

    norms: Array
    """(parameters,) float64: the truth."""

    deviations: Array
    """(runs, parameters) float64: of the perturbed runs, relative to the truth."""

    def truth(self) -> dict[str, float]:
        """Name the true norms."""
        return dict(zip(self.names, self.norms.tolist(), strict=True))

    def bounds(self) -> Array:
        """Bound how far a float32 program's norms lie from the truth, relative to it."""
        return np.maximum(FLOOR, CRITICAL * root_mean_square(self.deviations))

    def outside(self, norms: dict[str, float], *, but: str) -> dict[str, str]:
        """List the norms that lie farther from the truth than rounding explains.

        Args:
            norms: Of all parameters.
            but: A parameter to leave out.
        """
        assert norms.keys() == set(self.names)
        found = np.array([norms[name] for name in self.names]) / self.norms - 1
        return {
            name: f"{off:.1e}, at most {bound:.1e}"
            for name, off, bound in zip(self.names, found, self.bounds(), strict=True)
            if name != but and not abs(off) <= bound
        }


def root_mean_square(runs: Array) -> Array:
    """Average (runs, parameters) over the runs."""
    spread: Array = np.sqrt(np.square(runs).mean(axis=0))
    return spread


def record_of(name: str) -> Path:
    """Name the file of what was measured of a case."""
    return FOLDER / f"{name}_rounding.npz"


def load_rounding(name: str) -> Rounding:
    """Read what was measured of a case."""
    with np.load(record_of(name), allow_pickle=False) as file:
        return Rounding(file["names"].tolist(), file["norms"], file["runs"])


def measure(name: str) -> None:
    """Compute truth and spread of a case and write them down."""
    case = load_golden(name)
    truth = true_norms(case)
    names, norms = list(truth), np.array(list(truth.values()))
    runs: list[Array] = []
    for seed in range(NUM_RUNS):
        moved = perturbed_norms(case, seed=seed)
        runs.append(np.array([moved[each] for each in names]) / norms - 1)
    np.savez_compressed(record_of(name), names=np.array(names), norms=norms, runs=np.array(runs))


if __name__ == "__main__":
    for each in sys.argv[1:] or ["rn50"]:
        measure(each)
