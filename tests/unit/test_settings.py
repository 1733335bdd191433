"""Settings: precedence, origins, and what is said of a mistake."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.domain.errors import ConfigurationError
from reid.domain.values.recipes import FineTuningRecipe, PromptLearningRecipe
from reid.settings.catalogue import known_settings
from reid.settings.layers import parse_text
from reid.settings.loading import load_settings, plain_settings
from reid.settings.recipes import RECIPES, recipe_for

pytestmark = pytest.mark.usefixtures("bare_environment")


def written(folder: Path, text: str) -> Path:
    path = folder / "reid.toml"
    path.write_text(text)
    return path


def refusal(**given: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**given)
    return str(caught.value).splitlines()


def test_with_nothing_given_the_paper_s_vit_is_trained() -> None:
    resolved = load_settings()
    assert resolved.settings.recipe == "vit-b16"
    assert resolved.settings.encoder.kind == "vit-b16"
    assert resolved.settings.prompts == PromptLearningRecipe()
    assert resolved.settings.finetuning == FineTuningRecipe()
    assert resolved.settings.seed == 1234
    assert resolved.settings.run.directory == Path("runs/default")


def test_every_setting_has_a_value_and_an_origin() -> None:
    rows = {row.key: row for row in load_settings().rows()}
    assert set(rows) == set(known_settings())
    assert str(rows["seed"].origin) == "default"
    assert str(rows["encoder.kind"].origin) == "recipe vit-b16"
    assert rows["finetuning.milestones"].value == [30, 50]


def test_each_layer_wins_over_those_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "prompts.epochs"

    def now(**given: Any) -> tuple[int, str]:
        resolved = load_settings(**given)
        return resolved.settings.prompts.epochs, str(resolved.origin_of(key))

    file = written(tmp_path, 'recipe = "rn50"\n[prompts]\nbatch_size = 32\n')
    assert now(config=file) == (60, "recipe rn50")
    file = written(tmp_path, 'recipe = "rn50"\n[prompts]\nepochs = 7\n')
    assert now(config=file) == (7, f"file {file}")
    monkeypatch.setenv("REID_PROMPTS__EPOCHS", "8")
    assert now(config=file) == (8, "environment REID_PROMPTS__EPOCHS")
    assert now(config=file, assignments=[f"{key}=9"]) == (9, "option")
    assert now(config=file, assignments=[f"{key}=9"], options={key: 10}) == (10, "option")
    assert now(config=file, options={key: None}) == (8, "environment REID_PROMPTS__EPOCHS")


def test_a_section_is_merged_key_by_key(tmp_path: Path) -> None:
    file = written(tmp_path, "[index.annoy]\ntrees = 10\nsearch_k = 99\n")
    settings = load_settings(config=file, assignments=["index.annoy.trees=20"]).settings
    assert (settings.index.annoy.trees, settings.index.annoy.search_k) == (20, 99)


KEYS: Mapping[str, st.SearchStrategy[int]] = {
    "seed": st.integers(0, 10**6),
    "prompts.epochs": st.integers(1, 500),
    "index.annoy.trees": st.integers(1, 500),
    "identify.top_k": st.integers(1, 50),
}
LAYER = st.fixed_dictionaries({}, optional=dict(KEYS))


@given(file=LAYER, environment=LAYER, assigned=LAYER, option=LAYER)
def test_the_strongest_layer_that_names_a_key_decides_it(
    tmp_path_factory: pytest.TempPathFactory,
    file: Mapping[str, int],
    environment: Mapping[str, int],
    assigned: Mapping[str, int],
    option: Mapping[str, int],
) -> None:
    path = tmp_path_factory.getbasetemp() / "precedence.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in file.items()))
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            patch.setenv(f"REID_{key.upper().replace('.', '__')}", str(value))
        assignments = [f"{key}={value}" for key, value in assigned.items()]
        resolved = load_settings(config=path, assignments=assignments, options=option)
    values = {row.key: row.value for row in resolved.rows()}
    for key in KEYS:
        if key in option or key in assigned:
            assert values[key] == {**assigned, **option}[key]
            assert resolved.origin_of(key).kind == "option"
        elif key in environment:
            assert values[key] == environment[key]
            assert resolved.origin_of(key).kind == "environment"
        elif key in file:
            assert values[key] == file[key]
            assert resolved.origin_of(key).kind == "file"
        else:
            assert resolved.origin_of(key).kind in ("default", "recipe")


@pytest.mark.parametrize(
    ("key", "value"),
    [("index.kind", "annoy"), ("encoder.kind", "rn50"), ("dataset.root", "images")],
)
@pytest.mark.parametrize("layer", ["file", "environment", "assignment", "option"])
def test_an_adapter_is_chosen_in_any_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str, key: str, value: str
) -> None:
    given: dict[str, Any] = {}
    match layer:
        case "file":
            given["config"] = written(tmp_path, f'{key} = "{value}"\n')
        case "environment":
            monkeypatch.setenv(f"REID_{key.upper().replace('.', '__')}", value)
        case "assignment":
            given["assignments"] = [f"{key}={value}"]
        case _:
            given["options"] = {key: value}
    rows = {row.key: row.value for row in load_settings(**given).rows()}
    assert rows[key] == value


def test_the_variable_names_the_file_unless_an_option_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "seed = 5\n")
    monkeypatch.setenv("REID_CONFIG_FILE", str(file))
    assert load_settings().settings.seed == 5
    other = tmp_path / "other.toml"
    other.write_text("seed = 6\n")
    assert load_settings(config=other).settings.seed == 6


def test_the_recipe_follows_the_encoder() -> None:
    assert load_settings(options={"encoder.kind": "rn50"}).settings.finetuning.milestones == (
        40,
        70,
    )
    tiny = load_settings(options={"encoder.kind": "vit-tiny"}).settings
    assert (tiny.recipe, tiny.encoder.kind, tiny.encoder.weights) == ("tiny", "vit-tiny", "random")
    assert load_settings(options={"encoder.kind": "plugged-in"}).settings.recipe == "vit-b16"


def test_a_named_recipe_stays_with_another_encoder() -> None:
    resolved = load_settings(options={"encoder.kind": "rn50", "recipe": "vit-b16"})
    assert resolved.settings.encoder.kind == "rn50"
    assert resolved.settings.finetuning.epochs == 60
    assert str(resolved.origin_of("recipe")) == "option"


def test_a_weights_file_says_its_own_encoder_unless_one_is_named() -> None:
    assert load_settings(options={"encoder.weights": "run/final"}).settings.encoder.kind is None
    named = load_settings(options={"encoder.weights": "run/final", "recipe": "rn50"})
    assert named.settings.encoder.kind == "rn50"


def test_weights_by_name_need_an_encoder() -> None:
    assert refusal(options={"encoder.kind": "none", "recipe": "rn50"}) == [
        "encoder.kind: must be named unless weights is a file that says it, got 'none'"
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_validates_and_sets_what_it_says(name: str) -> None:
    resolved = load_settings(options={"recipe": name})
    rows = {row.key: row for row in resolved.rows()}
    for section, overrides in RECIPES[name].items():
        assert isinstance(overrides, dict)
        for key, value in overrides.items():
            if isinstance(value, dict):  # options, which are settings one by one
                options = {f"{section}.{key}.{name}": value[name] for name in value}
                assert {place: rows[place].value for place in options} == options
                continue
            row = rows[f"{section}.{key}"]
            assert row.value == (list(value) if isinstance(value, tuple) else value)
            assert str(row.origin) == f"recipe {name}"


def test_recipes_hold_the_paper_s_constants() -> None:
    rn50 = load_settings(options={"recipe": "rn50"}).settings
    assert (rn50.prompts.epochs, rn50.finetuning.epochs) == (60, 120)
    assert rn50.finetuning.learning_rate == 3.5e-4
    assert rn50.finetuning.weight_decay == 5e-4
    assert rn50.finetuning.warmup_factor == 0.01
    assert rn50.finetuning.identity_weight == 1.0
    olp = load_settings(options={"recipe": "vit-b16-sie-olp"}).settings.encoder
    assert (olp.kind, olp.camera_embedding, olp.camera_scale, olp.stride) == (
        "vit-b16",
        True,
        1.0,
        12,
    )
    assert recipe_for(None) == "vit-b16"


@pytest.mark.parametrize(("kind", "like"), [("ViT-L-14", "vit-b16"), ("RN50x4", "rn50")])
def test_models_of_open_clip_train_as_the_paper_s_backbone_of_their_sort(
    kind: str, like: str
) -> None:
    settings = load_settings(options={"encoder.kind": f"open_clip:{kind}"}).settings
    paper = load_settings(options={"recipe": like}).settings
    assert (settings.encoder.kind, settings.encoder.weights) == (f"open_clip:{kind}", "pretrained")
    assert (settings.prompts, settings.finetuning) == (paper.prompts, paper.finetuning)


@pytest.mark.parametrize(
    ("kind", "weights", "is_file"),
    [
        ("open_clip:ViT-B-32", "laion2b_s34b_b79k", False),
        ("open_clip:ViT-B-32", "pretrained", False),
        ("open_clip:ViT-B-32", "model.pt", True),
        ("open_clip:ViT-B-32", "models/laion2b_s34b_b79k", True),
        ("open_clip:ViT-B-32", "here", True),
        ("vit-b16", "laion2b_s34b_b79k", True),
    ],
)
def test_a_tag_of_open_clip_is_no_file(
    kind: str,
    weights: str,
    *,
    is_file: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    options = {"encoder.kind": kind, "encoder.weights": weights}
    assert load_settings(options=options).settings.encoder.has_weights_file is is_file


@pytest.mark.parametrize("name", ["scratch-rn50", "scratch-vit-b16"])
def test_recipes_from_scratch_take_random_weights_and_train_long(name: str) -> None:
    settings = load_settings(options={"recipe": name}).settings
    assert (settings.encoder.kind, settings.encoder.weights) == (
        name.removeprefix("scratch-"),
        "random",
    )
    usual = load_settings(options={"recipe": settings.encoder.kind}).settings.finetuning
    assert settings.finetuning.epochs > 2 * usual.epochs
    assert settings.finetuning.learning_rate > usual.learning_rate
    assert (settings.finetuning.schedule, settings.finetuning.label_smoothing) == ("cosine", 0.1)


@pytest.mark.parametrize("similarity", ["90", "1.01", "-1.5"])
def test_a_similarity_that_no_cosine_can_have_is_refused(similarity: str) -> None:
    assert any(
        "identify.unknown: " in line for line in refusal(options={"identify.unknown": similarity})
    )
    for kept in ("-1", "1", "auto", "off"):
        load_settings(options={"identify.unknown": kept})


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    assert refusal(options={"recipe": "rn51"}) == [
        f"recipe: there is no recipe 'rn51'; the recipes are {', '.join(RECIPES)}"
    ]


def test_unknown_keys_get_the_nearest_known_one_and_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "[encoder]\nknid = 'rn50'\n[prompt]\nepochs = 3\n")
    monkeypatch.setenv("REID_INDEX_KIND", "annoy")
    monkeypatch.setenv("REID_WHATEVER", "1")
    assert refusal(config=file, assignments=["sed=1"]) == [
        f"encoder.knid: there is no such setting; did you mean encoder.kind? (file {file})",
        f"prompt: there is no such setting; did you mean prompts? (file {file})",
        "index_kind: there is no such setting; did you mean index.kind?"
        " (environment REID_INDEX_KIND)",
        "whatever: there is no such setting; `reid settings` lists all of them"
        " (environment REID_WHATEVER)",
        "sed: there is no such setting; did you mean seed?",
    ]


def test_variables_that_are_no_settings_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REID_MARKET1501_ROOT", "somewhere")
    monkeypatch.setenv("REID_MARKET1501_FEATURES", "somewhere")
    monkeypatch.setenv("REIDENTIFY", "1")
    assert load_settings().settings.dataset.root is None


@pytest.mark.parametrize(
    ("assignment", "line"),
    [
        ("seed=-1", "seed: should be greater than or equal to 0, got -1"),
        ("device=gpu", "device: should be auto, cpu, mps, cuda or cuda:N, got 'gpu'"),
        ("prompts.epochs=0", "prompts.epochs: must be at least 1, got 0"),
        ("prompts.template=x", "prompts.template: must hold {} exactly once, got 'x'"),
        ("reranking.k2=50", "reranking.k2: must be within 1..k1, got 50"),
        (
            "reranking.k1=3",
            "reranking.k2: must be within 1..k1 (default; reranking.k1 from option)",
        ),
        (
            "encoder.image_size=[256, 0]",
            "encoder.image_size: should be greater than 0, got [256, 0]",
        ),
        (
            "prompts.batch_size=1",
            "prompts.batch_size: must be at least 2: the contrastive losses need a negative, got 1",
        ),
        (
            "encoder.image_size=64x32",
            "encoder.image_size: should be a list in brackets, its values divided by commas, got ",
        ),
        ("encoder.image_size=[64]", "encoder.image_size: should have more values, got [64]"),
        ("encoder.image_size=[9, 9, 9]", "encoder.image_size: should have fewer values, got [9, "),
        ("prompts=3", "prompts: is a table of settings, not a value"),
        ("encoder.precision=fp8", "encoder.precision: should be 'fp32' or 'bf16', got 'fp8'"),
        ("encoder.pooling=max", "encoder.pooling: should be 'average' or 'gem', got 'max'"),
        ("finetuning.sampling=x", "finetuning.sampling: should be 'identities' or 'cameras'"),
        (
            "finetuning.ema_decay=1.0",
            "finetuning.ema_decay: must be within [0, 1), got 1.0",
        ),
        (
            "finetuning.random_patch_probability=1.5",
            "finetuning.random_patch_probability: must be within [0, 1], got 1.5",
        ),
        ("finetuning.learning_rate=inf", "finetuning.learning_rate: should be a finite number"),
        ("index.annoy.recall=nan", "index.annoy.recall: should be a finite number"),
        ("index.hnsw.recall=1.1", "index.hnsw.recall: should be less than or equal to 1"),
        ("index.annoy.trees=0", "index.annoy.trees: should be greater than or equal to 1, got 0"),
        ("index.annoy.search_k=2147483648", "index.annoy.search_k: should be less than 2147483648"),
        ("index.hnsw.expansion=0", "index.hnsw.expansion: should be greater than or equal to 1"),
        ("index.hnsw.connectivity=1", "index.hnsw.connectivity: should be greater than or equal"),
        ("seed", "seed: should be written section.key=value"),
        ("=3", "=3: should be written section.key=value"),
        ('encoder.options={"a.b" = 1}', "encoder.options: a name cannot hold a dot, got 'a.b'"),
    ],
)
def test_a_value_out_of_range_is_one_plain_line(assignment: str, line: str) -> None:
    (said,) = refusal(assignments=[assignment])
    assert said.startswith(line)


def test_all_values_out_of_range_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REID_FINETUNING__EPOCHS", "many")
    lines = refusal(assignments=["identify.top_k=0"])
    assert [line.split(":")[0] for line in lines] == ["finetuning.epochs", "identify.top_k"]
    assert lines[0].endswith("got 'many' (environment REID_FINETUNING__EPOCHS)")


def test_a_missing_file_is_an_error_and_not_ignored(tmp_path: Path) -> None:
    (said,) = refusal(config=tmp_path / "nowhere.toml")
    assert "nowhere.toml does not exist" in said


def test_a_file_that_is_not_toml_is_an_error(tmp_path: Path) -> None:
    file = written(tmp_path, "seed = \n")
    (said,) = refusal(config=file)
    assert said.startswith(f"settings file {file} cannot be read: ")


def test_none_unsets_what_a_recipe_set() -> None:
    options = {"recipe": "vit-b16-sie-olp", "encoder.stride": "none"}
    assert load_settings(options=options).settings.encoder.stride is None


def test_lists_come_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REID_FINETUNING__MILESTONES", "[4, 5]")
    monkeypatch.setenv("REID_ENCODER__IMAGE_SIZE", "[128, 64]")
    settings = load_settings().settings
    assert settings.finetuning.milestones == (4, 5)
    assert settings.encoder.image_size == (128, 64)


def test_options_of_plug_ins_merge_entry_by_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "[encoder.options]\nwidth = 3\ndepth = {first = 1, last = 2}\n")
    monkeypatch.setenv("REID_ENCODER__OPTIONS__WIDTH", "4")
    resolved = load_settings(config=file, assignments=["encoder.options.depth.last=9"])
    assert resolved.settings.encoder.options == {"width": 4, "depth": {"first": 1, "last": 9}}
    assert str(resolved.origin_of("encoder.options.width")).startswith("environment")
    replaced = load_settings(config=file, assignments=["encoder.options.depth=no"])
    assert replaced.settings.encoder.options == {"width": 4, "depth": "no"}
    assert [row.key for row in replaced.rows() if "options.width" in row.key] == [
        "encoder.options.width"
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("1e-3", 1e-3),
        ("true", True),
        ('"7"', "7"),
        ("[1, 2]", [1, 2]),
        ("{a = 1}", {"a": 1}),
        ('{"a": 1}', {"a": 1}),
        ("{broken", "{broken"),
        ("2024-01-01", "2024-01-01"),
        ("1\nother = 2", "1\nother = 2"),
        ("data/market", "data/market"),
    ],
)
def test_text_is_read_as_toml_where_it_is_toml(text: str, value: object) -> None:
    assert parse_text(text) == value


def test_texts_and_paths_need_no_quotes() -> None:
    settings = load_settings(assignments=["run.directory=2024", "encoder.weights=7"]).settings
    assert settings.run.directory == Path("2024")
    assert settings.encoder.weights == "7"


def test_settings_are_frozen_and_plain_for_the_record() -> None:
    settings = load_settings().settings
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 3  # type: ignore[misc]  # refused at run time too
    assert plain_settings(settings)["run"]["directory"] == "runs/default"


def test_settings_import_no_torch() -> None:
    code = "import sys, reid.settings.loading; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_other_datasets_are_tables_and_hold_what_their_kind_takes(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        [[dataset.also]]
        kind = "msmt17"
        root = "MSMT17_V1"
        [[dataset.also]]
        kind = "colours"
        options.shade = 3
        """,
    )
    resolved = load_settings(config=file)
    first, second = resolved.settings.dataset.also
    assert (first.kind, first.root, first.kind_options) == (
        "msmt17", Path("MSMT17_V1"), {"train_on_val": True},
    )  # fmt: skip
    assert second.kind_options is None
    assert {row.key: row.value for row in resolved.rows()}["dataset.also"] == [
        {"kind": "msmt17", "root": "MSMT17_V1", "msmt17": {"train_on_val": True}},
        {"kind": "colours", "root": None, "options": {"shade": 3}},
    ]


def test_the_record_of_other_datasets_can_be_read_as_settings() -> None:
    also = [{"kind": "cuhk03", "root": "x", "cuhk03": {"boxes": "labeled"}}, {"root": "y"}]
    settings = load_settings(options={"dataset.also": also}).settings
    recorded = plain_settings(settings)["dataset"]["also"]
    assert load_settings(options={"dataset.also": recorded}).settings == settings


@pytest.mark.parametrize(
    ("assignment", "line"),
    [
        ('dataset.also=[{rot="x"}]', "dataset.also[0].rot: there is no such setting, got "),
        (
            'dataset.also=[{root="x"}, {cuhk03={boxes="loose"}}]',
            "dataset.also[1].cuhk03.boxes: should be 'detected' or 'labeled', got ",
        ),
        ("dataset.viper.split_seed=x", "dataset.viper.split_seed: should be a valid integer"),
    ],
)
def test_a_mistake_in_a_table_of_a_list_is_told_with_its_place(assignment: str, line: str) -> None:
    (said,) = refusal(assignments=[assignment])
    assert said.startswith(line)
