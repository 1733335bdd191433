"""Composition root: all subjects in one container.

Add a provider to the file of its subject: a use case is a `Singleton` whose arguments are the
providers above it, and whose class `Lazily` imports on first use. An adapter that settings choose
by name is a line in `registry.py`.
"""

from dependency_injector import providers

from reid.container.diagnosis import run_diagnosis
from reid.container.exports import Exports
from reid.container.foundation import Foundation
from reid.container.training import Training


class Container(Training, Exports):
    """Everything a command needs, created on first use from `Container(settings=...)`.

    Keyword arguments replace providers: `num_cameras=0` leaves cameras to the weights file.
    """

    diagnose = providers.Callable(run_diagnosis, Foundation.settings)
