"""Pages written to files."""

from pathlib import Path

from reid.adapters.safetensors_file import cannot_be_made, replace_file


def write_page(path: Path, text: str) -> None:
    """Replace a file in one step, its folder made where it is missing.

    File names that are no Unicode, which Python keeps as lone surrogates, are written escaped.

    Raises:
        CheckpointError: The place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_be_made(path.parent, error) from error
    replace_file(path, text.encode(errors="backslashreplace"))
