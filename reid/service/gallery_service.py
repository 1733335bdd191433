"""The service's use cases, on one gallery that stays open."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reid.adapters.images.given import GivenImage, GivenImages
from reid.application.galleries import EnrollGallery, MaintainGallery, RemovalOutcome
from reid.application.identify import Identify
from reid.domain.errors import GalleryError, NoAnswerError
from reid.domain.services.enrolment import Enrolment
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import EVERYTHING, GalleryFilter, require_same_encoder
from reid.domain.values.reports import Identification
from reid.service.http_errors import HttpError
from reid.service.schema import AddedImages

SOURCE = "service"  # source of images that clients send


@dataclass(frozen=True, slots=True)
class ServiceQuery:
    """The query images of a request."""

    images: tuple[GivenImage, ...]
    is_one_person: bool = False  # whether all images show one person and are one query
    within: GalleryFilter = EVERYTHING  # the gallery images to search


class GalleryService:
    """Answers and changes that clients request; used only in the thread that created it."""

    def __init__(
        self,
        *,
        identify: Identify,
        enroll: EnrollGallery,
        maintain: MaintainGallery,
        open_gallery: Callable[[], Gallery],
    ) -> None:
        """Open the gallery; `open_gallery` is called again for each addition.

        Raises:
            GalleryError: It is missing or damaged.
        """
        self._identify = {
            together: replace(identify, options=replace(identify.options, are_tracklets=together))
            for together in (False, True)
        }
        self._enroll = enroll
        self._maintain = maintain
        self._open_gallery = open_gallery
        self._gallery = open_gallery()
        self.num_images = self._gallery.describe().num_images
        """Images in the gallery when last counted; safe to read in any thread."""

    def require_suitable(self, enrolment: Enrolment) -> None:
        """Refuse a gallery of another encoder, or one whose calibration fits no kind of query.

        Raises:
            GalleryError: Another encoder made it, or it is calibrated neither for single images
                nor for several images of one person.
        """
        kept = self._gallery.describe().fingerprint
        if kept is not None:
            fingerprint = replace(enrolment.fingerprint_for(), uses_cameras=kept.uses_cameras)
            require_same_encoder(fingerprint, kept=kept, place=self._gallery.place, what="queries")
        try:
            self._identify[True].require_decision(self._gallery)
        except GalleryError:
            self._identify[False].require_decision(self._gallery)

    def identify(self, queries: Sequence[ServiceQuery]) -> tuple[tuple[Identification, ...], ...]:
        """Answer several requests; those with equal options share one pass through the encoder.

        Returns:
            The answers of each request: one per image, or one for all its images.

        Raises:
            GalleryError: The gallery is empty, or another encoder made it.
        """
        alike = defaultdict[tuple[bool, GalleryFilter], dict[int, ServiceQuery]](dict)
        for number, asked in enumerate(queries):
            alike[asked.is_one_person, asked.within][number] = asked
        answers: list[list[Identification]] = [[] for _ in queries]
        for (is_one_person, within), chosen in alike.items():
            found = self._identified(chosen, is_one_person=is_one_person, within=within)
            for number, answer in found:
                answers[number].append(answer)
        return tuple(map(tuple, answers))

    def _identified(
        self, queries: Mapping[int, ServiceQuery], *, is_one_person: bool, within: GalleryFilter
    ) -> Iterator[tuple[int, Identification]]:
        # Names of different requests clash, so each request gets a folder.
        sent = {
            f"{number}/{row}": one
            for number, asked in queries.items()
            for row, one in enumerate(asked.images)
        }
        given = [replace(one, image=replace(one.image, name=name)) for name, one in sent.items()]
        source = GivenImages(given, place=SOURCE)
        try:
            outcome = self._identify[is_one_person].run(source, self._gallery, within=within)
        except NoAnswerError as error:
            name = sent[error.name].image.name
            raise NoAnswerError(place=error.place, name=name, advice=error.advice) from error
        # Other programs may have changed the gallery.
        self.num_images = outcome.num_gallery
        for found in outcome.identifications:
            number = int(found.name.partition("/")[0])
            names = tuple(sent[name].image.name for name in found.names)
            yield number, replace(found, name=sent[found.name].image.name, names=names)

    def add(self, images: Sequence[GivenImage]) -> AddedImages:
        """Add images to the gallery.

        Raises:
            DatasetError: An image has no label.
            GalleryError: Another encoder made the gallery, or it cannot be written.
        """
        source = GivenImages(images, place=SOURCE)
        outcome = self._enroll.run(source, open_gallery=self._open_gallery, mirrors=False)
        self._count()
        names = {one.image.name for one in images}
        labels = {one.image.label for one in images if one.image.label is not None}
        kept = self._gallery.images(labels=sorted(labels))
        added = tuple(one for one in kept if one.source == SOURCE and one.name in names)
        return AddedImages(added, outcome.changes)

    def remove(self, key: int) -> RemovalOutcome:
        """Remove an image.

        Raises:
            HttpError: No image has this key.
        """
        if not self._gallery.images(keys=[key]):
            raise HttpError(404, f"no image {key} in the gallery: use a key from an answer")
        outcome = self._maintain.remove_keys(self._gallery, [key])
        self._count()
        return outcome

    def forget(self, label: str) -> RemovalOutcome:
        """Erase a person and every trace.

        Raises:
            HttpError: The label is unknown.
            GalleryError: Traces of the person remain.
        """
        if not self._gallery.images(labels=[label]):
            raise HttpError(404, "this label is not in the gallery: nothing to erase")
        outcome = self._maintain.forget(self._gallery, label)
        self._count()
        return outcome

    def close(self) -> None:
        """Close the gallery."""
        self._gallery.close()

    def _count(self) -> None:
        self.num_images = self._gallery.describe().num_images
