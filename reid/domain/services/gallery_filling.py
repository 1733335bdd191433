"""Fill a gallery from a list of pictures, embedding only what it has not seen.

Letters: N pictures of a part, D width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from reid.domain.errors import GalleryError
from reid.domain.services.embedding import Embedder
from reid.domain.services.gallery import Gallery
from reid.domain.services.picture_lists import (
    camids_of,
    first_without_camera,
    require_labels,
    require_readable,
    require_writable_names,
)
from reid.domain.values.galleries import (
    AuditAction,
    AuditEntry,
    EncoderStamp,
    GalleryChanges,
    KeptPicture,
    NewPicture,
    require_same_encoder,
)
from reid.domain.values.samples import Picture, Split
from reid.ports.dataset import PictureSource

PART_SIZE = 1024
"""Pictures of a transaction: so many at most are embedded again after an interruption."""

THUMBNAIL_HEIGHT = 128
"""Pixels."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What a gallery keeps, by what filling asks."""

    by_image: Mapping[str, KeptPicture]
    """Pictures of the source that the gallery is filled from."""

    by_content: Mapping[tuple[str, str | None], KeptPicture]
    expiry_of: Mapping[str, str]
    """When the first picture of a content of the source is to expire, where one is."""

    lacking: frozenset[int]
    """Keys of pictures that are to have a thumbnail and have none."""


@dataclass(frozen=True, slots=True)
class _Update:
    """A picture whose vector is known."""

    picture: NewPicture
    vector_of: KeptPicture


@dataclass(frozen=True, slots=True)
class _Plan:
    num_unchanged: int
    updates: Sequence[_Update]
    fresh: Sequence[Picture]
    """Pictures to embed."""


