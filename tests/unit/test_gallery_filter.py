"""Which images of a gallery a search looks at."""

from hypothesis import given
from hypothesis import strategies as st

from reid.domain.values.galleries import EVERYTHING, GalleryFilter, KeptImage

names = st.sampled_from("abc")
times = st.sampled_from([f"2026-01-0{day}T00:00:00Z" for day in (1, 2, 3, 4)])
filters = st.builds(
    GalleryFilter,
    cameras=st.none() | st.frozensets(names),
    without_cameras=st.frozensets(names, max_size=1),
    labels=st.none() | st.frozensets(names),
    added_from=st.none() | times,
    added_until=st.none() | times,
)
images = st.builds(
    KeptImage,
    key=st.just(1),
    name=st.just("1.jpg"),
    source=st.just("here"),
    content=st.just(""),
    label=names,
    camera=st.none() | names,
    added_at=times,
    expires_at=st.none(),
)


@given(filters, filters, images)
def test_a_narrowed_filter_admits_what_both_admit(
    one: GalleryFilter, other: GalleryFilter, image: KeptImage
) -> None:
    both = one.narrowed(other)
    assert both.admits(image) == (one.admits(image) and other.admits(image))
    assert both == other.narrowed(one)


@given(filters)
def test_everything_narrows_nothing(one: GalleryFilter) -> None:
    assert one.narrowed(EVERYTHING) == EVERYTHING.narrowed(one) == one


def test_what_is_looked_at_is_said_also_where_it_is_nothing() -> None:
    two = GalleryFilter(cameras=frozenset("23"), labels=frozenset(("anna", "bert")))
    other = GalleryFilter(cameras=frozenset("1"), labels=frozenset(("carl",)))
    assert two.words() == "by camera 2 3, of anna bert"
    assert two.narrowed(other).words() == "by no camera, of nobody"
    assert GalleryFilter(cameras=frozenset(("",))).words() == "by camera ''"
    assert EVERYTHING.words() == ""
