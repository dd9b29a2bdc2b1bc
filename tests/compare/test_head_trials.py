"""Head-only trials together, on real material of a tiny encoder, beside the loop that would train each alone."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from rows import opinions, sentences, write_conll
from tiny import tiny_encoder
from unfreeze.compare import head_trials
from unfreeze.compare import trials as trials_module
from unfreeze.compare.head_trials import KINDS, HeadTrials
from unfreeze.compare.ledger import Ledger
from unfreeze.compare.material import Material, Sources, prepare
from unfreeze.compare.trials import Trial, predict, run_trial, tensor_digest, weights_digest
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import Encoder, load_encoder
from unfreeze.engine.runtime import Runtime
from unfreeze.engine.settings import TrainingSettings
from unfreeze.engine.training import Watch
from unfreeze.errors import Interrupted
from unfreeze.tasks import Columns

RUNTIME = Runtime("cpu", 1, "fp32")
SETTINGS = TrainingSettings(learning_rate=2e-2, num_train_epochs=4, per_device_train_batch_size=8)
TRIAL = Trial("head-only", HeadSettings("mean"), SETTINGS, 0)
TIMES = {"seconds", "cpu_seconds", "train_seconds", "predict_seconds_per_example"}


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return load_encoder(str(tiny_encoder_dir))


@pytest.fixture(scope="module")
def texts(encoder: Encoder) -> Material:
    return prepare(Sources(pd.DataFrame(opinions(60))), encoder, columns=Columns())


@pytest.fixture(scope="module")
def words(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Material:
    file = write_conll(tmp_path_factory.mktemp("words") / "sentences.conll", sentences(40))
    return prepare(Sources(file), encoder, columns=Columns())


def without_dropout(material: Material) -> Material:
    config = copy.deepcopy(material.encoder.config)
    for name in [name for name in config.to_dict() if "dropout" in name]:
        setattr(config, name, 0.0)
    return replace(material, encoder=replace(material.encoder, config=config))


def together(material: Material, folder: Path, *trials: Trial, watch: Watch | None = None) -> dict[Trial, Any]:
    made = HeadTrials(material, runtime=RUNTIME)
    return made.run(trials, folder_of=lambda trial: folder / trial.key, watch=watch or Watch())


def timeless(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in TIMES}


def opinions_of(folder: Path) -> Material:
    return prepare(Sources(pd.DataFrame(opinions(60))), load_encoder(str(folder)), columns=Columns())


def poolerless(folder: Path) -> Material:
    """Of an encoder without a pooler, which is new with every seed."""
    tiny_encoder("bert", folder)
    weights = {name: w for name, w in load_file(folder / "model.safetensors").items() if "pooler" not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return opinions_of(folder)


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("texts", HeadSettings()),
        ("texts", HeadSettings("mean", 3)),
        ("words", HeadSettings()),
        ("words", HeadSettings("tokens", 2)),
    ],
    ids=str,
)
def test_without_dropout_a_record_is_that_of_the_loop(
    kind: str, head: HeadSettings, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    material = without_dropout(request.getfixturevalue(kind))
    trial = replace(TRIAL, head=head)
    (found,) = together(material, tmp_path / "ours", trial).values()
    expected = run_trial(material, trial, runtime=RUNTIME, folder=tmp_path / "loop", watch=Watch())
    assert found.keys() == expected.keys()
    assert all(found[name] > 0 for name in TIMES)
    for name in found.keys() - TIMES - {"curve", "weights_sha256", "batches"}:
        assert found[name] == expected[name], name
    for ours, theirs in zip(found["curve"], expected["curve"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert sorted(path.name for path in (tmp_path / "ours" / trial.key).iterdir()) == sorted(
        path.name for path in (tmp_path / "loop").iterdir()
    )


@pytest.mark.parametrize("kind", ["texts", "words"])
@pytest.mark.parametrize(
    "changed",
    [
        {"optim": "sgd", "learning_rate": 0.3},
        {"optim": "adam", "weight_decay": 0.1},
        {"label_smoothing_factor": 0.1},
        {"class_weights": "balanced"},
        {"optim": "sgd", "label_smoothing_factor": 0.2, "class_weights": "balanced", "learning_rate": 0.1},
    ],
    ids=str,
)
def test_another_optimizer_or_loss_gives_the_record_of_the_loop_too(
    kind: str, changed: dict[str, Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    material = without_dropout(request.getfixturevalue(kind))
    trial = replace(TRIAL, head=HeadSettings(), settings=replace(SETTINGS, **changed))
    (found,) = together(material, tmp_path / "ours", trial).values()
    expected = run_trial(material, trial, runtime=RUNTIME, folder=tmp_path / "loop", watch=Watch())
    assert found["scores"] == expected["scores"]
    for ours, theirs in zip(found["curve"], expected["curve"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    (usual,) = together(material, tmp_path / "usual", replace(trial, settings=SETTINGS)).values()
    assert usual["weights_sha256"] != found["weights_sha256"]


def grid(material: Material) -> list[Trial]:
    """Two rates on two folds with two seeds, another optimizer, other losses, and another head."""
    folds = range(min(2, len(material.splits.folds)))
    mean = [
        replace(TRIAL, settings=replace(SETTINGS, learning_rate=rate, seed=seed), fold=fold)
        for rate in (2e-2, 2e-3)
        for seed in (0, 1)
        for fold in folds
    ]
    others = [
        replace(TRIAL, settings=replace(SETTINGS, **changed))
        for changed in ({"optim": "sgd"}, {"class_weights": "balanced"}, {"label_smoothing_factor": 0.1})
    ]
    return [*mean, *others, replace(TRIAL, head=HeadSettings()), replace(TRIAL, fold=None).stopped_after(2)]


def test_trials_together_give_the_records_of_each_alone(texts: Material, tmp_path: Path) -> None:
    trials = grid(texts)
    every = together(texts, tmp_path / "together", *trials)
    assert list(every) != []
    assert every.keys() == set(trials)
    digests = {record["weights_sha256"] for record in every.values()}
    assert len(digests) == len(trials)
    for trial in trials:
        (alone,) = together(texts, tmp_path / "alone", trial).values()
        assert timeless(alone) == timeless(every[trial])


@pytest.mark.parametrize("head", [HeadSettings(), HeadSettings("mean", 2)], ids=str)
@pytest.mark.parametrize("has_pooler", [True, False])
def test_the_digest_is_that_of_the_loop_for_the_same_weights(
    head: HeadSettings, has_pooler: bool, texts: Material, tmp_path: Path
) -> None:
    material = without_dropout(texts if has_pooler else poolerless(tmp_path / "encoder"))
    still = replace(SETTINGS, learning_rate=1e-60)  # no float32 moves: both end with the first weights
    trials = [replace(TRIAL, head=head, settings=replace(still, seed=seed)) for seed in (0, 1)]
    every = together(material, tmp_path / "together", *trials)
    for trial in trials:
        alone = run_trial(material, trial, runtime=RUNTIME, folder=tmp_path / "loop", watch=Watch())
        assert every[trial]["weights_sha256"] == alone["weights_sha256"]
    assert len({record["weights_sha256"] for record in every.values()}) == len(trials)


def test_the_digest_of_every_trial_is_that_of_its_whole_model(texts: Material, tmp_path: Path) -> None:
    made = HeadTrials(texts, runtime=RUNTIME)
    trials = grid(texts)
    records = made.run(trials, folder_of=lambda trial: tmp_path / trial.key, watch=Watch())
    for trial in trials:
        trained = made.train(trial, watch=Watch())
        assert trained is not None
        assert weights_digest(trained.model) == records[trial]["weights_sha256"]


def test_what_is_frozen_is_hashed_once_for_all_trials_of_a_kind(
    texts: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[int] = []

    def counting(tensor: torch.Tensor) -> str:
        hashed.append(tensor.numel())
        return tensor_digest(tensor)

    monkeypatch.setattr(head_trials, "tensor_digest", counting)
    monkeypatch.setattr(trials_module, "tensor_digest", counting)
    rates = [replace(TRIAL, settings=replace(SETTINGS, learning_rate=rate)) for rate in (2e-2, 2e-3, 2e-4)]
    made = HeadTrials(texts, runtime=RUNTIME)
    made.run(rates, folder_of=lambda trial: tmp_path / trial.key, watch=Watch())
    trained = made.train(TRIAL, watch=Watch())
    assert trained is not None
    tensors = len(trained.model.state_dict())
    assert len(hashed) == tensors - 2 + 2 * len(rates)


def test_the_ledger_takes_the_records_and_their_counts(texts: Material, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "out", {"a": 1})
    trial = grid(texts)[1]
    records = HeadTrials(texts, runtime=RUNTIME).run([trial], folder_of=ledger.folder_of, watch=Watch())
    assert ledger.record(trial) is not None
    outputs, task = ledger.outputs(trial), texts.task
    assert outputs["validation/examples"].tolist() == list(texts.fold(trial.fold).validation)
    score = float(task.score(outputs["validation/counts"].sum(0)))
    record = records[trial]
    assert record["scores"]["validation"]["accuracy"] == score == record["curve"][record["best_epoch"] - 1]["score"]


def test_trials_that_train_more_are_left_to_the_loop(texts: Material, tmp_path: Path) -> None:
    others = [replace(TRIAL, strategy=name) for name in ("full", "last-k:k=1", "gradual", "untouched", "scratch")]
    refused = replace(TRIAL, head=HeadSettings("mean", 9))  # it reads more layers than there are
    tokens = replace(TRIAL, head=HeadSettings("tokens"))
    records = together(texts, tmp_path, *others, TRIAL, refused, tokens)
    assert list(records) == [TRIAL]
    assert [path.name for path in tmp_path.iterdir()] == [TRIAL.key]


def test_a_table_beyond_the_limit_is_left_to_the_loop(texts: Material, tmp_path: Path) -> None:
    made = HeadTrials(texts, runtime=RUNTIME, limit_bytes=100)
    assert made.run([TRIAL], folder_of=lambda trial: tmp_path / trial.key, watch=Watch()) == {}
    assert made.train(TRIAL, watch=Watch()) is None


@pytest.mark.parametrize(
    ("error", "left"),
    [(MemoryError(), True), (RuntimeError("can't allocate memory: you tried"), True), (RuntimeError("a bug"), False)],
    ids=str,
)
def test_where_memory_is_short_the_loop_goes_on_alone(
    error: Exception, left: bool, texts: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(head_trials, "features_of", raising)
    if left:
        assert together(texts, tmp_path, TRIAL) == {}
    else:
        with pytest.raises(RuntimeError, match="a bug"):
            together(texts, tmp_path, TRIAL)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often models were built, and features read, since the test began."""
    numbers = {"planned": 0, "features_of": 0, "prediction_seconds": 0}

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            numbers[name] += 1
            return real(*args, **more)

        return call

    for name in numbers:
        monkeypatch.setattr(head_trials, name, counting(name, getattr(head_trials, name)))
    return numbers