class GalleryFilling:
    """Brings a gallery up to date with a list of pictures."""

    def __init__(
        self,
        *,
        embedder: Embedder,
        stamp: Callable[[], EncoderStamp],
        now: Callable[[], str],
        keeps_thumbnails: bool = False,
    ) -> None:
        """Keep the parts.

        Args:
            embedder: Makes the vectors.
            stamp: Tells which encoder it runs, cameras left out.
            now: Tells the time, as galleries write it.
            keeps_thumbnails: Keep a small JPEG of each picture, those kept without one included.
        """
        self._keeps_thumbnails = keeps_thumbnails
        self._embedder = embedder
        self._stamp = stamp
        self._now = now

    def stamp_for(self, *lists: Sequence[Picture]) -> EncoderStamp:
        """Say which encoder describes pictures that are to be compared with each other.

        It is told the cameras where every picture of every list names one that it knows.
        """
        num_cameras = self._embedder.num_cameras
        uses_cameras = all(
            first_without_camera(pictures, num_cameras=num_cameras) is None for pictures in lists
        )
        return replace(self._stamp(), uses_cameras=uses_cameras and num_cameras > 0)

    def stamp_matching(
        self, gallery: Gallery, pictures: Sequence[Picture], *, what: str
    ) -> EncoderStamp:
        """Say which encoder describes pictures that are to be compared with a gallery's.

        Args:
            gallery: An empty one takes any encoder.
            pictures: To be described.
            what: What to call them in an error.

        Raises:
            GalleryError: Another encoder made what is kept, or it was told cameras that these
                pictures do not name.
        """
        kept = gallery.describe().stamp
        if kept is None:
            return self.stamp_for(pictures)
        stamp = replace(self._stamp(), uses_cameras=kept.uses_cameras)
        require_same_encoder(stamp, kept=kept, place=gallery.place, what=what)
        if kept.uses_cameras:
            self._require_cameras(pictures, place=gallery.place, what=what)
        return stamp

    def fill(
        self,
        gallery: Gallery,
        source: PictureSource,
        *,
        mirrors: bool,
        stamp: EncoderStamp | None = None,
        expires_at: str | None = None,
    ) -> GalleryChanges:
        """Add what a gallery lacks, in parts that are kept one by one.

        A picture whose content the gallery knows, under whatever name, is not embedded again. One
        that was to expire earlier still does, also where its source calls it otherwise now.

        Args:
            gallery: To be filled.
            source: Lists the pictures.
            mirrors: Remove what the gallery keeps of this source and the source does not list.
            stamp: Encoder, as `stamp_for` or `stamp_matching` told; None: the one that matches.
            expires_at: When `check` is to remove the pictures; None: never.

        Raises:
            DatasetError: No readable picture, or a readable one without a label, or with one that
                holds a control character.
            GalleryError: Another encoder made what is kept, or nothing can be written.
        """
        listed = source.pictures()
        stamp = stamp or self.stamp_matching(gallery, listed, what="the new pictures")
        contents = source.reader.content_digests([picture.image for picture in listed])
        content_of = {picture.image: text for picture, text in zip(listed, contents, strict=True)}
        known = _known(
            gallery,
            source.place,
            content_of,
            mirrors=mirrors,
            stamp=stamp,
            keeps_thumbnails=self._keeps_thumbnails,
        )
        make = _maker(source.place, content_of, known=known, expires_at=expires_at)
        plan = _plan(listed, make=make, known=known, stamp=stamp)
        unreadable = source.reader.find_unreadable([picture.image for picture in plan.fresh])
        left_out = {picture.image for picture in unreadable}
        readable = [picture for picture in listed if picture.image not in left_out]
        require_readable(readable, unreadable, role="gallery")
        require_labels(readable)
        require_writable_names(readable)
        write = _Writer(
            gallery,
            stamp=stamp,
            now=self._now,
            source=source,
            action=AuditAction.BUILD if mirrors else AuditAction.ADD,
            keeps_thumbnails=self._keeps_thumbnails,
        )
        for part in _parts(plan):
            vectors = gallery.vectors([update.vector_of.key for update in part])
            write.add([update.picture for update in part], vectors)
        fresh = [picture for picture in plan.fresh if picture.image not in left_out]
        self._embed(source, fresh, make=make, write=write)
        gone = known.by_image.keys() - {picture.image for picture in readable} if mirrors else ()
        write.remove([known.by_image[image].key for image in gone])
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
        source: PictureSource,
        pictures: Sequence[Picture],
        *,
        make: Callable[[Picture], NewPicture],
        write: "_Writer",
    ) -> None:
        if not pictures:
            return
        camids = None
        if write.stamp.uses_cameras:
            camids = camids_of(pictures, num_cameras=self._embedder.num_cameras)
        images = [picture.image for picture in pictures]
        start = 0
        for vectors in self._embedder.embed_parts(
            source.reader, images, camids=camids, subset=Split.GALLERY, part_size=PART_SIZE
        ):
            part = pictures[start : start + len(vectors)]
            write.add([make(picture) for picture in part], vectors)
            start += len(vectors)

    def _require_cameras(self, pictures: Sequence[Picture], *, place: str, what: str) -> None:
        stray = first_without_camera(pictures, num_cameras=self._embedder.num_cameras)
        if stray is None:
            return
        if self._embedder.num_cameras == 0:
            raise GalleryError(
                f"{place} was made by an encoder that was told the cameras, and {what} are not to "
                "be: set evaluation.use_cameras to true"
            )
        raise GalleryError(
            f"{place} was made by an encoder that was told the cameras, but of {what} "
            f"{stray.image} names none that it knows (camera: {stray.camera}): name the cameras "
            "as Market-1501 does, or build another gallery with evaluation.use_cameras=false"
        )


class _Writer:
    """Writes parts into a gallery, each with its line of the audit log."""

    def __init__(
        self,
        gallery: Gallery,
        *,
        stamp: EncoderStamp,
        now: Callable[[], str],
        source: PictureSource,
        action: AuditAction,
        keeps_thumbnails: bool,
    ) -> None:
        self.stamp = stamp
        self._gallery = gallery
        self._now = now
        self._source = source
        self._action = action
        self._keeps_thumbnails = keeps_thumbnails

    def add(self, pictures: Sequence[NewPicture], vectors: Tensor) -> None:
        if self._keeps_thumbnails:
            images = [picture.image for picture in pictures]
            small = self._source.reader.thumbnails(images, height=THUMBNAIL_HEIGHT)
            pictures = [
                replace(picture, thumbnail=thumbnail)
                for picture, thumbnail in zip(pictures, small, strict=True)
            ]
        entry = self._entry(self._action, len(pictures))
        self._gallery.add(pictures, vectors, stamp=self.stamp, entry=entry)

    def remove(self, keys: Sequence[int]) -> None:
        if keys:
            self._gallery.remove(keys, entry=self._entry(AuditAction.REMOVE, len(keys)))

    def _entry(self, action: AuditAction, count: int) -> AuditEntry:
        return AuditEntry(
            at=self._now(), action=action, subject=self._source.place, num_pictures=count
        )


