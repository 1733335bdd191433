"""The library: embed images, keep galleries and name people in a few lines of Python.

Letters: N images, D width.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np
from torch import Tensor

from reid.adapters.images.given import ImageLike
from reid.application.galleries import CheckOutcome, FillingOutcome, GalleryContent, RemovalOutcome
from reid.application.identify import IdentificationOutcome
from reid.application.image_selection import ImageSelection
from reid.container.root import Container
from reid.domain.errors import DatasetError
from reid.domain.services.gallery import Gallery
from reid.ports.dataset import ImageSource
from reid.settings.loading import load_settings
from reid.settings.mentions import respelled_errors
from reid.settings.trained import with_trained_encoder

Images: TypeAlias = ImageLike | Iterable[ImageLike]
"""The path of a folder, of a list (CSV) or of an image; the content of an image file; (H, W, 3)
uint8 RGB pixels; or a list of paths of images, contents and pixels."""

A_PROGRAM = "a program"
"""Where images come from that were handed over as bytes or pixels."""


_ARGUMENTS = {"run.directory": "run", "encoder.weights": "weights"}


def _argument(setting: str, value: str | None) -> str | None:
    if setting in _ARGUMENTS:
        return f"{_ARGUMENTS[setting]}={'...' if value is None else repr(value)}"
    return None if value is None else f"settings={{{setting!r}: {value}}}"


class Reid:
    """An encoder, ready to describe images and to name the people on them.

    The encoder is built when it is first needed. An object serves one thread.

    Example:
        reid = Reid(run="runs/people")
        vectors = reid.embed("people/query")
        with reid.gallery("people.gallery") as gallery:
            gallery.build("people/bounding_box_test")
            outcome = reid.identify("people/query", gallery)
    """

    @respelled_errors(_argument)
    def __init__(
        self,
        *,
        run: str | Path | None = None,
        weights: str | Path | None = None,
        config: str | Path | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """Choose the encoder; without arguments, that of the run in `runs/default`.

        Args:
            run: Folder of a training run whose encoder is used.
            weights: A file, `openai` or `random`, in place of a run's.
            config: TOML file with settings.
            settings: Any other setting by its dotted name: `{"encoder.kind": "vit-b16"}`.

        Raises:
            ConfigurationError: A setting is unknown or out of range, or `run` and `weights` are
                both given.
            CheckpointError: The run has no trained encoder.
        """
        named = {"run.directory": run, "encoder.weights": weights}
        texts = {key: None if value is None else str(value) for key, value in named.items()}
        resolved = load_settings(
            config=None if config is None else Path(config), options={**texts, **(settings or {})}
        )
        # Without a dataset, the weights file tells how many cameras there are.
        self._container = Container(settings=with_trained_encoder(resolved), num_cameras=0)

    @respelled_errors(_argument)
    def embed(self, images: Images) -> Tensor:
        """Describe images by vectors; cosines of two tell whether they show the same person.

        Args:
            images: N; those of a folder are sorted by name.

        Returns:
            (N, D) float32 on the CPU, rows of unit L2 norm.

        Raises:
            DatasetError: An image cannot be read, or there is none.
            EncoderError: Weights cannot be had or do not fit.
        """
        source = source_of(self._container, images)
        names = [image.name for image in source.images()]
        return self._container.embedder().embed(source.reader, names, camids=None, subset="images")

    def gallery(self, place: str | Path) -> "OpenGallery":
        """Name a gallery that is kept on disk; `build` or `add` makes it where there is none."""
        return OpenGallery(self._container, str(place))

    @respelled_errors(_argument)
    def identify(
        self, queries: Images, gallery: "OpenGallery | str | Path"
    ) -> IdentificationOutcome:
        """Name the person on each query image.

        Args:
            queries: Images; those that cannot be read are listed in the outcome.
            gallery: A gallery, or by its path a gallery or a folder or list of labelled images,
                which is embedded once and kept in a cache.

        Raises:
            DatasetError: No readable query.
            GalleryError: The gallery is missing or empty, or another encoder made it.
        """
        asked = source_of(self._container, queries)
        identify = self._container.identify()
        if isinstance(gallery, OpenGallery):
            return identify.run(asked, gallery.opened())
        if self._container.is_gallery(str(gallery)):
            with self.gallery(gallery) as known:
                return identify.run(asked, known.opened())
        return identify.run_among(
            asked,
            self._container.images()(Path(gallery)),
            open_gallery=lambda fingerprint: self._container.open_cache(str(gallery), fingerprint),
        )


class OpenGallery:
    """Images of known people, kept on disk as vectors."""

    def __init__(self, container: Container, place: str) -> None:
        """Remember where; nothing is touched yet. `Reid.gallery` makes these."""
        self._container = container
        self._place = place
        self._opened: Gallery | None = None

    @respelled_errors(_argument)
    def build(self, images: str | Path) -> FillingOutcome:
        """Make the gallery hold what a folder or list of labelled images holds.

        Images that it knows by their content are not embedded again, and images that are gone
        from the folder leave the gallery.

        Raises:
            DatasetError: No readable image, or one without a label, or a single image's path.
            GalleryError: Another encoder made the gallery, or it cannot be written.
        """
        return self._enroll(self._container.followed_images()(Path(images)), mirrors=True)

    @respelled_errors(_argument)
    def add(
        self, images: Images, *, label: str | None = None, camera: str | None = None
    ) -> FillingOutcome:
        """Add images.

        Args:
            images: Those of a folder or list bring labels and cameras along.
            label: Who is on all of them.
            camera: Which camera took all of them.

        Raises:
            DatasetError: No readable image, or one without a label.
            GalleryError: Another encoder made the gallery, or it cannot be written.
        """
        source = source_of(self._container, images, label=label, camera=camera)
        return self._enroll(source, mirrors=False)

    def remove(self, *, names: Sequence[str] = (), labels: Sequence[str] = ()) -> RemovalOutcome:
        """Take images out by their names or labels; all or none.

        Raises:
            GalleryError: A name or a label is not there.
        """
        return self._container.maintain_gallery().remove(self.opened(), names=names, labels=labels)

    def forget(self, label: str) -> RemovalOutcome:
        """Erase a person with every trace, make sure of it, and note it in the audit log.

        Raises:
            GalleryError: Nobody is called so, or something of the person is left.
        """
        return self._container.maintain_gallery().forget(self.opened(), label)

    def check(self) -> CheckOutcome:
        """Erase what has expired, then look for damage."""
        return self._container.maintain_gallery().check(self.opened())

    def contents(self) -> GalleryContent:
        """List people, and what was done to the gallery."""
        return self._container.maintain_gallery().list(self.opened())

    @respelled_errors(_argument)
    def opened(self) -> Gallery:
        """Open the gallery where it is not open, and leave it open.

        Raises:
            GalleryError: It is missing or damaged.
        """
        if self._opened is None:
            self._opened = self._container.open_gallery(self._place, create=False)
        return self._opened

    def close(self) -> None:
        """Let go of files; the next call opens them again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __enter__(self) -> Self:
        """Close when the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _enroll(self, source: ImageSource, *, mirrors: bool) -> FillingOutcome:
        return self._container.enroll_gallery().run(
            source,
            open_gallery=lambda: self._container.open_gallery(self._place, create=True),
            mirrors=mirrors,
        )


def source_of(
    container: Container,
    images: Images,
    *,
    label: str | None = None,
    camera: str | None = None,
) -> ImageSource:
    """Make an image source of whatever a program calls images.

    Raises:
        DatasetError: Label or camera is no name, or the images cannot be listed.
    """
    label, camera = _name("label", label), _name("camera", camera)
    source = _listed(container, images)
    if label is camera is None:
        return source
    said = [
        replace(image, label=label or image.label, camera=camera or image.camera)
        for image in source.images()
    ]
    return ImageSelection(source, said)


def _name(what: str, said: str | None) -> str | None:
    """Refuse numbers, which are a slip that types do not catch in a notebook, and blanks."""
    if said is None:
        return None
    if not isinstance(said, str) or not said.strip():
        raise DatasetError(f"the {what} {said!r} is no name: give a text, such as '0067'")
    return said.strip()


def _listed(container: Container, images: Images) -> ImageSource:
    if isinstance(images, str | Path):
        opened: ImageSource = container.images()(Path(images))
        return opened
    # A list of its own: `Path.glob` gives what can be gone through once, and we go twice.
    listed = [images] if isinstance(images, bytes | np.ndarray) else [*images]
    are_paths = all(isinstance(one, str | Path) for one in listed)
    place = str(Path.cwd()) if are_paths else A_PROGRAM
    given: ImageSource = container.given_images()(listed, place=place)
    return given
