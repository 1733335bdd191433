"""The library: embed images, manage galleries and identify people in a few lines of Python.

Letters: N images, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self, Unpack

import numpy as np
from numpy.typing import NDArray

from reid.application.galleries import (
    CheckOutcome,
    EnrolmentOutcome,
    GalleryContent,
    RemovalOutcome,
)
from reid.application.identify import IdentificationOutcome
from reid.container.checks import FILESYSTEM
from reid.container.root import Container
from reid.domain.errors import DatasetError
from reid.domain.services.gallery import Gallery
from reid.domain.services.lists import select_images
from reid.library_images import Boxes, Channels, Images, Pixels, source_of
from reid.ports.dataset import ImageSource
from reid.settings.loading import load_settings, with_trained_encoder
from reid.settings.mentions import respelled_errors

_ARGUMENTS = {"run.directory": "run", "encoder.weights": "weights"}


def _argument(setting: str, value: str | None) -> str | None:
    if setting in _ARGUMENTS:
        return f"{_ARGUMENTS[setting]}={'...' if value is None else repr(value)}"
    return None if value is None else f"settings={{{setting!r}: {value}}}"


class Reid:
    """An encoder that describes images and identifies the people in them.

    The encoder is built on first use. An object serves one thread.

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
        """Choose the encoder; by default, that of the run in `runs/default`.

        Without such a run, the encoder that comes with the program is taken, if there is one.

        Args:
            run: Folder of the training run that provides the encoder.
            weights: A file, the name of a model (`reid models list`), `openai` or `random`,
                instead of a run.
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
        # Without a dataset, the weights file determines the number of cameras.
        self._container = Container(settings=with_trained_encoder(resolved), num_cameras=0)

    @respelled_errors(_argument)
    def embed(
        self,
        images: Images,
        *,
        channels: Channels = "rgb",
        boxes: Boxes = None,
        padding: float = 0.0,
    ) -> NDArray[np.float32]:
        """Embed images as vectors; the cosine of two vectors is the similarity of two people.

        Args:
            images: N images; those of a folder are sorted by name.
            channels: Order of the colours of arrays: `rgb`, or `bgr` for frames of OpenCV.
            boxes: Describe the people in these boxes of the images, clipped to the image, instead
                of whole images; N is then the number of boxes, which may be 0.
            padding: Widens each box, on each side, by this share of its width and height.

        Returns:
            (N, D) float32, rows of unit L2 norm, a row for each of equal images too.

        Raises:
            DatasetError: An image cannot be read or is of another type, a box is empty or outside
                its image, or there are no images.
            EncoderError: The weights cannot be loaded or do not fit.
        """
        source = source_of(self._container, images, channels=channels, boxes=boxes, padding=padding)
        names = [image.name for image in source.images()]
        embed = self._container.embedder().embed
        found: NDArray[np.float32] = embed(
            source.reader, names, camids=None, subset="images"
        ).numpy()
        return found

    def gallery(self, place: str | Path) -> "OpenGallery":
        """Return a gallery on disk; `build` or `add` creates it if it does not exist."""
        return OpenGallery(self._container, str(place))

    @respelled_errors(_argument)
    def identify(
        self, queries: Images, gallery: "OpenGallery | str | Path", **how: Unpack[Pixels]
    ) -> IdentificationOutcome:
        """Name the person in each query image, or in each of its boxes.

        Args:
            queries: Query images; the outcome lists those that cannot be read.
            gallery: A gallery, by which everybody is unknown while it is empty or not made; or the
                path of a gallery or of labelled images, whose vectors are cached.
            **how: `channels`, `boxes` and `padding`, as in `embed`.

        Raises:
            DatasetError: No query can be read, or one is not as `embed` takes it.
            GalleryError: The path holds no gallery or an empty one, or another encoder made it.
        """
        asked = source_of(self._container, queries, **how)
        identify = self._container.identify()
        if isinstance(gallery, OpenGallery):
            if gallery.is_empty():
                return identify.run_without_people(asked, place=gallery.place)
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
    """Images of known people, stored on disk as vectors."""

    def __init__(self, container: Container, place: str) -> None:
        """Keep the place; call `Reid.gallery` instead."""
        self._container = container
        self.place = place
        self._opened: Gallery | None = None

    @respelled_errors(_argument)
    def build(self, images: str | Path) -> EnrolmentOutcome:
        """Make the gallery match a folder or list of labelled images.

        Images of known content are not embedded again; images that are no longer listed are
        removed.

        Raises:
            DatasetError: No image can be read, one has no label, or the path is a single image.
            GalleryError: Another encoder made the gallery, or it cannot be written.
        """
        return self._enroll(self._container.followed_images()(Path(images)), mirrors=True)

    @respelled_errors(_argument)
    def add(
        self,
        images: Images,
        *,
        label: str | None = None,
        camera: str | None = None,
        **how: Unpack[Pixels],
    ) -> EnrolmentOutcome:
        """Add images; equal ones are kept once.

        Args:
            images: Images; a folder or list provides labels and cameras.
            label: Person in all images.
            camera: Camera of all images.
            **how: `channels`, `boxes` and `padding`, as in `Reid.embed`.

        Raises:
            DatasetError: No image can be read, or one has no label or is of another type.
            GalleryError: Another encoder made the gallery, or it cannot be written.
        """
        label, camera = _name("label", label), _name("camera", camera)
        source = source_of(self._container, images, once=True, **how)
        if label is not None or camera is not None:
            said = [
                replace(image, label=label or image.label, camera=camera or image.camera)
                for image in source.images()
            ]
            source = select_images(source, said)
        return self._enroll(source, mirrors=False)

    def remove(self, *, names: Sequence[str] = (), labels: Sequence[str] = ()) -> RemovalOutcome:
        """Remove images by name or label, all or none.

        Raises:
            GalleryError: A name or label is unknown.
        """
        return self._container.maintain_gallery().remove(self.opened(), names=names, labels=labels)

    def forget(self, label: str) -> RemovalOutcome:
        """Erase a person and every trace, verify it, and record it in the audit log.

        Raises:
            GalleryError: The label is unknown, or traces of the person remain.
        """
        return self._container.maintain_gallery().forget(self.opened(), label)

    def check(self) -> CheckOutcome:
        """Erase expired images, then look for damage."""
        return self._container.maintain_gallery().check(self.opened())

    def contents(self) -> GalleryContent:
        """List the people and the audit log."""
        return self._container.maintain_gallery().list(self.opened())

    def is_empty(self) -> bool:
        """Whether it has no image, or nothing is at its place yet."""
        is_folder = self._container.settings().gallery.kind == FILESYSTEM
        if is_folder and not Path(self.place).exists():
            return True
        return self.opened().describe().num_images == 0

    @respelled_errors(_argument)
    def opened(self) -> Gallery:
        """Return the open gallery, and open it if necessary.

        Raises:
            GalleryError: It is missing or damaged.
        """
        if self._opened is None:
            self._opened = self._container.open_gallery(self.place, create=False)
        return self._opened

    def close(self) -> None:
        """Close files; the next call opens them again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __enter__(self) -> Self:
        """Close when the block ends."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _enroll(self, source: ImageSource, *, mirrors: bool) -> EnrolmentOutcome:
        return self._container.enroll_gallery().run(
            source,
            open_gallery=lambda: self._container.open_gallery(self.place, create=True),
            mirrors=mirrors,
        )


def _name(what: str, said: str | None) -> str | None:
    """Refuse blanks, and numbers, which types do not catch in a notebook."""
    if said is not None and (not isinstance(said, str) or not said.strip()):
        raise DatasetError(f"the {what} {said!r} is not a name: give a text, such as '0067'")
    return said and said.strip()
