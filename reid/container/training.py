"""Both stages of training, and the demo."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dependency_injector import providers

from reid.container import registry
from reid.container.datasets import cache_images
from reid.container.encoders import create_image_encoder, teacher_request
from reid.container.evaluation import Evaluation, environment, fingerprint_settings
from reid.container.foundation import SETTINGS, Foundation
from reid.container.identification import Identification
from reid.container.registry import Group
from reid.domain.errors import ConfigurationError
from reid.importing import Lazily

if TYPE_CHECKING:
    from reid.application.train import Train
    from reid.domain.services.fine_tuning import FineTuning
    from reid.domain.services.prompt_learning import PromptLearning
    from reid.domain.services.stage_loop import StageLoop
    from reid.domain.services.teaching import Teacher
    from reid.domain.training.losses import Loss
    from reid.ports.dataset import ImageSource
    from reid.ports.events import EventListener
    from reid.ports.runs import RunStore
    from reid.settings.schema import Settings


def log_beside(listener: "EventListener", settings: "Settings") -> "EventListener":
    """Pass a run's events on to the listener, and log them in the run."""
    from reid.adapters.events.broadcast import Broadcast
    from reid.adapters.events.jsonl_log import JsonlLog
    from reid.adapters.runs.records import METRICS

    return Broadcast([listener, JsonlLog(settings.run.directory / METRICS)])


def open_earlier_run(directory: Path | None) -> "RunStore | None":
    """Open the run that provides prompts or an encoder, if one is named."""
    from reid.adapters.runs.filesystem import FilesystemRunStore

    return None if directory is None else FilesystemRunStore(directory)


_TERMS = {"identity", "triplet", "i2tce", "teacher", "neighbours", "total"}  # of the objective


def create_losses(weights: Mapping[str, float]) -> dict[str, "Loss"]:
    """Create the losses that stage 2 adds to the paper's objective, named by `weights`.

    Raises:
        ConfigurationError: No distribution offers a loss of that name, or it cannot be used.
    """
    made = {name: _create_loss(name) for name in weights}
    if taken := sorted(made.keys() & _TERMS):
        raise ConfigurationError(
            f"finetuning.losses: {', '.join(taken)} is a term of the objective already; rename "
            "the plug-in's entry point"
        )
    return made


def _create_loss(name: str) -> "Loss":
    found, key = registry.find(Group.LOSSES, name), Group.LOSSES.setting
    loss: Loss = registry.call(found, options={}, key=key)
    parameters = getattr(loss, "parameters", None)
    if parameters is not None and any(True for _ in parameters()):
        raise ConfigurationError(
            f"{key}: {name} has parameters of its own, which stage 2 does not train; name a loss "
            "without parameters"
        )
    return loss


def open_teacher(
    settings: "Settings", *, runs: "RunStore", listener: "EventListener"
) -> "Teacher | None":
    """Open the encoder that stage 2 learns from; None where none is named."""
    if not settings.teacher.is_named:
        return None
    from reid.domain.services.embedding import Embedder
    from reid.domain.services.teaching import Teacher

    encoder = create_image_encoder(teacher_request(settings))
    batch_size = settings.evaluation.batch_size
    embedder = Embedder(encoder=encoder, listener=listener, batch_size=batch_size)
    return Teacher(embedder=embedder, runs=runs)


def draw_demo_people(root: Path, seed: int) -> None:
    """Draw the people of `reid demo`, replacing those of an earlier demo."""
    from reid.adapters.synthetic.generator import DrawnDataset

    DrawnDataset(
        identities=64,
        test_identities=32,
        images_per_camera=3,
        cameras=4,
        distractors=60,
        junk=10,
        seed=seed,
    ).draw(root, overwrite=True)


def open_splits(root: Path) -> "tuple[ImageSource, ImageSource]":
    """Open the query and gallery folders of a dataset in Market-1501's layout."""
    from reid.adapters.images.folders import open_images

    return open_images(root / "query"), open_images(root / "bounding_box_test")


class Training(Evaluation, Identification):
    """Training, with the evaluation that ends it."""

    training_listener = providers.Singleton(log_beside, Foundation.listener, Foundation.settings)
    training_dataset = providers.Singleton(
        cache_images, Evaluation.combined, SETTINGS.dataset.cache_mib, listener=training_listener
    )
    stage_loop = providers.Singleton["StageLoop"](
        Lazily("reid.domain.services.stage_loop:StageLoop"),
        runs=Evaluation.runs,
        listener=training_listener,
        checkpoint_every=SETTINGS.run.checkpoint_every,
    )
    prompt_learning = providers.Singleton["PromptLearning"](
        Lazily("reid.domain.services.prompt_learning:PromptLearning"),
        encoder=Evaluation.trainable,
        dataset=Evaluation.combined,
        embedder=Evaluation.embedder,
        loop=stage_loop,
        recipe=SETTINGS.prompts,
        seed=SETTINGS.seed,
    )
    fine_tuning = providers.Singleton["FineTuning"](
        Lazily("reid.domain.services.fine_tuning:FineTuning"),
        encoder=Evaluation.trainable,
        dataset=training_dataset,
        loop=stage_loop,
        recipe=SETTINGS.finetuning,
        seed=SETTINGS.seed,
        losses=providers.Callable(create_losses, SETTINGS.finetuning.losses),
        teacher=providers.Callable(
            open_teacher, Foundation.settings, runs=Evaluation.runs, listener=training_listener
        ),
    )
    train = providers.Singleton["Train"](
        Lazily("reid.application.train:Train"),
        dataset=Evaluation.combined,
        prompt_learning=prompt_learning,
        fine_tuning=fine_tuning,
        evaluate=Evaluation.evaluate_run,
        runs=Evaluation.runs,
        fingerprint=providers.Callable(fingerprint_settings, Foundation.settings),
        environment=providers.Callable(environment, Foundation.settings),
        write_card=Evaluation.write_card.provider,
        earlier=providers.Callable(open_earlier_run, SETTINGS.run.prompts),
        parent=providers.Callable(open_earlier_run, SETTINGS.run.parent),
    )
    open_demo_images = providers.Callable(open_splits, SETTINGS.dataset.root)
    demo = providers.Callable(
        Lazily("reid.application.demo:run_demo"),
        draw=providers.Callable(draw_demo_people, SETTINGS.dataset.root, SETTINGS.seed).provider,
        train=train,
        evaluate=Evaluation.evaluate,
        identify=Identification.identify,
        open_gallery=Identification.memory_gallery.provider,
        open_images=open_demo_images.provider,
        runs=Evaluation.runs,
    )
    demo_of_shipped = providers.Callable(
        Lazily("reid.application.demo:try_shipped"),
        evaluate=Evaluation.evaluate,
        identify=Identification.identify,
        open_gallery=Identification.memory_gallery.provider,
        open_images=open_demo_images.provider,
    )
