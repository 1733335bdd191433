"""Fill a gallery from a list of images, embedding only what it has not seen.

Letters: N images of a part, D width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from reid.domain.errors import GalleryError
from reid.domain.services.embedding import Embedder
from reid.domain.services.gallery import Gallery
from reid.domain.services.image_lists import (
    camids_of,
    first_without_camera,
    require_labels,
    require_readable,
    require_writable_names,
)
from reid.domain.values.galleries import (
    AuditAction,
    AuditEntry,
    EncoderFingerprint,
    GalleryChanges,
    KeptImage,
    NewImage,
    require_same_encoder,
)
from reid.domain.values.samples import ListedImage, Split
from reid.ports.dataset import ImageSource

PART_SIZE = 1024
"""Images of a transaction: so many at most are embedded again after an interruption."""

THUMBNAIL_HEIGHT = 128
"""Pixels."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What a gallery keeps, by what enrolment asks."""

    by_image: Mapping[str, KeptImage]
    """Images of the source that the gallery is filled from."""

    by_content: Mapping[tuple[str, str | None], KeptImage]
    expiry_of: Mapping[str, str]
    """When the first image of a content of the source is to expire, where one is."""

    lacking: frozenset[int]
    """Keys of images that are to have a thumbnail and have none."""


@dataclass(frozen=True, slots=True)
class _Update:
    """An image whose vector is known."""

    image: NewImage
    vector_of: KeptImage


@dataclass(frozen=True, slots=True)
class _Plan:
    num_unchanged: int
    updates: Sequence[_Update]
    fresh: Sequence[ListedImage]
    """Images to embed."""


