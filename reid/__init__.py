"""Person re-identification with CLIP.

`from reid import Reid` is the library; `reid.library` says what it takes.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reid.library import OpenGallery, Reid

__all__ = ["OpenGallery", "Reid"]


def __getattr__(name: str) -> object:
    """Import the library when it is first asked for: settings and commands start without torch."""
    if name in __all__:
        from reid import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
