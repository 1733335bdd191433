"""Composition root: all subjects in one container.

To add a provider, put it into the file of its subject: a use case is one more `Singleton` whose
arguments are the providers above it, its class named by `Lazily`, so that nothing is imported
before a command asks for it. An adapter that settings choose by name is a line in `registry.py`.
"""

from dependency_injector import providers

from reid.container.diagnosis import run_diagnosis
from reid.container.foundation import Foundation
from reid.container.training import Training


class Container(Training):
    """Everything a command needs, made when it is first asked for.

    `Container(settings=...)` is enough; `listener` is silent unless given. Any provider can be
    given in the same way: `num_cameras=0` leaves cameras to the weights file where there is no
    dataset to count them in.
    """

    diagnose = providers.Callable(run_diagnosis, Foundation.settings)
