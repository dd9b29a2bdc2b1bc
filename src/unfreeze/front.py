"""The front door: what a user calls, from Python or through the command line."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unfreeze.compare.options import Options, bytes_of, seconds_of
from unfreeze.engine.prefix_store import PrefixStore, default_folder
from unfreeze.errors import SettingsError, StorageError
from unfreeze.files import read_json
from unfreeze.strategies import ALL, STRATEGIES, strategy_named

if TYPE_CHECKING:
    import pandas as pd

    from unfreeze.compare.material import Source, Sources
    from unfreeze.compare.watching import Watcher
    from unfreeze.export.handing_over import FineTuned


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        record: everything that was found, as ``record.json`` holds it.
        folder: with ``report.html``, ``recommendation.json``, ``model/`` and ``trials/``.
    """

    record: Mapping[str, Any]
    folder: Path

    @property
    def verdict(self) -> str:
        """The verdict in plain sentences."""
        return " ".join(self.record["recommendation"]["sentences"])

    @cached_property
    def table(self) -> "pd.DataFrame":
        """One row an arm, best first: score, interval, test score (not used for the choice), costs, settings."""
        import pandas as pd

        rows = sorted(self.record["arms"], key=lambda arm: -1.0 if arm["score"] is None else arm["score"], reverse=True)
        columns = ("name", "state", "floor", "score", "starved", "runs", "train_seconds", "total_seconds")
        more = ("trainable_parameters", "stored_bytes", "predict_seconds_per_1000")
        low_high = [arm["interval"] or (None, None) for arm in rows]
        frame = pd.DataFrame([{key: arm[key] for key in (*columns, *more)} for arm in rows])
        frame.insert(4, "low", [low for low, _ in low_high])
        frame.insert(5, "high", [high for _, high in low_high])
        frame.insert(6, "test_not_used", [arm["test"]["mean"] if arm["test"] else None for arm in rows])
        for key in ("learning_rate", "pooling", "layers"):
            frame[key] = [arm["settings"][key] if arm["settings"] else None for arm in rows]
        return frame.set_index("name")

    @cached_property
    def best(self) -> "FineTuned":
        """The model handed over.

        Raises:
            SettingsError: nothing was handed over.
        """
        from unfreeze.export.handing_over import load_model

        if self.record["handed_over"] is None:
            raise SettingsError("this comparison handed no model over: " + self.verdict)
        runtime = self.record["runtime"]
        precision = "fp32" if runtime["precision"] == "fp32" else "auto"
        return load_model(self.folder / "model", threads=runtime["threads"], precision=precision)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


