"""Learning rates inside an optimiser."""

from reid.domain.training.optimizers import NamedAdam


def learning_rates_of(adam: NamedAdam) -> dict[str, float]:
    """Return the learning rate of each parameter, by name."""
    rates = {
        id(parameter): float(group["lr"])
        for group in adam._adam.param_groups
        for parameter in group["params"]
    }
    return {name: rates[id(parameter)] for name, parameter in adam._parameters.items()}
