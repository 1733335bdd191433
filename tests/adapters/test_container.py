"""The container: settings decide which adapter is made, built-in or plugged-in."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from reid.adapters.datasets.csv_dataset import CsvDataset
from reid.adapters.datasets.market1501 import Cuhk03, DukeMtmc, Market1501
from reid.adapters.datasets.msmt17 import Msmt17
from reid.adapters.datasets.viper import Viper
from reid.adapters.devices import resolve_device, resolve_training_precision
from reid.adapters.encoders.kinds import FAMILIES, KINDS, kind_named
from reid.adapters.events.broadcast import Broadcast
from reid.adapters.images.contents import CachedReader
from reid.adapters.indexes.annoy import AnnoyIndex
from reid.adapters.indexes.exact import ExactIndex
from reid.container.encoders import encoder_request
from reid.container.evaluation import environment, fingerprint_settings
from reid.container.exports import reference_request
from reid.container.registry import BUILT_IN, Group
from reid.container.root import Container
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.encoders import Activation, Pooling
from reid.domain.values.reports import EvaluationReport
from reid.domain.values.samples import ImageSize, Split
from reid.settings.loading import load_settings
from tests.adapters.plugin_distributions import SCENERY, SCENERY_OFFERS, write_distribution
from tests.builders import build_market1501
from tests.fakes.dataset import FakeDataset
from tests.fakes.encoder import FakeEncoder
from tests.fakes.vector_index import FakeIndex
from tests.layouts import build_csv, build_cuhk03, build_dukemtmc, build_msmt17, build_viper

pytestmark = pytest.mark.usefixtures("bare_environment")


@pytest.fixture
def scenery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    write_distribution(tmp_path, name="reid_scenery", source=SCENERY, offers=SCENERY_OFFERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("reid_scenery", None)


def container(**options: Any) -> Container:
    named = {key.replace("__", "."): value for key, value in options.items()}
    return Container(settings=load_settings(options=named).settings)


def test_the_index_is_exact_unless_settings_say_otherwise() -> None:
    assert isinstance(container().index(), ExactIndex)


@pytest.mark.parametrize("layer", ["file", "environment", "option"])
def test_annoy_is_chosen_by_file_environment_or_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    file = tmp_path / "reid.toml"
    file.write_text('[index]\nkind = "annoy"\n' if layer == "file" else "")
    if layer == "environment":
        monkeypatch.setenv("REID_INDEX__KIND", "annoy")
    options = {"index.kind": "annoy"} if layer == "option" else {}
    settings = load_settings(config=file, options=options).settings
    assert isinstance(Container(settings=settings).index(), AnnoyIndex)


@pytest.mark.parametrize("layer", ["file", "environment", "option"])
def test_another_encoder_is_requested_by_file_environment_or_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    file = tmp_path / "reid.toml"
    file.write_text('[encoder]\nkind = "rn50"\n' if layer == "file" else "")
    if layer == "environment":
        monkeypatch.setenv("REID_ENCODER__KIND", "rn50")
    options = {"encoder.kind": "rn50"} if layer == "option" else {}
    settings = load_settings(
        config=file, options={**options, "encoder.weights": "random", "device": "cpu"}
    ).settings
    assert Container(settings=settings).encoder().description.name == "rn50"


def test_a_weights_file_without_a_named_encoder_goes_to_the_built_in_factory() -> None:
    made = container(encoder__weights="nowhere.safetensors", device="cpu")
    with pytest.raises(EncoderError, match=r"nowhere\.safetensors"):
        made.encoder()


def test_every_built_in_kind_is_an_architecture_of_its_name() -> None:
    assert set(BUILT_IN[Group.ENCODERS]) == set(KINDS) | set(FAMILIES)
    assert {name: kind_named(name).kind for name in KINDS} == {name: name for name in KINDS}


def test_settings_become_the_encoder_s_request() -> None:
    settings = load_settings(
        options={
            "recipe": "vit-b16-sie-olp",
            "encoder.image_size": [384, 128],
            "encoder.precision": "bf16",
            "encoder.activation": "gelu",
            "encoder.pooling": "gem",
            "encoder.options.width": 3,
            "device": "cpu",
            "seed": 5,
        }
    ).settings
    request = encoder_request(settings, 6)
    assert request.kind == "vit-b16"
    assert request.weights == "openai"
    assert request.activation is Activation.GELU
    assert request.pooling is Pooling.GEM
    assert request.image_size == ImageSize(384, 128)
    assert (request.stride, request.num_cameras, request.camera_scale) == (12, 6, 1.0)
    assert (request.precision, request.device, request.seed) == ("bf16", "cpu", 5)
    assert request.options == {"width": 3}


def test_cameras_are_counted_only_for_an_encoder_that_embeds_them(tmp_path: Path) -> None:
    root = build_market1501(tmp_path / "market", cameras=3)
    assert container(dataset__root=root).num_cameras() == 0
    assert container(dataset__root=root, encoder__camera_embedding=True).num_cameras() == 3
    assert container().num_cameras() == 0


def test_cameras_can_be_left_to_the_weights_file_without_a_dataset() -> None:
    settings = load_settings(options={"encoder.camera_embedding": True}).settings
    made = Container(settings=settings, num_cameras=0, encoder=FakeEncoder(), index=FakeIndex())
    assert made.num_cameras() == 0
    assert made.identify() is made.identify()


def test_the_dataset_needs_a_root() -> None:
    with pytest.raises(ConfigurationError, match=r"dataset\.root: must be set for market1501"):
        container().dataset()


def test_the_dataset_is_opened_at_its_root(tmp_path: Path) -> None:
    dataset = container(dataset__root=build_market1501(tmp_path / "market")).listed()
    assert isinstance(dataset, Market1501)
    assert dataset.name == "market"


def test_everything_shares_one_encoder_and_one_dataset(tmp_path: Path) -> None:
    root = build_market1501(tmp_path / "market")
    made = container(encoder__kind="rn-tiny", dataset__root=root, device="cpu")
    assert made.encoder() is made.encoder()
    assert made.dataset() is made.dataset()


def test_training_images_are_kept_in_memory_unless_there_is_none_for_them(tmp_path: Path) -> None:
    root = build_market1501(tmp_path / "market")
    made = container(dataset__root=root)
    assert isinstance(made.training_dataset().reader, CachedReader)
    assert made.training_dataset() is made.training_dataset()
    made = container(dataset__root=root, dataset__cache_mib=0)
    assert made.training_dataset() is made.dataset()


def test_the_listener_is_silent_unless_one_is_given() -> None:
    assert isinstance(container().listener(), Broadcast)
    listener = Broadcast()
    settings = load_settings().settings
    assert Container(settings=settings, listener=listener).listener() is listener


@pytest.mark.usefixtures("scenery")
def test_plug_ins_of_all_groups_are_made_with_what_settings_hold(tmp_path: Path) -> None:
    made = container(
        encoder__kind="means",
        encoder__options={"width": 3},
        dataset__kind="two-people",
        dataset__root=tmp_path,
        dataset__options={"images": 3},
        index__kind="backwards",
        index__options={"shift": 2},
        gallery__kind="shelf",
        gallery__options={"width": 1},
        device="cpu",
    )
    assert vars(made.encoder())["request"].options == {"width": 3}
    assert made.listed().name == f"two people in {tmp_path}"
    assert len(made.listed().samples(Split.QUERY)) == 6
    assert vars(made.index()) == {"shift": 2}
    shelf = made.open_gallery("people", create=True)
    assert made.open_gallery("people", create=False) is shelf


@pytest.mark.parametrize("group", ["encoder", "dataset", "index"])
def test_an_unknown_kind_is_a_configuration_error(group: str) -> None:
    made = container(**{f"{group}__kind": "nonsense", "device": "cpu"})
    with pytest.raises(ConfigurationError, match=rf"{group}\.kind: nothing is called 'nonsense'"):
        made.providers[group]()


@pytest.mark.parametrize("group", ["dataset", "index", "encoder"])
def test_built_in_adapters_refuse_free_options(tmp_path: Path, group: str) -> None:
    options = {f"{group}__options": {"depth": 3}, "device": "cpu", "encoder__kind": "rn-tiny"}
    made = container(dataset__root=tmp_path, **options)
    with pytest.raises(
        ConfigurationError, match=rf"{group}\.options: .* (take|takes) (these|none)"
    ):
        made.providers[group]()


def test_free_options_beside_a_section_of_the_kind_s_own_are_refused() -> None:
    made = container(index__kind="annoy", index__options={"trees": 3})
    with pytest.raises(ConfigurationError, match=r"index\.options: annoy .* are in index\.annoy"):
        made.index()


def test_evaluation_runs_on_whatever_is_put_in_place_of_the_adapters() -> None:
    settings = load_settings(options={"evaluation.rerank": True}).settings
    made = Container(
        settings=settings, encoder=FakeEncoder(), listed=FakeDataset(), index=FakeIndex()
    )
    report = made.evaluate().run()[0].report
    assert isinstance(report, EvaluationReport)
    assert report.reranking == settings.reranking


def test_auto_is_a_device_of_this_machine_and_other_names_stay() -> None:
    assert resolve_device("cuda:1") == "cuda:1"
    assert resolve_device("auto") in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_auto_trains_on_a_cpu_in_the_precision_of_everything_else(precision: str) -> None:
    assert resolve_training_precision("auto", precision=precision, device="cpu") == precision
    assert resolve_training_precision("bf16", precision=precision, device="cpu") == "bf16"


def test_a_run_records_what_auto_came_to() -> None:
    settings = load_settings(options={"device": "cpu"}).settings
    assert settings.encoder.training_precision == "auto"
    assert fingerprint_settings(settings)["encoder.training_precision"] == "fp32"
    noted = environment(settings)
    assert (noted["precision"], noted["training_precision"]) == ("fp32", "fp32")
    assert noted["processor"]
    assert noted["vector_instructions"] == torch.backends.cpu.get_cpu_capability()
    assert encoder_request(settings, 0).training_precision == "fp32"


def test_float32_results_stay_what_they_are_when_training_is_in_bfloat16() -> None:
    settings = load_settings(
        options={"device": "cpu", "encoder.training_precision": "bf16"}
    ).settings
    request = encoder_request(settings, 0)
    assert (request.precision, request.training_precision) == ("fp32", "bf16")
    assert fingerprint_settings(settings)["encoder.precision"] == "fp32"
    assert reference_request(settings).training_precision is None


BUILT_IN_DATASETS: dict[str, tuple[type, Callable[[Path], Path]]] = {
    "market1501": (Market1501, lambda folder: build_market1501(folder / "market")),
    "msmt17": (Msmt17, lambda folder: build_msmt17(folder / "msmt")),
    "dukemtmc": (DukeMtmc, lambda folder: build_dukemtmc(folder / "duke")),
    "cuhk03": (Cuhk03, lambda folder: build_cuhk03(folder / "cuhk")),
    "viper": (Viper, lambda folder: build_viper(folder / "viper")),
    "csv": (CsvDataset, lambda folder: build_csv(folder / "own" / "people.csv")),
}


@pytest.mark.parametrize("kind", list(BUILT_IN_DATASETS))
def test_every_built_in_dataset_is_opened_by_its_kind(tmp_path: Path, kind: str) -> None:
    expected, build = BUILT_IN_DATASETS[kind]
    made = container(dataset__kind=kind, dataset__root=build(tmp_path))
    assert isinstance(made.listed(), expected)
    assert all(row.num_images for row in made.statistics())


def test_a_dataset_gets_what_the_section_of_its_kind_holds(tmp_path: Path) -> None:
    sections = {
        "dataset__cuhk03": {"boxes": "labeled"},
        "dataset__viper": {"split_seed": 4},
        "dataset__msmt17": {"train_on_val": False},
    }
    names = {
        kind: container(
            dataset__kind=kind, dataset__root=BUILT_IN_DATASETS[kind][1](tmp_path), **sections
        )
        .dataset()
        .name
        for kind in ("cuhk03", "viper", "msmt17", "market1501")
    }
    assert names == {
        "cuhk03": "cuhk (labeled)",
        "viper": "viper (split 4)",
        "msmt17": "msmt (without val)",
        "market1501": "market",
    }


def test_other_training_lists_join_for_training_and_stay_out_of_evaluation(tmp_path: Path) -> None:
    also = [
        {"kind": "cuhk03", "root": build_cuhk03(tmp_path / "cuhk"), "cuhk03": {"boxes": "labeled"}},
        {"root": build_market1501(tmp_path / "more", cameras=3)},
    ]
    root = build_market1501(tmp_path / "market")
    made = container(dataset__root=root, dataset__also=also, encoder__camera_embedding=True)
    assert made.combined().name == "market + cuhk (labeled) + more"
    assert made.dataset().name == "market"
    train, query, gallery = made.statistics()
    assert (train.num_identities, train.num_cameras) == (8 + 4 + 8, 2 + 2 + 3)
    assert (query.num_identities, gallery.num_cameras) == (4, 2)
    assert made.num_cameras() == 7


def test_without_other_sets_nothing_is_renamed(tmp_path: Path) -> None:
    made = container(dataset__root=build_market1501(tmp_path / "market"))
    assert made.combined() is made.dataset()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"kind": "msmt17"}, r"dataset\.also\[1\]\.root: must be set for msmt17"),
        (
            {"kind": "nonsense", "root": "x"},
            r"dataset\.also\[1\]\.kind: nothing is called 'nonsense'",
        ),
        (
            {"kind": "viper", "root": "x", "options": {"seed": 1}},
            r"dataset\.also\[1\]\.options: viper takes none: .* in dataset\.also\[1\]\.viper",
        ),
    ],
)
def test_another_set_that_cannot_be_opened_is_named_by_its_place(
    tmp_path: Path, entry: dict[str, Any], said: str
) -> None:
    root = build_market1501(tmp_path / "market")
    made = container(dataset__root=root, dataset__also=[{"root": root}, entry])
    with pytest.raises(ConfigurationError, match=said):
        made.combined()