def compare(
    file: "Source | None" = None,
    *,
    train: "Source | None" = None,
    validation: "Source | None" = None,
    test: "Source | None" = None,
    unlabeled: "Source | None" = None,
    text_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    task: str | None = None,
    model: str | None = None,
    strategies: Sequence[str] | None = None,
    budget: str | float | None = "15m",
    seeds: int | None = None,
    folds: int | None = None,
    tuning: int = 3,
    search: str = "grid",
    trials: int | None = None,
    race: bool = True,
    nested: bool = False,
    seed: int = 0,
    margin: float = 0.01,
    prefer: Literal["score", "cheap"] = "score",
    settings: Mapping[str, Any] | None = None,
    max_dropped: float = 0.1,
    threads: int | None = None,
    workers: int | None = None,
    memory: str | int | None = None,
    precision: str = "auto",
    output_dir: str | Path | None = None,
    cache_size: str | int = "2GB",
    cache_dir: str | Path | None = None,
    command: str | None = None,
    numbers: Mapping[str, int] | None = None,
    watcher: "Watcher | None" = None,
) -> Comparison:
    """Compare ways of fine-tuning on labelled text, and hand over the one to use.

    Args:
        file: labelled rows (CSV, TSV, JSONL, CoNLL columns, each also .gz, or a pandas frame); may have a column
            ``split``.
        train: training rows, instead of ``file``.
        validation: validation rows, beside ``train``.
        test: test rows, beside ``train``.
        unlabeled: texts without labels (as ``file``, or a .txt with a text a line), for ways that hide words and
            predict them; those that are also among the rows are left out.
        text_column: the column of texts, where its name does not tell.
        label_column: the column of labels, where its name does not tell.
        group_column: rows with equal values here never lie on both sides of a split.
        task: "classification" or "ner"; None to recognise it.
        model: a hub name or a folder; None for the embedded encoder.
        strategies: ways to compare, such as ("full", "last-k:k=4"); None for the usual
            ones, ("all",) for every one that suits the task.
        budget: wall time such as "15m" or "2h", or seconds; None for no limit.
        seeds: runs of each arm's chosen settings on each fold; None for as many as it takes: on one validation split 2,
            and up to 5 of those that cannot be told apart; on several folds 1, and up to 2.
        folds: how many folds are run at the most; None for all that the splits have.
        tuning: learning rates that an arm with the usual heads tries; every arm gets as many trials. 0 for no search.
        nested: whether each fold's settings are chosen on an inner fold of its training rows, by a search of its own.
        search: "grid"; or "random" or "tpe" (extra ``search``), which draw settings from each arm's own ranges.
        trials: of each arm where settings are drawn; None for as many as the grid takes.
        race: whether ways that fall behind leave and what they would have cost goes to the others; False to search and
            run every way to its end.
        seed: of the first run.
        margin: arms whose difference surely lies within this fraction are a tie.
        prefer: what to hand over where nothing is settled, the best "score" or the "cheap" one not shown to be worse.
        settings: training settings fixed for all arms, such as {"num_train_epochs": 3, "optim": "sgd"} (see
            ``unfreeze.engine.settings.TrainingSettings``); a list of values is searched, such as {"learning_rate":
            [3e-5, 1e-4]}: a grid has all combinations of the lists, and nothing else.
        max_dropped: largest share of a file's rows that may be dropped.
        threads: threads of one operation; None for the cores this process may use.
        workers: processes that train side by side, each on one thread; 1 for this process alone, None for what a short
            calibration finds faster.
        memory: what all processes together may take, such as "8GB", or bytes; None for what is free. A way that does
            not fit is left out.
        precision: "auto", "fp32" or "bf16".
        output_dir: where everything goes; a comparison under way there is gone on with.
        cache_size: what hidden states of frozen layers may take on disk, such as "500MB", or bytes; 0 to keep none.
        cache_dir: where they are kept for later commands; None for the environment's ``UNFREEZE_CACHE``, else the
            user's folder of caches.
        command: how this comparison is spelled, for the report.
        numbers: numbers that the report shows beside the ways, by name.
        watcher: told what happens.

    Returns:
        The comparison, also written to ``output_dir``.

    Raises:
        DataError: a file is not what it should be.
        SettingsError: a setting outside its values.
        EncoderError: the encoder cannot be used.
        SurroundingsError: disk, memory, or something not installed.
        Interrupted: the watcher stopped it.
    """
    began = time.perf_counter()
    options = Options(
        text_column=text_column,
        label_column=label_column,
        group_column=group_column,
        task=task,
        model=model,
        strategies=None if strategies is None else tuple(strategies),
        budget_seconds=seconds_of(budget),
        seeds=seeds,
        folds=folds,
        tuning=tuning,
        search=search,
        trials=trials,
        race=race,
        nested=nested,
        seed=seed,
        margin=margin,
        prefer=prefer,
        settings=dict(settings or {}),
        max_dropped=max_dropped,
        threads=threads,
        workers=workers,
        memory_bytes=None if memory is None else bytes_of(memory),
        precision=precision,
        output_dir=None if output_dir is None else Path(output_dir),
        cache_bytes=bytes_of(cache_size),
        cache_dir=None if cache_dir is None else Path(cache_dir),
        command=command,
        numbers=dict(numbers or {}),
    )
    for name in set(options.strategies or ()) - {ALL}:
        strategy_named(name)  # a misspelt name is told before anything heavy is loaded
    from unfreeze.compare.material import Sources
    from unfreeze.conducting import Conductor  # brings torch

    sources = Sources(file, train, validation, test, unlabeled)
    conductor = Conductor(sources, options, watcher=watcher, began=began)
    return Comparison(conductor.conduct(), conductor.folder)


