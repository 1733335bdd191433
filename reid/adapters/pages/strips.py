"""Ranked gallery pictures, side by side."""

from reid.adapters.pages.documents import PictureStore
from reid.adapters.pages.markup import Markup, tag
from reid.domain.values.reports import RankedPicture
from reid.domain.values.sheets import Verdict

SIGNS = {
    Verdict.RIGHT: Markup("&#10003; "),
    Verdict.WRONG: Markup("&#10007; "),
    Verdict.UNKNOWN: Markup("? "),
    Verdict.UNJUDGED: Markup(""),
}
"""What tells verdicts apart without colours."""


def ranked_picture(
    picture: RankedPicture,
    *,
    thumbnail: bytes | None,
    true_label: str | None,
    pictures: PictureStore,
) -> Markup:
    """Show a gallery picture with its similarity, label and camera.

    Args:
        picture: What to show.
        thumbnail: A JPEG of it; None where there is none.
        true_label: Of the query; None: whether the picture is of the same person is not known.
        pictures: Takes the thumbnail.
    """
    tone, sign = None, Markup("")
    if true_label is not None:
        verdict = Verdict.RIGHT if picture.label == true_label else Verdict.WRONG
        tone, sign = str(verdict), SIGNS[verdict]
    camera = "" if picture.camera is None else f"camera {picture.camera}"
    shown = pictures.image(thumbnail, alt=f"{picture.label}, gallery picture {picture.image}")
    caption = tag(
        "figcaption",
        tag("span", sign, f"{picture.similarity:.3f}", class_="score"),
        tag("span", picture.label, class_="name"),
        *([tag("span", camera)] if camera else []),
    )
    facts = (picture.image, picture.label, camera, f"similarity {picture.similarity:.4f}")
    return tag("figure", shown, caption, class_=tone, title="\n".join(filter(None, facts)))
