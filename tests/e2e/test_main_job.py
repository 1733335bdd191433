"""Train, evaluate and identify on drawn people, through the real commands."""

import csv
import json
import re
import shutil
import sys
from io import StringIO
from pathlib import Path

import pytest
from safetensors.torch import save_file

from reid.adapters.devices import measure_bf16
from reid.adapters.safetensors_file import read_checkpoint
from tests.e2e.program import as_json, run, train

SCORE = r"Test Results - {}: \d{{1,3}}\.\d\d%"


def test_training_prints_the_dataset_and_the_scores(people: Path, tmp_path: Path) -> None:
    lines = train(people, tmp_path / "run").stdout.splitlines()
    assert lines[:7] == [
        "----------------------------------------",
        "subset   | # ids | # images | # cameras",
        "----------------------------------------",
        "train    |     8 |       32 |         2",
        "query    |     4 |        8 |         2",
        "gallery  |     5 |       19 |         2",
        "----------------------------------------",
    ]
    for line, name in zip(lines[7:10], ("Rank-1", "Rank-5", "mAP"), strict=True):
        assert re.fullmatch(SCORE.format(name), line)
    assert (
        "Encoder: rn-tiny (64x32, stride 16), weights: trained from random (seed 1234); "
        "not pretrained"
    ) in lines


def test_a_run_folder_says_all_about_the_run(trained: Path) -> None:
    recorded = {path.name for path in trained.iterdir()}
    # Other tests evaluate this run, which is recorded too.
    assert sorted(name for name in recorded if not name.startswith("evaluation-")) == [
        "card.md",
        "encoder.safetensors",
        "evaluation.json",
        "evaluation.queries.json",
        "metrics.jsonl",
        "prompts.safetensors",
        "run.json",
    ]
    manifest = json.loads((trained / "run.json").read_text())
    assert manifest["fingerprint"]["seed"] == 1234
    assert manifest["fingerprint"]["finetuning.epochs"] == 3
    assert manifest["environment"]["settings"]["recipe"] == "tiny"
    assert {"python", "torch", "clip-reid"} <= manifest["environment"]["versions"].keys()
    metrics = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in metrics if line["event"] == "epoch_finished"]
    assert [(line["stage"], line["epoch"]) for line in epochs] == [
        ("prompts", 1), ("prompts", 2), ("encoder", 1), ("encoder", 2), ("encoder", 3),
    ]  # fmt: skip
    assert epochs[-1]["losses"].keys() == {"identity", "triplet", "i2tce", "total"}


def test_a_training_in_bfloat16_says_so_and_is_evaluated_in_float32(
    people: Path, tmp_path: Path
) -> None:
    outcome = train(people, tmp_path / "run", "--set", "encoder.training_precision=bf16")
    assert "Image encoder: trained in bf16, evaluated in fp32" in outcome.stderr.splitlines()
    assert ("times as long as fp32" in outcome.stderr) == measure_bf16().is_slow
    fingerprint = json.loads((tmp_path / "run" / "run.json").read_text())["fingerprint"]
    assert (fingerprint["encoder.training_precision"], fingerprint["encoder.precision"]) == (
        "bf16",
        "fp32",
    )
    refused = train(people, tmp_path / "run", "--resume", expect=5)
    assert 'encoder.training_precision: "bf16" then, "fp32" now' in refused.stderr


def test_evaluating_a_run_gives_the_scores_that_training_gave(people: Path, trained: Path) -> None:
    again = as_json(run("evaluate", "--run", trained, "--data", people, "--json"))
    recorded = json.loads((trained / "evaluation.json").read_text())
    assert again["report"] == recorded["report"]
    assert again["report"]["num_valid_queries"] == 8
    assert again["report"]["is_exact"]


def test_the_trained_encoder_is_not_the_untrained_one(people: Path, trained: Path) -> None:
    arguments = ("evaluate", "--recipe", "tiny", "--weights", "random", "--data", people, "--json")
    untrained = as_json(run(*arguments))["report"]
    assert untrained != json.loads((trained / "evaluation.json").read_text())["report"]


def test_re_ranking_is_said_with_its_parameters(people: Path, trained: Path) -> None:
    result = run(
        "evaluate", "--run", trained, "--data", people, "--rerank",
        "--set", "reranking.k1=4", "--set", "reranking.k2=2",
    )  # fmt: skip
    assert "Re-ranking: k1=4, k2=2, lambda=0.3" in result.stdout