def test_what_a_head_reads_is_remembered_from_call_to_call(
    texts: Material, counted: dict[str, int], tmp_path: Path
) -> None:
    made = HeadTrials(texts, runtime=RUNTIME)

    def run(*trials: Trial) -> None:
        made.run(trials, folder_of=lambda trial: tmp_path / trial.key, watch=Watch())

    run(TRIAL, replace(TRIAL, settings=replace(SETTINGS, learning_rate=1e-3)))
    assert counted == {"planned": 1, "features_of": 1, "prediction_seconds": 1}
    run(TRIAL.again(seed=0, fold=None))
    assert counted == {"planned": 1, "features_of": 1, "prediction_seconds": 1}
    run(TRIAL.again(seed=7, fold=0))  # its first weights are others
    assert counted == {"planned": 2, "features_of": 1, "prediction_seconds": 1}
    run(replace(TRIAL, strategy="full"), replace(TRIAL, strategy="full").again(seed=1, fold=0))
    assert counted == {"planned": 3, "features_of": 1, "prediction_seconds": 1}


def test_only_so_many_tables_are_kept(texts: Material, counted: dict[str, int], tmp_path: Path) -> None:
    heads = [HeadSettings("mean"), HeadSettings("mean", 2), HeadSettings("first"), HeadSettings("first", 2)]
    assert len(heads) == KINDS + 1
    made = HeadTrials(texts, runtime=RUNTIME)
    trials = [replace(TRIAL, head=head, settings=replace(SETTINGS, num_train_epochs=1)) for head in heads]
    records = made.run(trials, folder_of=lambda trial: tmp_path / trial.key, watch=Watch())
    assert records.keys() == set(trials)
    assert counted["features_of"] == 4
    for trial, number in ((trials[3], 4), (trials[1], 4), (trials[0], 5), (trials[0], 5)):
        again = made.run([trial], folder_of=lambda trial: tmp_path / trial.key, watch=Watch())
        assert timeless(again[trial]) == timeless(records[trial])
        assert counted["features_of"] == number


