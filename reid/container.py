"""Composition root: the one place that knows every name.

To add a provider: a built-in adapter is one more entry in its `providers.Dict`; a service or use
case is one more `providers.Singleton` whose arguments are the providers above it.
"""

from dependency_injector import containers, providers

from reid.adapters.datasets.csv_dataset import CsvDataset
from reid.adapters.datasets.cuhk03 import Cuhk03
from reid.adapters.datasets.dukemtmc import DukeMtmc
from reid.adapters.datasets.generator import generate_market1501
from reid.adapters.datasets.given import PictureIntake, give_pictures
from reid.adapters.datasets.market1501 import Market1501
from reid.adapters.datasets.msmt17 import Msmt17
from reid.adapters.datasets.pictures import open_followed, open_pictures
from reid.adapters.datasets.viper import Viper
from reid.adapters.events.broadcast import Broadcast
from reid.adapters.events.jsonl_log import JsonlLog
from reid.adapters.events.silent import Silent
from reid.adapters.galleries.archive.file import FileArchive
from reid.adapters.galleries.memory import open_memory_gallery
from reid.adapters.indexes.annoy import AnnoyIndex
from reid.adapters.indexes.exact import ExactIndex
from reid.adapters.pages.answers import HtmlAnswersPage
from reid.adapters.pages.evaluation import ChartFiles, HtmlEvaluationPage
from reid.adapters.pages.files import write_chart
from reid.adapters.pages.heatmaps import open_explanation_page
from reid.adapters.pages.markdown import MarkdownPage
from reid.adapters.pages.open_set_plot import draw_open_set
from reid.adapters.runs.filesystem import FilesystemRunStore
from reid.adapters.runs.records import FilesystemRunRecords, collect_records
from reid.application.calibrate import Calibrate
from reid.application.check_dataset import CheckDataset, count_splits, odd_about_lists
from reid.application.compare_runs import CompareRuns
from reid.application.demo import Demo
from reid.application.evaluate import Evaluate
from reid.application.evaluate_run import EvaluateRun
from reid.application.explain import Explain
from reid.application.export import Export
from reid.application.galleries import FillGallery, KeepGallery
from reid.application.gallery_transfer import TransferGallery
from reid.application.identify import Identify
from reid.application.report_runs import ReportRuns
from reid.application.reproduce import Reproduce
from reid.application.show_answers import ShowAnswers
from reid.application.show_evaluation import ShowEvaluation
from reid.application.train import Train
from reid.assembly.answers import (
    answering_of,
    as_tracklets,
    lay_out_map,
    rasteriser,
    reranking_of,
    thumbnail_height_of,
)
from reid.assembly.databases import open_milvus, open_postgres
from reid.assembly.datasets import (
    cache_pictures,
    combine_datasets,
    create_dataset,
    draw_demo_people,
    open_splits,
    screen_combined,
)
from reid.assembly.diagnosis import create_diagnosis
from reid.assembly.encoders import (
    count_cameras,
    create_encoder,
    create_image_encoder,
    encoder_request,
    explanation_method,
    open_export_folder,
    reference_request,
    require_explainable,
    require_trainable,
    training_precision,
)
from reid.assembly.galleries import (
    create_gallery_cache,
    encoder_stamp,
    is_gallery,
    open_cache,
    open_folder,
    open_gallery,
    open_source,
    read_gallery_vectors,
    utc_now,
)
from reid.assembly.indexes import create_hnsw, create_index, create_index_bench
from reid.assembly.runs import (
    circumstances,
    decisive_settings,
    evaluation_settings,
    machine,
    metrics_path,
    open_earlier_run,
    open_evaluation,
)
from reid.domain.services.embedding import Embedder
from reid.domain.services.explaining import PairExplainer
from reid.domain.services.fine_tuning import FineTuning
from reid.domain.services.gallery_filling import GalleryFilling
from reid.domain.services.prompt_learning import PromptLearning
from reid.domain.services.query_embedding import QueryEmbedding
from reid.domain.services.reidentification import Reidentification
from reid.domain.services.screening import ScreenedDataset
from reid.domain.values.samples import Split
from reid.settings.recorded import changed_settings, departures_from_recipe
from reid.settings.schema import Settings


