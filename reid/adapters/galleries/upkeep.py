"""What the vectors of an engine do by default: nothing is left over, built, or given back."""

from collections.abc import Iterator


class WithoutUpkeep:
    """The part of `GalleryVectors` that stores without upkeep share; an engine overrides it."""

    filters: bool = False
    rewrites: bool = False
    residual_traces: str | None = None

    def has_leftovers(self, state: str, *, last_key: int) -> bool:  # noqa: ARG002
        """Nothing is left over."""
        return False

    def tidy(self, state: str, *, last_key: int) -> None:
        """Do nothing."""

    def prepare(self, state: str) -> bool:  # noqa: ARG002
        """Do nothing: the vectors can be searched at any time."""
        return False

    def keep_prepared(self, state: str) -> None:
        """Do nothing."""

    def settle(self) -> None:
        """Do nothing."""

    def reclaim(self, *, is_thorough: bool) -> None:
        """Do nothing."""

    def faults(self, state: str) -> Iterator[str]:  # noqa: ARG002
        """Find nothing."""
        return iter(())

    def close(self) -> None:
        """Do nothing."""