class Enrolment:
    """Brings a gallery up to date with a list of images."""

    def __init__(
        self,
        *,
        embedder: Embedder,
        fingerprint: Callable[[], EncoderFingerprint],
        now: Callable[[], str],
        keeps_thumbnails: bool = False,
    ) -> None:
        """Keep the parts.

        Args:
            embedder: Makes the vectors.
            fingerprint: Tells which encoder it runs, cameras left out.
            now: Tells the time, as galleries write it.
            keeps_thumbnails: Keep a small JPEG of each image, those kept without one included.
        """
        self._keeps_thumbnails = keeps_thumbnails
        self._embedder = embedder
        self._fingerprint = fingerprint
        self._now = now

    def fingerprint_for(self, *lists: Sequence[ListedImage]) -> EncoderFingerprint:
        """Say which encoder describes images that are to be compared with each other.

        It is told the cameras where every image of every list names one that it knows.
        """
        num_cameras = self._embedder.num_cameras
        uses_cameras = all(
            first_without_camera(images, num_cameras=num_cameras) is None for images in lists
        )
        return replace(self._fingerprint(), uses_cameras=uses_cameras and num_cameras > 0)

    def fingerprint_matching(
        self, gallery: Gallery, images: Sequence[ListedImage], *, what: str
    ) -> EncoderFingerprint:
        """Say which encoder describes images that are to be compared with a gallery's.

        Args:
            gallery: An empty one takes any encoder.
            images: To be described.
            what: What to call them in an error.

        Raises:
            GalleryError: Another encoder made what is kept, or it was told cameras that these
                images do not name.
        """
        kept = gallery.describe().fingerprint
        if kept is None:
            return self.fingerprint_for(images)
        fingerprint = replace(self._fingerprint(), uses_cameras=kept.uses_cameras)
        require_same_encoder(fingerprint, kept=kept, place=gallery.place, what=what)
        if kept.uses_cameras:
            self._require_cameras(images, place=gallery.place, what=what)
        return fingerprint

    def enroll(
        self,
        gallery: Gallery,
        source: ImageSource,
        *,
        mirrors: bool,
        fingerprint: EncoderFingerprint | None = None,
        expires_at: str | None = None,
    ) -> GalleryChanges:
        """Add what a gallery lacks, in parts that are kept one by one.

        An image whose content the gallery knows, under whatever name, is not embedded again. One
        that was to expire earlier still does, also where its source calls it otherwise now.

        Args:
            gallery: To be filled.
            source: Lists the images.
            mirrors: Remove what the gallery keeps of this source and the source does not list.
            fingerprint: Encoder, as `fingerprint_for` or `fingerprint_matching` told; None: the one
            that matches.
            expires_at: When `check` is to remove the images; None: never.

        Raises:
            DatasetError: No readable image, or a readable one without a label, or with one that
                holds a control character.
            GalleryError: Another encoder made what is kept, or nothing can be written.
        """
        listed = source.images()
        fingerprint = fingerprint or self.fingerprint_matching(
            gallery, listed, what="the new images"
        )
        contents = source.reader.content_digests([image.name for image in listed])
        content_of = {image.name: text for image, text in zip(listed, contents, strict=True)}
        known = _known(
            gallery,
            source.place,
            content_of,
            mirrors=mirrors,
            fingerprint=fingerprint,
            keeps_thumbnails=self._keeps_thumbnails,
        )
        make = _maker(source.place, content_of, known=known, expires_at=expires_at)
        plan = _plan(listed, make=make, known=known, fingerprint=fingerprint)
        unreadable = source.reader.find_unreadable([image.name for image in plan.fresh])
        left_out = {image.name for image in unreadable}
        readable = [image for image in listed if image.name not in left_out]
        require_readable(readable, unreadable, role="gallery")
        require_labels(readable)
        require_writable_names(readable)
        write = _Writer(
            gallery,
            fingerprint=fingerprint,
            now=self._now,
            source=source,
            action=AuditAction.BUILD if mirrors else AuditAction.ADD,
            keeps_thumbnails=self._keeps_thumbnails,
        )
        for part in _parts(plan):
            vectors = gallery.vectors([update.vector_of.key for update in part])
            write.add([update.image for update in part], vectors)
        fresh = [image for image in plan.fresh if image.name not in left_out]
        self._embed(source, fresh, make=make, write=write)
        gone = known.by_image.keys() - {image.name for image in readable} if mirrors else ()
        write.remove([known.by_image[name].key for name in gone])
        return GalleryChanges(
            num_listed=len(listed),
            num_embedded=len(fresh),
            num_updated=len(plan.updates),
            num_unchanged=plan.num_unchanged,
            num_removed=len(gone),
            unreadable=unreadable,
        )

    def _embed(
        self,
        source: ImageSource,
        images: Sequence[ListedImage],
        *,
        make: Callable[[ListedImage], NewImage],
        write: "_Writer",
    ) -> None:
        if not images:
            return
        camids = None
        if write.fingerprint.uses_cameras:
            camids = camids_of(images, num_cameras=self._embedder.num_cameras)
        names = [image.name for image in images]
        start = 0
        for vectors in self._embedder.embed_parts(
            source.reader, names, camids=camids, subset=Split.GALLERY, part_size=PART_SIZE
        ):
            part = images[start : start + len(vectors)]
            write.add([make(image) for image in part], vectors)
            start += len(vectors)

    def _require_cameras(self, images: Sequence[ListedImage], *, place: str, what: str) -> None:
        stray = first_without_camera(images, num_cameras=self._embedder.num_cameras)
        if stray is None:
            return
        if self._embedder.num_cameras == 0:
            raise GalleryError(
                f"{place} was made by an encoder that was told the cameras, and {what} are not to "
                "be: set evaluation.use_cameras to true"
            )
        raise GalleryError(
            f"{place} was made by an encoder that was told the cameras, but of {what} "
            f"{stray.name} names none that it knows (camera: {stray.camera}): name the cameras "
            "as Market-1501 does, or build another gallery with evaluation.use_cameras=false"
        )


class _Writer:
    """Writes parts into a gallery, each with its line of the audit log."""

    def __init__(
        self,
        gallery: Gallery,
        *,
        fingerprint: EncoderFingerprint,
        now: Callable[[], str],
        source: ImageSource,
        action: AuditAction,
        keeps_thumbnails: bool,
    ) -> None:
        self.fingerprint = fingerprint
        self._gallery = gallery
        self._now = now
        self._source = source
        self._action = action
        self._keeps_thumbnails = keeps_thumbnails

    def add(self, images: Sequence[NewImage], vectors: Tensor) -> None:
        if self._keeps_thumbnails:
            names = [image.name for image in images]
            small = self._source.reader.thumbnails(names, height=THUMBNAIL_HEIGHT)
            images = [
                replace(image, thumbnail=thumbnail)
                for image, thumbnail in zip(images, small, strict=True)
            ]
        entry = self._entry(self._action, len(images))
        self._gallery.add(images, vectors, fingerprint=self.fingerprint, entry=entry)

    def remove(self, keys: Sequence[int]) -> None:
        if keys:
            self._gallery.remove(keys, entry=self._entry(AuditAction.REMOVE, len(keys)))

    def _entry(self, action: AuditAction, count: int) -> AuditEntry:
        return AuditEntry(
            at=self._now(), action=action, subject=self._source.place, num_images=count
        )