def test_a_pooler_that_is_new_with_every_seed_has_a_table_for_each(tmp_path: Path) -> None:
    material = poolerless(tmp_path / "encoder")
    trials = [replace(TRIAL, head=HeadSettings()).again(seed=seed, fold=0) for seed in (0, 1)]
    every = together(material, tmp_path / "together", *trials)
    for trial in trials:
        (alone,) = together(material, tmp_path / "alone", trial).values()
        assert timeless(alone) == timeless(every[trial])


def test_a_model_to_keep_is_the_one_of_the_record(texts: Material, tmp_path: Path) -> None:
    made = HeadTrials(texts, runtime=RUNTIME)
    record = made.run([TRIAL], folder_of=lambda trial: tmp_path / trial.key, watch=Watch())[TRIAL]
    made.run([TRIAL.again(seed=3, fold=0)], folder_of=lambda trial: tmp_path / trial.key, watch=Watch())
    trained = made.train(TRIAL, watch=Watch())
    assert trained is not None
    assert weights_digest(trained.model) == record["weights_sha256"]
    assert trained.state.best_epoch == record["best_epoch"]
    test = texts.splits.test
    counts = texts.counts_of(test, predict(texts, trained, examples=test, runtime=RUNTIME))
    assert record["scores"]["test"]["accuracy"] == float(texts.task.score(counts.sum(0)))