def fit(
    file: "Source | None" = None,
    *,
    strategy: str,
    train: "Source | None" = None,
    validation: "Source | None" = None,
    test: "Source | None" = None,
    unlabeled: "Source | None" = None,
    text_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    task: str | None = None,
    model: str | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    max_dropped: float = 0.1,
    threads: int | None = None,
    workers: int | None = None,
    memory: str | int | None = None,
    precision: str = "auto",
    output_dir: str | Path | None = None,
    cache_size: str | int = "2GB",
    cache_dir: str | Path | None = None,
    command: str | None = None,
    watcher: "Watcher | None" = None,
) -> Comparison:
    """Train one way of fine-tuning on labelled text: a comparison with a single arm, beside its floors.

    The middle of the strategy's range is its learning rate (``settings={"learning_rate": …}`` fixes another); the head
    and the number of epochs are chosen on validation rows; then the model is trained on all rows that are not test.

    Args:
        file: labelled rows, as for ``compare``; so are all other arguments but the next.
        strategy: the way, such as "full" or "last-k:k=4".
        train: training rows, instead of ``file``.
        validation: validation rows, beside ``train``.
        test: test rows, beside ``train``.
        unlabeled: texts without labels, as for ``compare``.
        text_column: the column of texts, where its name does not tell.
        label_column: the column of labels, where its name does not tell.
        group_column: rows with equal values here never lie on both sides of a split.
        task: "classification" or "ner"; None to recognise it.
        model: a hub name or a folder; None for the embedded encoder.
        seed: of the run.
        settings: training settings, such as {"num_train_epochs": 3}.
        max_dropped: largest share of a file's rows that may be dropped.
        threads: threads of one operation; None for the cores this process may use.
        workers: processes that train side by side, each on one thread; 1 for this process alone, None for what a short
            calibration finds faster.
        memory: what all processes together may take, such as "8GB", or bytes; None for what is free. A way that does
            not fit is left out.
        precision: "auto", "fp32" or "bf16".
        output_dir: where everything goes; a run under way there is gone on with.
        cache_size: what hidden states of frozen layers may take on disk, such as "500MB", or bytes; 0 to keep none.
        cache_dir: where they are kept for later commands; None for the environment's ``UNFREEZE_CACHE``, else the
            user's folder of caches.
        command: how this is spelled, for the report.
        watcher: told what happens.

    Returns:
        The comparison of one arm; its ``best`` is the model.

    Raises:
        SettingsError: the strategy is a floor, or as for ``compare``.
        UnfreezeError: as for ``compare``.
    """
    refuse_floor(strategy)
    return compare(
        file,
        train=train,
        validation=validation,
        test=test,
        unlabeled=unlabeled,
        text_column=text_column,
        label_column=label_column,
        group_column=group_column,
        task=task,
        model=model,
        strategies=(strategy,),
        budget=None,
        seeds=1,
        folds=1,
        tuning=1,
        seed=seed,
        settings=settings,
        max_dropped=max_dropped,
        threads=threads,
        workers=workers,
        memory=memory,
        precision=precision,
        output_dir=output_dir,
        cache_size=cache_size,
        cache_dir=cache_dir,
        command=command,
        watcher=watcher,
    )


def refuse_floor(strategy: str) -> None:
    """Refuse a way that gives no model, before anything is read or trained.

    Args:
        strategy: as a user spells it.

    Raises:
        SettingsError: it is a floor, or there is no such strategy.
    """
    if strategy_named(strategy).search.floor:
        ways = {name: cls.search for name, cls in STRATEGIES.items() if not cls.search.floor}
        named = ", ".join(sorted(ways, key=lambda name: ways[name].priority))
        raise SettingsError(
            f"{strategy} is a floor: it shows what the others must beat and is never handed over, so there would be no "
            f"model. Use compare, which shows its scores, or a --strategy that gives a model: {named}."
        )


def plan_comparison(sources: "Sources", options: Options, *, watcher: "Watcher | None" = None) -> dict[str, Any]:
    """What a comparison would run, stage by stage, and at what price; nothing is trained or written.

    Args:
        sources: where the rows are.
        options: what would be compared.
        watcher: told what was recognised in the data, and what was lost of them.

    Returns:
        The plan: each arm's stages (who learns, at which rates), and its price in seconds.

    Raises:
        UnfreezeError: as for ``compare``.
    """
    from unfreeze.compare.dry_run import stages_of
    from unfreeze.compare.summary import described
    from unfreeze.conducting import Conductor

    conductor = Conductor(sources, options, watcher=watcher)
    plan = conductor.plan()
    told: dict[str, dict[str, Any]] = {}
    for arm in conductor.arms:
        told[arm.name] = {key: described(arm)[key] for key in ("summary", "source")}
        told[arm.name]["stages"] = stages_of(arm, conductor.material)
    return plan | {"search": options.search, "arms": [row | told[row["name"]] for row in plan["arms"]]}


def load_comparison(folder: str | Path) -> Comparison:
    """A finished comparison, from its output folder.

    Raises:
        StorageError: there is none.
    """
    return Comparison(read_json(Path(folder) / "record.json"), Path(folder))


def cache(*, cache_dir: str | Path | None = None, clear: bool = False) -> dict[str, Any]:
    """What is cached of hidden states; on request, delete it all, which only costs computing it again.

    Args:
        cache_dir: the folder of all that is cached; None as for ``compare``.
        clear: whether to delete it.

    Returns:
        ``folder``, ``bytes`` (before deleting), and ``files``, a row each, last used first: how many ``bytes``, when it
        was ``used`` (seconds since 1970), and what its states follow from (``encoder``, ``depth``, ``precision`` …).

    Raises:
        StorageError: the folder is a file, or something cannot be read or deleted.
    """
    folder = default_folder() if cache_dir is None else Path(cache_dir)
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder}: this is a file; expected a folder of caches; --cache-dir names another")
    store = PrefixStore(folder, limit_bytes=0)
    try:
        entries = store.entries()
        if clear:
            store.clear()
    except OSError as error:
        place = error.filename or store.folder
        raise StorageError(f"{place}: cannot be used: {error.strerror}; --cache-dir names another folder") from error
    files = [{**entry.key, "bytes": entry.size, "used": entry.used} for entry in entries]
    return {"folder": str(store.folder), "bytes": sum(entry.size for entry in entries), "files": files}