def _known(
    gallery: Gallery,
    source: str,
    content_of: Mapping[str, str],
    *,
    mirrors: bool,
    fingerprint: EncoderFingerprint,
    keeps_thumbnails: bool,
) -> _Known:
    """Ask for what is listed: an image added to a large gallery costs no more than to a small one.

    Only a mirror has to know all images of its source, those that are listed no more included.
    """
    own = gallery.images(source=source, names=None if mirrors else [*content_of])
    contents = sorted({content for content in content_of.values() if content})
    alike = gallery.images(contents=contents)
    keys = [image.key for image in own]
    expiry_of: dict[str, str] = {}
    for image in alike:
        if image.source == source and image.expires_at is not None:
            first = expiry_of.get(image.content, image.expires_at)
            expiry_of[image.content] = min(first, image.expires_at)
    return _Known(
        by_image={image.name: image for image in own},
        by_content={
            _content_key(image.content, image.camera, fingerprint=fingerprint): image
            for image in alike
        },
        expiry_of=expiry_of,
        lacking=gallery.without_thumbnail(keys) if keeps_thumbnails else frozenset(),
    )


def _content_key(
    content: str, camera: str | None, *, fingerprint: EncoderFingerprint
) -> tuple[str, str | None]:
    """Name what decides a vector: the camera too where the encoder is told it."""
    return content, camera if fingerprint.uses_cameras else None


def _maker(
    source: str,
    content_of: Mapping[str, str],
    *,
    known: _Known,
    expires_at: str | None,
) -> Callable[[ListedImage], NewImage]:
    def make(image: ListedImage) -> NewImage:
        kept, content = known.by_image.get(image.name), content_of[image.name]
        expiry = kept.expires_at if kept else None
        if kept is None or kept.content != content:
            # By another name until now: a file that is renamed is not to be kept for ever.
            expiry = _earlier(expiry, known.expiry_of.get(content))
        return NewImage(
            name=image.name,
            source=source,
            content=content,
            label=image.label or "",
            camera=image.camera,
            expires_at=_earlier(expires_at, expiry),
        )

    return make


def _earlier(*times: str | None) -> str | None:
    """Keep nothing longer than was said at first: a later run shortens it at most."""
    return min((time for time in times if time is not None), default=None)


def _plan(
    listed: Sequence[ListedImage],
    *,
    make: Callable[[ListedImage], NewImage],
    known: _Known,
    fingerprint: EncoderFingerprint,
) -> _Plan:
    updates: list[_Update] = []
    fresh: list[ListedImage] = []
    for image in listed:
        new = make(image)
        own = known.by_image.get(image.name)
        content = _content_key(new.content, new.camera, fingerprint=fingerprint)
        if (
            own is not None
            and _content_key(own.content, own.camera, fingerprint=fingerprint) == content
        ):
            vector_of: KeptImage | None = own
        else:
            vector_of = known.by_content.get(content)
        if vector_of is None:
            fresh.append(image)
        elif own is None or own.key in known.lacking or not own.says_the_same_as(new):
            updates.append(_Update(new, vector_of))
    num_unchanged = len(listed) - len(updates) - len(fresh)
    return _Plan(num_unchanged=num_unchanged, updates=updates, fresh=fresh)


def _parts(plan: _Plan) -> Iterator[Sequence[_Update]]:
    """Cut updates into transactions.

    Those whose vector is another name's that is written anew come first and together: each
    would otherwise lose what it copies to the one before it, where images swap their names.
    """
    written = {update.image.name for update in plan.updates}
    written |= {image.name for image in plan.fresh}
    moved: list[_Update] = []
    others: list[_Update] = []
    for update in plan.updates:
        kept, new = update.vector_of, update.image
        loses = kept.source == new.source and kept.name != new.name and kept.name in written
        (moved if loses else others).append(update)
    if moved:
        yield moved
    for start in range(0, len(others), PART_SIZE):
        yield others[start : start + PART_SIZE]
