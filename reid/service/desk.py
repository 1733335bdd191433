"""The use cases behind the service, over one gallery that stays open."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from reid.adapters.images.given import GivenPicture, GivenPictures
from reid.application.galleries import FillGallery, FillingOutcome, KeepGallery, RemovalOutcome
from reid.application.identify import Identify
from reid.domain.errors import GalleryError, NoAnswerError
from reid.domain.services.gallery import Gallery
from reid.domain.services.gallery_filling import GalleryFilling
from reid.domain.values.galleries import (
    EVERYTHING,
    GalleryFilter,
    KeptPicture,
    require_same_encoder,
)
from reid.domain.values.reports import Identification
from reid.service.refusals import Refusal

SOURCE = "service"
"""Where pictures come from that clients send."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Query pictures of a request."""

    pictures: tuple[GivenPicture, ...]
    is_one_person: bool = False
    """Whether they are one question."""

    within: GalleryFilter = EVERYTHING
    """Which pictures of the gallery are looked at."""


@dataclass(frozen=True, slots=True)
class Added:
    """Pictures that a request brought into the gallery."""

    pictures: tuple[KeptPicture, ...]
    outcome: FillingOutcome


class Desk:
    """What clients can ask for; serves the thread that made it."""

    def __init__(
        self,
        *,
        identify_each: Identify,
        identify_together: Identify,
        fill: FillGallery,
        keep: KeepGallery,
        open_gallery: Callable[[], Gallery],
    ) -> None:
        """Open the gallery.

        Args:
            identify_each: Answers for every picture.
            identify_together: Answers for the pictures of a folder together.
            fill: Adds pictures.
            keep: Takes them out.
            open_gallery: Opens the gallery; called again for every addition.

        Raises:
            GalleryError: It is missing or damaged.
        """
        self._identify = {False: identify_each, True: identify_together}
        self._fill = fill
        self._keep = keep
        self._open_gallery = open_gallery
        self._gallery = open_gallery()
        self._num_pictures = self._gallery.describe().num_pictures

    @property
    def num_pictures(self) -> int:
        """Pictures in the gallery, when this desk last looked; may be asked from any thread."""
        return self._num_pictures

    def require_encoder(self, filling: GalleryFilling) -> None:
        """Refuse an encoder that did not make the gallery, before any client asks.

        Raises:
            GalleryError: Another one made it.
        """
        kept = self._gallery.describe().stamp
        if kept is None:
            return
        stamp = replace(filling.stamp_for(), uses_cameras=kept.uses_cameras)
        require_same_encoder(stamp, kept=kept, place=self._gallery.place, what="queries")

    def require_decision(self) -> None:
        """Refuse a gallery by whose calibration no question could be answered.

        One of the two manners is enough: each has a calibration of its own.

        Raises:
            GalleryError: It fits neither pictures on their own nor those of one person.
        """
        try:
            self._identify[True].require_decision(self._gallery)
        except GalleryError:
            self._identify[False].require_decision(self._gallery)

    def identify(self, questions: Sequence[Asked]) -> tuple[tuple[Identification, ...], ...]:
        """Answer several requests, those asked in one manner by one run through the encoder.

        Returns:
            The answers of each request: one per picture, or one for all of them.

        Raises:
            GalleryError: The gallery is empty, or another encoder made it.
        """
        alike: dict[tuple[bool, GalleryFilter], dict[int, Asked]] = {}
        for number, asked in enumerate(questions):
            alike.setdefault((asked.is_one_person, asked.within), {})[number] = asked
        answers = dict[int, tuple[Identification, ...]]()
        for (is_one_person, within), chosen in alike.items():
            answers |= self._identified(chosen, is_one_person=is_one_person, within=within)
        return tuple(answers[number] for number in range(len(questions)))

    def _identified(
        self, questions: Mapping[int, Asked], *, is_one_person: bool, within: GalleryFilter
    ) -> dict[int, tuple[Identification, ...]]:
        # Names of requests clash: each gets a folder of its own.
        sent = {
            f"{number}/{row}": one
            for number, asked in questions.items()
            for row, one in enumerate(asked.pictures)
        }
        given = [
            replace(one, picture=replace(one.picture, image=name)) for name, one in sent.items()
        ]
        source = GivenPictures(given, place=SOURCE)
        try:
            outcome = self._identify[is_one_person].run(source, self._gallery, within=within)
        except NoAnswerError as error:
            image = sent[error.image].picture.image
            raise NoAnswerError(place=error.place, image=image, advice=error.advice) from error
        # Other programs may have changed the gallery since.
        self._num_pictures = outcome.num_gallery
        answers: dict[int, list[Identification]] = {number: [] for number in questions}
        for found in outcome.identifications:
            answers[int(found.image.partition("/")[0])].append(
                replace(
                    found,
                    image=sent[found.image].picture.image,
                    images=tuple(sent[name].picture.image for name in found.images),
                )
            )
        return {number: tuple(found) for number, found in answers.items()}

    def add(self, pictures: Sequence[GivenPicture]) -> Added:
        """Keep pictures.

        Raises:
            DatasetError: One has no label.
            GalleryError: Another encoder made the gallery, or it cannot be written.
        """
        source = GivenPictures(pictures, place=SOURCE)
        outcome = self._fill.run(source, open_gallery=self._open_gallery, mirrors=False)
        self._count()
        names = {one.picture.image for one in pictures}
        labels = {one.picture.label for one in pictures if one.picture.label is not None}
        kept = self._gallery.pictures(labels=sorted(labels))
        return Added(
            tuple(one for one in kept if one.source == SOURCE and one.image in names), outcome
        )

    def remove(self, key: int) -> RemovalOutcome:
        """Take a picture out.

        Raises:
            Refusal: There is none of that key.
        """
        if not self._gallery.pictures(keys=[key]):
            raise Refusal(404, f"no picture {key} in the gallery: answers tell the keys")
        outcome = self._keep.remove_keys(self._gallery, [key])
        self._count()
        return outcome

    def forget(self, label: str) -> RemovalOutcome:
        """Erase a person with every trace.

        Raises:
            Refusal: Nobody is called so.
            GalleryError: Something of the person is left.
        """
        if not self._gallery.pictures(labels=[label]):
            raise Refusal(404, "nobody of that label in the gallery: nothing to forget")
        outcome = self._keep.forget(self._gallery, label)
        self._count()
        return outcome

    def close(self) -> None:
        """Close the gallery."""
        self._gallery.close()

    def _count(self) -> None:
        self._num_pictures = self._gallery.describe().num_pictures