def test_a_run_that_diverged_is_recorded_as_such(texts: Material, tmp_path: Path) -> None:
    material = replace(texts)
    made = HeadTrials(material, runtime=RUNTIME)
    made.run([TRIAL], folder_of=lambda trial: tmp_path / trial.key, watch=Watch())
    table = made._beginnings["head-only", TRIAL.head, 0].kind.table
    table.rows[table.rows_of(material.places(material.fold(0).train[:1])), 0] = float("nan")
    record = made.run([TRIAL], folder_of=lambda trial: tmp_path / trial.key, watch=Watch())[TRIAL]
    assert record["state"] == "diverged"
    assert "the loss became nan at step" in record["diverged"]
    assert record["curve"] == []


def test_progress_goes_over_all_groups_and_a_stop_keeps_what_is_whole(texts: Material, tmp_path: Path) -> None:
    fractions: list[float] = []
    trials = [TRIAL, replace(TRIAL, head=HeadSettings("first"))]
    together(texts, tmp_path / "whole", *trials, watch=Watch(progress=fractions.append))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert any(0.4 < fraction <= 0.5 for fraction in fractions)
    steps = iter(range(1000))
    most = len(fractions) // 2 + 3
    with pytest.raises(Interrupted):
        together(texts, tmp_path / "part", *trials, watch=Watch(stop=lambda: next(steps) == most))
    assert [path.name for path in (tmp_path / "part").iterdir()] == [TRIAL.key]


def test_seconds_are_shared_out(texts: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(np.arange(0.0, 1e6))
    monkeypatch.setattr(head_trials.time, "perf_counter", lambda: float(next(now)))
    trials = [TRIAL, TRIAL.again(seed=0, fold=None), replace(TRIAL, head=HeadSettings("first"))]
    records = together(texts, tmp_path, *trials)
    first, last = 0.0, next(now) - 1
    assert sum(record["seconds"] for record in records.values()) == pytest.approx(last - first, abs=len(trials))
    assert all(record["seconds"] >= record["train_seconds"] > 0 for record in records.values())


def test_the_first_runs_also_pay_for_what_their_heads_read(
    texts: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(np.arange(0.0, 1e6))
    monkeypatch.setattr(head_trials.time, "perf_counter", lambda: float(next(now)))
    made = HeadTrials(texts, runtime=RUNTIME)
    first, again = (
        made.run([TRIAL], folder_of=lambda trial: tmp_path / trial.key, watch=Watch())[TRIAL] for _ in range(2)
    )
    assert first["train_seconds"] > again["train_seconds"]


def test_what_heads_read_starts_from_remembered_states(
    texts: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[Any] = []
    real = head_trials.features_of

    def spied(*args: Any, start: Any, **more: Any) -> Any:
        starts.append(start)
        return real(*args, start=start, **more)

    monkeypatch.setattr(head_trials, "features_of", spied)
    together(texts, tmp_path, TRIAL)
    assert [(start.memory, start.depth) for start in starts] == [(texts.memory, 3)]


def test_the_random_numbers_of_the_process_go_on_where_they_were(texts: Material, tmp_path: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    together(texts, tmp_path, TRIAL)
    assert torch.equal(torch.rand(3), expected)