def test_an_approximate_index_says_its_recall(people: Path, trained: Path) -> None:
    result = run("evaluate", "--run", trained, "--data", people, "--index", "annoy")
    assert re.search(r"Search: approximate, scores too; .* \d+\.\d% of nearest", result.stdout)


def test_the_same_seed_gives_the_same_bytes(people: Path, trained: Path, tmp_path: Path) -> None:
    train(people, tmp_path / "again")
    for name in ("prompts.safetensors", "encoder.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (trained / name).read_bytes()


def test_another_seed_gives_other_weights(people: Path, trained: Path, tmp_path: Path) -> None:
    train(people, tmp_path / "other", "--seed", "5")
    other = (tmp_path / "other" / "encoder.safetensors").read_bytes()
    assert other != (trained / "encoder.safetensors").read_bytes()


def test_stages_run_apart_come_to_the_same(people: Path, trained: Path, tmp_path: Path) -> None:
    result = train(people, tmp_path / "run", "--stage", "1")
    assert "Prompts learned" in result.stdout
    assert not (tmp_path / "run" / "encoder.safetensors").exists()
    train(people, tmp_path / "run", "--stage", "2")
    for name in ("prompts.safetensors", "encoder.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (trained / name).read_bytes()


def test_the_encoder_starts_from_another_runs_prompts(
    people: Path, trained: Path, tmp_path: Path
) -> None:
    train(people, tmp_path / "run", "--stage", "encoder", "--prompts", trained)
    one, other = (read_checkpoint(d / "encoder.safetensors") for d in (trained, tmp_path / "run"))
    assert all(one.tensors[name].equal(other.tensors[name]) for name in one.tensors)


def test_a_run_is_not_overwritten_unless_that_is_wanted(people: Path, tmp_path: Path) -> None:
    train(people, tmp_path / "run")
    refused = train(people, tmp_path / "run", expect=5)
    assert "resume it" in refused.stderr
    train(people, tmp_path / "run", "--overwrite", "--seed", "5")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["fingerprint"]["seed"] == 5


def test_resuming_with_another_seed_is_refused_by_name(people: Path, tmp_path: Path) -> None:
    train(people, tmp_path / "run", "--stage", "prompts")
    refused = train(people, tmp_path / "run", "--resume", "--seed", "5", expect=5)
    assert "seed: 1234 then, 5 now" in refused.stderr


def test_identify_answers_every_query(people: Path, trained: Path) -> None:
    outcome = as_json(
        run(
            "identify", people / "query", "--gallery", people / "bounding_box_test",
            "--run", trained, "--top-k", "3", "--json",
        )
    )  # fmt: skip
    assert len(outcome["identifications"]) == 8
    for answer in outcome["identifications"]:
        assert len(answer["images"]) == 3
        assert answer["label"] == answer["images"][0]["label"]
        assert answer["runner_up_label"] != answer["label"]
    right = sum(a["label"] == a["true_label"] for a in outcome["identifications"])
    assert outcome["accuracy"] == right / 8


def test_identify_prints_a_table_or_csv(people: Path, trained: Path) -> None:
    arguments = ("identify", people / "query", "--gallery", people / "bounding_box_test")
    table = run(*arguments, "--run", trained).stdout
    assert table.splitlines()[0].split()[:3] == ["query", "label", "similarity"]
    assert re.search(r"Accuracy: \d+\.\d\d% \(\d of 8 queries", table)
    records = list(
        csv.DictReader(StringIO(run(*arguments, "--run", trained, "--csv", "--top-k", "2").stdout))
    )
    assert len(records) == 8
    assert records[0]["query"] == sorted(path.name for path in (people / "query").iterdir())[0]
    assert {"label", "runner_up_label", "image_1", "similarity_2"} <= records[0].keys()


def test_identify_takes_a_folder_per_person_and_nameless_queries(
    people: Path, trained: Path, tmp_path: Path
) -> None:
    for number, path in enumerate(sorted((people / "bounding_box_train").iterdir())[:8]):
        folder = tmp_path / "gallery" / f"person {path.name[:4]}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{number}.jpg")
    (tmp_path / "asked").mkdir()
    shutil.copy(path, tmp_path / "asked" / "who.jpg")
    outcome = as_json(
        run(
            "identify", tmp_path / "asked", "--gallery", tmp_path / "gallery",
            "--run", trained, "--json",
        )
    )  # fmt: skip
    answer = outcome["identifications"][0]
    assert answer["label"] == f"person {path.name[:4]}"
    assert answer["similarity"] == pytest.approx(1.0, abs=1e-4)
    assert outcome["accuracy"] is None


def test_identify_answers_for_the_readable_and_lists_the_rest(
    people: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(people / "query", tmp_path / "query")
    whole = sorted((tmp_path / "query").iterdir())[0]
    (tmp_path / "query" / "broken.jpg").write_bytes(whole.read_bytes()[:200])
    result = run(
        "identify", tmp_path / "query", "--gallery", people / "bounding_box_test",
        "--run", trained, "--json", expect=4,
    )  # fmt: skip
    assert len(json.loads(result.stdout)["identifications"]) == 8
    assert "1 query image cannot be read" in result.stderr
    assert "broken.jpg" in result.stderr


def test_a_folder_without_images_is_an_error_that_names_it(
    people: Path, trained: Path, tmp_path: Path
) -> None:
    for queries, gallery in ((tmp_path, people / "query"), (people / "query", tmp_path)):
        result = run("identify", queries, "--gallery", gallery, "--run", trained, expect=4)
        assert str(tmp_path) in result.stderr
        assert result.stdout == ""


def test_a_gallery_without_labels_is_an_error_that_says_how_to_label(
    people: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copy(next((people / "query").iterdir()), tmp_path / "somebody.jpg")
    result = run("identify", people / "query", "--gallery", tmp_path, "--run", trained, expect=4)
    assert "no label on" in result.stderr
    assert "sub-folder per person" in result.stderr


def test_a_missing_run_says_what_to_do(people: Path, tmp_path: Path) -> None:
    result = run("evaluate", "--run", tmp_path / "none", "--data", people, expect=5)
    assert "holds no trained encoder" in result.stderr
    assert "name weights by --weights" in result.stderr


def test_another_encoders_weights_are_refused_with_both_named(people: Path, trained: Path) -> None:
    result = run(
        "evaluate", "--weights", trained / "encoder.safetensors", "--encoder", "vit-tiny",
        "--data", people, expect=5,
    )  # fmt: skip
    assert "rn-tiny" in result.stderr
    assert "vit-tiny" in result.stderr


def test_a_foreign_weights_file_is_refused(people: Path, tmp_path: Path, trained: Path) -> None:
    foreign = tmp_path / "weights.safetensors"
    save_file(
        {"layer": read_checkpoint(trained / "prompts.safetensors").tensors["text_features"]},
        foreign,
    )
    result = run("evaluate", "--weights", foreign, "--data", people, expect=5)
    assert "holds no CLIP image encoder" in result.stderr


def test_a_single_camera_is_explained_with_the_way_out(
    people: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(people, tmp_path / "one")
    for path in (tmp_path / "one").rglob("*_c2s*"):
        path.unlink()
    result = run("evaluate", "--run", trained, "--data", tmp_path / "one", expect=7)
    assert "evaluate without it (" in result.stderr
    result = run("evaluate", "--run", trained, "--data", tmp_path / "one", "--no-same-camera-rule")
    assert "not comparable with the Market-1501 protocol" in result.stdout


@pytest.mark.parametrize("recipe", ["vit-b16-sie-olp", "vit-b16"])
def test_a_vision_transformer_trains_with_every_recipe_of_its_own(
    people: Path, tmp_path: Path, recipe: str
) -> None:
    train(
        people, tmp_path / "run", "--recipe", recipe, "--encoder", "vit-tiny",
        "--weights", "random",
    )  # fmt: skip
    header = read_checkpoint(tmp_path / "run" / "encoder.safetensors").header["encoder"]
    assert isinstance(header, dict)
    assert header["options"] == {
        "image_size": [128, 64],
        "stride": 12 if recipe.endswith("olp") else 16,
        "num_cameras": 2 if recipe.endswith("olp") else 0,
        "camera_scale": 1.0,
        "activation": "quick_gelu",
    }
    run("evaluate", "--run", tmp_path / "run", "--data", people)
    run(
        "identify", people / "query", "--gallery", people / "bounding_box_test",
        "--run", tmp_path / "run",
    )  # fmt: skip


def test_evaluate_gives_untrained_weights_their_camera_embeddings(people: Path) -> None:
    arguments = ("evaluate", "--recipe", "vit-b16-sie-olp", "--encoder", "vit-tiny")
    untrained = (*arguments, "--weights", "random", "--data", people)
    assert "cameras 2" in run(*untrained).stdout
    with_cameras = as_json(run(*untrained, "--json"))["report"]
    without = as_json(run(*untrained, "--no-cameras", "--json"))["report"]
    assert with_cameras["num_valid_queries"] == without["num_valid_queries"]


def test_contradicting_stages_are_refused_before_anything_is_touched(
    people: Path, trained: Path, tmp_path: Path
) -> None:
    refused = train(people, tmp_path / "run", "--prompts", trained, expect=3)
    assert "--stage encoder" in refused.stderr
    refused = train(people, tmp_path / "run", "--resume", "--overwrite", expect=3)
    assert "exclude each other" in refused.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_named_on_the_command_line_beats_weights_from_elsewhere(
    people: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = json.loads((trained / "evaluation.json").read_text())["report"]
    file = tmp_path / "reid.toml"
    file.write_text('[encoder]\nweights = "random"\n')
    arguments = ("evaluate", "--run", trained, "--data", people, "--json")
    assert as_json(run(*arguments, "--config", file))["report"] == recorded
    monkeypatch.setenv("REID_ENCODER__WEIGHTS", "openai")
    assert as_json(run(*arguments))["report"] == recorded
    refused = run(*arguments, "--weights", "random", expect=3)
    assert "name two encoders" in refused.stderr


def test_identify_writes_a_page_with_the_images(
    people: Path, trained: Path, tmp_path: Path
) -> None:
    page = tmp_path / "new" / "answers.html"
    arguments = ("identify", people / "query", "--gallery", people / "bounding_box_test")
    told = run(*arguments, "--run", trained, "--report", page)
    assert told.stdout.splitlines()[-1] == f"Wrote {page}"
    text = page.read_text()
    queries = sorted(path.name for path in (people / "query").glob("*.jpg"))
    assert [text.index(f'data-name="{name}"') for name in queries]
    assert "image gone" not in text
    assert "Accuracy: " in text
    assert "Gallery: " not in text
    assert str(people) not in text
    before = page.read_bytes()
    as_json(run(*arguments, "--run", trained, "--report", page, "--json"))
    assert page.read_bytes() == before


def test_evaluate_writes_a_page_and_charts(people: Path, trained: Path, tmp_path: Path) -> None:
    page, plots = tmp_path / "evaluation.html", tmp_path / "plots"
    arguments = ("evaluate", "--run", trained, "--data", people, "--no-record")
    plain = run(*arguments).stdout.splitlines()
    told = run(*arguments, "--report", page, "--plots", plots).stdout.splitlines()
    assert told[: len(plain)] == plain
    names = ("cmc", "camera-pairs", "similarities", "map")
    assert told[len(plain) :] == [
        f"Wrote {page}",
        *(f"Wrote {plots / name}.{ending}" for name in names for ending in ("svg", "png")),
    ]
    assert "Hardest queries" in page.read_text()
    assert "t-SNE of scikit-learn" in page.read_text()
    assert str(people) not in page.read_text()


def test_evaluate_says_what_brings_charts_as_png_where_resvg_is_missing(
    people: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "reid.adapters.pages.rasters", raising=False)
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    arguments = ("evaluate", "--run", trained, "--data", people, "--no-record")
    told = run(*arguments, "--plots", tmp_path / "plots")
    assert "Charts as SVG only: a PNG needs resvg-py" in told.stderr
    assert "clip-reid[plots]" in told.stderr
    assert {path.suffix for path in (tmp_path / "plots").iterdir()} == {".svg"}


def test_evaluate_says_what_brings_the_map_where_scikit_learn_is_missing(
    people: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "reid.adapters.maps", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    page, plots = tmp_path / "evaluation.html", tmp_path / "plots"
    arguments = ("evaluate", "--run", trained, "--data", people, "--no-record", "--json")
    told = run(*arguments, "--report", page, "--plots", plots)
    as_json(told)
    assert "No map of a sample: a map needs scikit-learn" in told.stderr
    assert "There is none: a map needs scikit-learn" in page.read_text()
    assert "clip-reid[plots]" in page.read_text()
    assert not (plots / "map.svg").exists()
    assert (plots / "cmc.svg").exists()