class Container(containers.DeclarativeContainer):
    """Everything a command needs, made when it is first asked for.

    `Container(settings=...)` is enough; `listener` is silent unless given. Any provider can be
    given in the same way: `num_cameras=0` leaves cameras to the weights file where there is no
    dataset to count them in.
    """

    settings: providers.Dependency[Settings] = providers.Dependency(instance_of=Settings)
    listener = providers.Singleton(Silent)

    built_in_datasets = providers.Dict(
        market1501=providers.Object(Market1501),
        msmt17=providers.Object(Msmt17),
        dukemtmc=providers.Object(DukeMtmc),
        cuhk03=providers.Object(Cuhk03),
        viper=providers.Object(Viper),
        csv=providers.Object(CsvDataset),
    )
    listed = providers.Singleton(create_dataset, settings.provided.dataset, built_in_datasets)
    all_listed = providers.Singleton(
        combine_datasets, listed, settings.provided.dataset.also, built_in_datasets
    )
    dataset = providers.Singleton(
        ScreenedDataset, listed, skips_bad=settings.provided.dataset.skip_bad
    )
    combined = providers.Singleton(
        screen_combined,
        all_listed,
        single=listed,
        screened=dataset,
        skips_bad=settings.provided.dataset.skip_bad,
    )
    built_in_indexes = providers.Dict(
        exact=providers.Factory(ExactIndex).provider,
        annoy=providers.Factory(
            AnnoyIndex,
            recall=settings.provided.index.annoy.recall,
            trees=settings.provided.index.annoy.trees,
            search_k=settings.provided.index.annoy.search_k,
        ).provider,
        hnsw=providers.Factory(create_hnsw, settings.provided.index.hnsw).provider,
    )
    index = providers.Singleton(create_index, settings.provided.index, built_in_indexes)
    gallery_index = providers.Factory(create_index, settings.provided.index, built_in_indexes)
    bench_indexes = providers.Factory(create_index_bench, settings, built_in_indexes)
    diagnose = providers.Factory(create_diagnosis, settings, built_in_indexes)
    num_cameras = providers.Callable(
        count_cameras, settings.provided.encoder.camera_embedding, combined.provider
    )
    encoder = providers.Singleton(
        create_image_encoder, providers.Callable(encoder_request, settings, num_cameras)
    )
    trainee = providers.Callable(require_trainable, encoder)
    pictures = providers.Object(open_pictures)
    followed_pictures = providers.Object(open_followed)
    given_pictures = providers.Object(give_pictures)
    runs = providers.Singleton(FilesystemRunStore, settings.provided.run.directory)
    training_listener = providers.Singleton(
        Broadcast,
        providers.List(
            listener,
            providers.Singleton(JsonlLog, providers.Callable(metrics_path, settings)),
        ),
    )
    training_dataset = providers.Singleton(
        cache_pictures, combined, settings.provided.dataset.cache_mib, listener=training_listener
    )
    generate_dataset = providers.Object(generate_market1501)

    embedder = providers.Singleton(
        Embedder,
        encoder=encoder,
        listener=listener,
        batch_size=settings.provided.evaluation.batch_size,
        uses_cameras=settings.provided.evaluation.use_cameras,
    )
    reidentification = providers.Singleton(Reidentification, embedder=embedder, index=index)
    now = providers.Object(utc_now)
    filling = providers.Singleton(
        GalleryFilling,
        embedder=embedder,
        # Once: it reads all weights, and an encoder that describes galleries learns no more.
        stamp=providers.Singleton(encoder_stamp, encoder).provider,
        now=now,
        keeps_thumbnails=settings.provided.gallery.thumbnails,
    )
    memory_gallery = providers.Factory(open_memory_gallery, create_index=gallery_index.provider)
    built_in_galleries = providers.Dict(
        filesystem=providers.Factory(open_folder, create_index=gallery_index.provider).provider,
        postgres=providers.Factory(open_postgres, settings.provided.gallery).provider,
        milvus=providers.Factory(open_milvus, settings.provided.gallery).provider,
    )
    is_gallery = providers.Callable(is_gallery, settings.provided.gallery)
    open_source = providers.Object(open_source)
    open_gallery = providers.Callable(open_gallery, settings.provided.gallery, built_in_galleries)
    read_gallery_vectors = providers.Callable(
        read_gallery_vectors, is_gallery.provider, open_gallery.provider
    )
    open_cache = providers.Callable(
        open_cache, settings.provided.gallery, memory_gallery.provider, gallery_index.provider
    )
    gallery_cache = providers.Callable(
        create_gallery_cache, settings.provided.gallery, gallery_index.provider
    )
    fill_gallery = providers.Singleton(
        FillGallery,
        filling=filling,
        now=now,
        expire_after=settings.provided.gallery.expire_after,
    )
    keep_gallery = providers.Singleton(KeepGallery, now=now)
    transfer_gallery = providers.Singleton(TransferGallery, now=now)
    open_archive = providers.Object(FileArchive)
    prompt_learning = providers.Singleton(
        PromptLearning,
        encoder=trainee,
        dataset=combined,
        embedder=embedder,
        runs=runs,
        listener=training_listener,
        recipe=settings.provided.prompts,
        seed=settings.provided.seed,
        checkpoint_every=settings.provided.run.checkpoint_every,
    )
    fine_tuning = providers.Singleton(
        FineTuning,
        encoder=trainee,
        dataset=training_dataset,
        runs=runs,
        listener=training_listener,
        recipe=settings.provided.finetuning,
        seed=settings.provided.seed,
        checkpoint_every=settings.provided.run.checkpoint_every,
    )

    statistics = providers.Callable(count_splits, combined)
    training_precision = providers.Callable(training_precision, settings)
    odd_about_training = providers.Callable(odd_about_lists, combined)
    odd_about_scored = providers.Callable(
        odd_about_lists, dataset, splits=(Split.QUERY, Split.GALLERY)
    )
    check_dataset = providers.Singleton(CheckDataset, all_listed)
    evaluate = providers.Singleton(
        Evaluate,
        encoder=encoder,
        dataset=dataset,
        reidentification=reidentification,
        map_maker=providers.Callable(lay_out_map, seed=settings.provided.seed).provider,
        reranking=providers.Callable(
            reranking_of, settings.provided.evaluation, settings.provided.reranking
        ),
        remove_same_camera=settings.provided.evaluation.same_camera_rule,
        screened=dataset,
    )
    records = providers.Singleton(FilesystemRunRecords, settings.provided.run.directory)
    evaluate_run = providers.Singleton(
        EvaluateRun,
        evaluate=evaluate,
        dataset=dataset,
        runs=runs,
        settings=providers.Callable(evaluation_settings, settings),
        circumstances=providers.Callable(machine, settings),
    )
    answering = providers.Singleton(
        answering_of, settings.provided.identify, settings.provided.reranking
    )
    identify = providers.Singleton(
        Identify,
        encoder=encoder,
        embedder=embedder,
        filling=filling,
        answering=answering,
    )
    identify_each = providers.Singleton(
        Identify,
        encoder=encoder,
        embedder=embedder,
        filling=filling,
        answering=providers.Callable(as_tracklets, answering, are_tracklets=False),
    )
    identify_together = providers.Singleton(
        Identify,
        encoder=encoder,
        embedder=embedder,
        filling=filling,
        answering=providers.Callable(as_tracklets, answering, are_tracklets=True),
    )
    picture_intake = providers.Factory(
        PictureIntake,
        size=encoder.provided.geometry.image_size,
        max_pixels=settings.provided.service.pixels,
        thumbnail_height=providers.Callable(
            thumbnail_height_of, settings.provided.gallery.thumbnails
        ),
    )
    calibrate = providers.Factory(
        Calibrate,
        embed=providers.Singleton(QueryEmbedding, embedder=embedder, filling=filling),
        now=now,
        recipe=answering.provided.recipe,
        seed=settings.provided.seed,
        are_tracklets=answering.provided.are_tracklets,
    )
    draw_open_set = providers.Object(draw_open_set)
    write_chart = providers.Object(write_chart)
    answers_page = providers.Factory(HtmlAnswersPage)
    show_answers = providers.Factory(ShowAnswers)
    evaluation_page = providers.Factory(HtmlEvaluationPage)
    chart_files = providers.Factory(ChartFiles)
    rasteriser = providers.Callable(rasteriser)
    show_evaluation = providers.Factory(ShowEvaluation)
    explanation_page = providers.Object(open_explanation_page)
    explain = providers.Singleton(
        Explain,
        explainer=providers.Singleton(
            PairExplainer,
            encoder=providers.Callable(require_explainable, encoder),
            method=providers.Callable(explanation_method, settings.provided.explain.method),
            uses_cameras=settings.provided.evaluation.use_cameras,
            masked_share=settings.provided.explain.masked_share,
            seed=settings.provided.seed,
        ),
    )
    open_export_folder = providers.Object(open_export_folder)
    export = providers.Singleton(
        Export,
        encoder=providers.Singleton(
            create_encoder, providers.Callable(reference_request, settings)
        ),
        seed=settings.provided.seed,
    )
    train = providers.Singleton(
        Train,
        dataset=combined,
        prompt_learning=prompt_learning,
        fine_tuning=fine_tuning,
        evaluate=evaluate_run,
        runs=runs,
        decisive=providers.Callable(decisive_settings, settings),
        circumstances=providers.Callable(circumstances, settings),
        earlier=providers.Callable(open_earlier_run, settings.provided.run.prompts),
        screened=combined,
    )
    open_evaluation = providers.Object(open_evaluation)
    compare = providers.Singleton(CompareRuns, seed=settings.provided.seed)
    reproduce = providers.Singleton(Reproduce, evaluate=evaluate_run)
    open_records = providers.Object(FilesystemRunRecords)
    collect_records = providers.Object(collect_records)
    page = providers.Factory(MarkdownPage)
    report = providers.Factory(
        ReportRuns,
        departures=providers.Object(departures_from_recipe),
        changes=providers.Object(changed_settings),
        seed=settings.provided.seed,
    )
    demo = providers.Singleton(
        Demo,
        draw=providers.Callable(
            draw_demo_people, settings.provided.dataset.root, settings.provided.seed
        ).provider,
        train=train,
        evaluate=evaluate,
        identify=identify,
        open_gallery=memory_gallery.provider,
        open_pictures=providers.Callable(open_splits, settings.provided.dataset.root).provider,
        runs=runs,
    )
