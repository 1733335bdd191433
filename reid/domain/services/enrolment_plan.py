"""Compare a gallery with a list of images: what has to be embedded, written again, or removed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reid.domain.services.gallery import Gallery
from reid.domain.services.lists import require_labels, require_readable, require_writable_names
from reid.domain.values.galleries import GalleryChanges, KeptImage, NewImage
from reid.domain.values.samples import ListedImage
from reid.ports.dataset import ImageSource


@dataclass(frozen=True, slots=True)
class Update:
    """An image to be written with a vector that the gallery has already."""

    image: NewImage
    vector_of: KeptImage


class EnrolmentPlan:
    """What is to be done with each image that a source lists, by what a gallery keeps of them."""

    def __init__(
        self,
        gallery: Gallery,
        source: ImageSource,
        *,
        mirrors: bool,
        uses_cameras: bool,
        keeps_thumbnails: bool,
        expires_at: str | None,
    ) -> None:
        """Look up what is listed: adding an image costs the same however large the gallery is.

        Only a mirror looks up all images of its source, to find those that are no longer listed.
        `uses_cameras` says whether vectors depend on the camera. With `keeps_thumbnails`, images
        that lack one are written again. At `expires_at` the images expire; None: never.

        Raises:
            DatasetError: No readable image, or a readable one that cannot be kept.
        """
        names = [image.name for image in source.images()]
        self._source, self._num_listed = source.place, len(names)
        self._contents = dict(zip(names, source.reader.content_digests(names), strict=True))
        self._uses_cameras = uses_cameras
        self._expires_at = expires_at
        own = gallery.images(source=source.place, names=None if mirrors else names)
        alike = gallery.images(contents=sorted({text for text in self._contents.values() if text}))
        self._own = {image.name: image for image in own}
        self._by_vector = {self._vector_key(image): image for image in alike}
        self._expiry_of_content: dict[str, str | None] = {}
        for image in alike:
            if image.source == source.place:
                known = self._expiry_of_content.get(image.content)
                self._expiry_of_content[image.content] = _earlier(known, image.expires_at)
        keys = [image.key for image in own]
        self._lacking = gallery.without_thumbnail(keys) if keeps_thumbnails else frozenset[int]()
        self.updates: list[Update] = []
        self.fresh: list[ListedImage] = []
        """Images to embed."""

        for listed in source.images():
            self._decide(listed)
        self._unreadable = source.reader.find_unreadable([image.name for image in self.fresh])
        stay = self._leave_out_unreadable(source.images())
        self.gone = [image.key for image in own if mirrors and image.name not in stay]
        """Keys of images to remove."""

    def new_image(self, image: ListedImage) -> NewImage:
        """Describe a listed image as it is to be kept.

        A later run may shorten the time that an image is kept, but not extend it, also where the
        file was renamed since.
        """
        kept, content = self._own.get(image.name), self._contents[image.name]
        expiry = kept.expires_at if kept else None
        if kept is None or kept.content != content:
            expiry = _earlier(expiry, self._expiry_of_content.get(content))
        return NewImage(
            name=image.name,
            source=self._source,
            content=content,
            label=image.label or "",
            camera=image.camera,
            expires_at=_earlier(self._expires_at, expiry),
        )

    def parts(self, size: int) -> Iterator[Sequence[Update]]:
        """Cut the updates into transactions of `size` images.

        Updates that copy the vector of an image which is itself written again come first and
        together: where images swap their names, each would otherwise lose what it copies to the
        update before it.
        """
        written = {update.image.name for update in self.updates}
        written |= {image.name for image in self.fresh}
        moved: list[Update] = []
        others: list[Update] = []
        for update in self.updates:
            kept, new = update.vector_of, update.image
            loses = kept.source == new.source and kept.name != new.name and kept.name in written
            (moved if loses else others).append(update)
        if moved:
            yield moved
        for start in range(0, len(others), size):
            yield others[start : start + size]

    def changes(self) -> GalleryChanges:
        """Count what the plan does once it is carried out."""
        num_used = len(self.fresh) + len(self._unreadable) + len(self.updates)
        return GalleryChanges(
            num_listed=self._num_listed,
            num_embedded=len(self.fresh),
            num_updated=len(self.updates),
            num_unchanged=self._num_listed - num_used,
            num_removed=len(self.gone),
            unreadable=self._unreadable,
        )

    def _leave_out_unreadable(self, listed: Sequence[ListedImage]) -> set[str]:
        """Refuse images that cannot be kept, and return the names of the others."""
        bad = {image.name for image in self._unreadable}
        self.fresh = [image for image in self.fresh if image.name not in bad]
        readable = [image for image in listed if image.name not in bad]
        require_readable(readable, self._unreadable, role="gallery")
        require_labels(readable)
        require_writable_names(readable)
        return {image.name for image in readable}

    def _decide(self, image: ListedImage) -> None:
        new, own = self.new_image(image), self._own.get(image.name)
        key = self._vector_key(new)
        is_same = own is not None and self._vector_key(own) == key
        vector_of = own if is_same else self._by_vector.get(key)
        if vector_of is None:
            self.fresh.append(image)
        elif own is None or own.key in self._lacking or not own.says_the_same_as(new):
            self.updates.append(Update(new, vector_of))

    def _vector_key(self, image: NewImage | KeptImage) -> tuple[str, str | None]:
        return image.content, image.camera if self._uses_cameras else None


def _earlier(*times: str | None) -> str | None:
    return min((time for time in times if time is not None), default=None)
