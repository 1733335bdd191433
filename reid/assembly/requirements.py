"""What the settings of an adapter need to make sense."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from reid.domain.errors import ConfigurationError


def refuse_options(key: str, kind: str, options: Mapping[str, object]) -> None:
    """Refuse options for what is built in.

    Raises:
        ConfigurationError: There are some.
    """
    if options:
        raise ConfigurationError(f"{key}: only plug-ins take options, and {kind} is built in")


@contextmanager
def needed_for(setting: str, *, package: str, extra: str) -> Iterator[None]:
    """Turn a failing import into what to install.

    Raises:
        ConfigurationError: Something imported in the block is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{setting} needs {package}, which is not installed: pip install 'clip-reid[{extra}]'"
        ) from error