def _known(
    gallery: Gallery,
    source: str,
    content_of: Mapping[str, str],
    *,
    mirrors: bool,
    stamp: EncoderStamp,
    keeps_thumbnails: bool,
) -> _Known:
    """Ask for what is listed: a picture added to a large gallery costs no more than to a small one.

    Only a mirror has to know all pictures of its source, those that are listed no more included.
    """
    own = gallery.pictures(source=source, images=None if mirrors else [*content_of])
    contents = sorted({content for content in content_of.values() if content})
    alike = gallery.pictures(contents=contents)
    keys = [picture.key for picture in own]
    expiry_of: dict[str, str] = {}
    for picture in alike:
        if picture.source == source and picture.expires_at is not None:
            first = expiry_of.get(picture.content, picture.expires_at)
            expiry_of[picture.content] = min(first, picture.expires_at)
    return _Known(
        by_image={picture.image: picture for picture in own},
        by_content={
            _content_key(picture.content, picture.camera, stamp=stamp): picture for picture in alike
        },
        expiry_of=expiry_of,
        lacking=gallery.without_thumbnail(keys) if keeps_thumbnails else frozenset(),
    )


def _content_key(
    content: str, camera: str | None, *, stamp: EncoderStamp
) -> tuple[str, str | None]:
    """Name what decides a vector: the camera too where the encoder is told it."""
    return content, camera if stamp.uses_cameras else None


def _maker(
    source: str,
    content_of: Mapping[str, str],
    *,
    known: _Known,
    expires_at: str | None,
) -> Callable[[Picture], NewPicture]:
    def make(picture: Picture) -> NewPicture:
        kept, content = known.by_image.get(picture.image), content_of[picture.image]
        expiry = kept.expires_at if kept else None
        if kept is None or kept.content != content:
            # By another name until now: a file that is renamed is not to be kept for ever.
            expiry = _earlier(expiry, known.expiry_of.get(content))
        return NewPicture(
            image=picture.image,
            source=source,
            content=content,
            label=picture.label or "",
            camera=picture.camera,
            expires_at=_earlier(expires_at, expiry),
        )

    return make


def _earlier(*times: str | None) -> str | None:
    """Keep nothing longer than was said at first: a later run shortens it at most."""
    return min((time for time in times if time is not None), default=None)


def _plan(
    listed: Sequence[Picture],
    *,
    make: Callable[[Picture], NewPicture],
    known: _Known,
    stamp: EncoderStamp,
) -> _Plan:
    updates: list[_Update] = []
    fresh: list[Picture] = []
    for picture in listed:
        new = make(picture)
        own = known.by_image.get(picture.image)
        content = _content_key(new.content, new.camera, stamp=stamp)
        if own is not None and _content_key(own.content, own.camera, stamp=stamp) == content:
            vector_of: KeptPicture | None = own
        else:
            vector_of = known.by_content.get(content)
        if vector_of is None:
            fresh.append(picture)
        elif own is None or own.key in known.lacking or not own.says_the_same_as(new):
            updates.append(_Update(new, vector_of))
    num_unchanged = len(listed) - len(updates) - len(fresh)
    return _Plan(num_unchanged=num_unchanged, updates=updates, fresh=fresh)


def _parts(plan: _Plan) -> Iterator[Sequence[_Update]]:
    """Cut updates into transactions.

    Those whose vector is another name's that is written anew come first and together: each
    would otherwise lose what it copies to the one before it, where pictures swap their names.
    """
    written = {update.picture.image for update in plan.updates}
    written |= {picture.image for picture in plan.fresh}
    moved: list[_Update] = []
    others: list[_Update] = []
    for update in plan.updates:
        kept, new = update.vector_of, update.picture
        loses = kept.source == new.source and kept.image != new.image and kept.image in written
        (moved if loses else others).append(update)
    if moved:
        yield moved
    for start in range(0, len(others), PART_SIZE):
        yield others[start : start + PART_SIZE]
