"""What arms need of the memory, and what is left out where it is short."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import unfreeze
from rows import opinions
from unfreeze.compare import memory, planning
from unfreeze.compare.arms import make_arms
from unfreeze.compare.material import LIMIT_BYTES, Material, Sources, limit_within, prepare
from unfreeze.compare.memory import Gauge, Peaks, Room, as_option, needs
from unfreeze.compare.numerals import sized
from unfreeze.compare.pricing import FORWARD, Speed, measure_speed, outline_of, price_of_trial, with_own_outline
from unfreeze.encoders.head_settings import HeadSettings
from unfreeze.encoders.loading import load_encoder
from unfreeze.engine import machine
from unfreeze.engine.runtime import Runtime
from unfreeze.errors import SettingsError
from unfreeze.tasks import Columns

RUNTIME = Runtime("cpu", 1, "fp32")
PEAKS = Peaks(before=1_000_000, still=3_000_000, tried=4_000_000, stepping=9_000_000)
NAMES = ("full", "last-k:k=1", "head-only", "untouched")


@pytest.fixture(scope="module")
def material(tiny_encoder_dir: Path) -> Material:
    import pandas as pd

    frame = pd.DataFrame(opinions(60))
    return prepare(Sources(frame), load_encoder(str(tiny_encoder_dir)), columns=Columns(None, None, None))


@pytest.fixture(scope="module")
def arms(material: Material) -> Any:
    return make_arms(NAMES, material, tuning=1, search="grid", trials=None, overrides={}, seed=0)


def test_the_calibration_notes_the_memory_of_each_of_its_parts(material: Material, arms: Any) -> None:
    peaks = measure_speed(material, arms[0], runtime=RUNTIME).peaks
    assert peaks is not None
    assert 10_000_000 < peaks.before <= peaks.still
    assert peaks.before < 100_000_000_000, "kibibytes are not taken for bytes"
    assert min(peaks.tried, peaks.stepping) > 10_000_000


def test_a_gauge_forgets_the_parts_before(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, forgotten = iter([700, 500]), []
    monkeypatch.setattr(machine, "peak_memory", lambda: next(sizes))
    monkeypatch.setattr(machine, "resident_memory", lambda: 300)
    monkeypatch.setattr(machine, "forget_peak", lambda: forgotten.append(True))
    gauge = Gauge()
    assert (gauge.before, gauge.part(), gauge.part()) == (300, 700, 500)
    assert len(forgotten) == 3


def test_where_the_system_says_nothing_nothing_is_known(
    material: Material, arms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "resident_memory", lambda: None)
    monkeypatch.setattr(machine, "peak_memory", lambda: None)
    assert measure_speed(material, arms[0], runtime=RUNTIME).peaks is None


def test_more_that_learns_needs_more(material: Material, arms: Any) -> None:
    outline = outline_of(material, arms[0], runtime=RUNTIME)
    found = needs(arms, material, outline=outline, peaks=PEAKS)
    assert found["full"] > found["last-k:k=1"] > found["head-only"]
    assert found["last-k:k=1"] > PEAKS.tried


def test_an_arm_alone_needs_what_the_docstring_says(material: Material, arms: Any) -> None:
    outline = outline_of(material, arms[0], runtime=RUNTIME)
    every = outline.size(outline.names)
    found = needs(arms[:1], material, outline=outline, peaks=PEAKS)
    assert found == {"full": PEAKS.stepping + 12 * every}, "all activations, and every weight's gradient and moments"
    untouched = needs(arms[3:], material, outline=outline, peaks=PEAKS)
    assert untouched == {"untouched": PEAKS.still}
    last = next(arm for arm in arms if arm.name.startswith("last-k"))
    tried = replace(PEAKS, tried=20_000_000)
    learned = outline.size(last.strategy.plan(outline).ever_trainable)
    assert needs([last], material, outline=outline, peaks=tried) == {last.name: 20_000_000 + 12 * learned}


@pytest.mark.parametrize("search", ["grid", "random"])
@pytest.mark.parametrize("value", ["pretrained", ["zero", "pretrained"]])
def test_where_weights_decay_towards_their_start_that_lies_in_memory_too(
    material: Material, arms: Any, search: str, value: Any
) -> None:
    outline = outline_of(material, arms[0], runtime=RUNTIME)
    overrides = {"weight_decay_towards": value}
    names = ("full", "scratch", "head-only")
    others = make_arms(names, material, tuning=1, search=search, trials=4, overrides=overrides, seed=0)
    usual = make_arms(names, material, tuning=1, search=search, trials=4, overrides={}, seed=0)
    more = needs(others, material, outline=outline, peaks=PEAKS)
    plain = needs(usual, material, outline=outline, peaks=PEAKS)
    kept = outline.size(set(outline.encoder) - set(outline.embeddings))
    assert {name: more[name] - plain[name] for name in names} == {"full": 4 * kept, "scratch": 0, "head-only": 0}


def test_what_head_only_trials_keep_lies_beside_the_other_arms(material: Material, arms: Any) -> None:
    outline = outline_of(material, arms[0], runtime=RUNTIME)
    head = next(arm for arm in arms if arm.name == "head-only")
    kinds = min(memory.KINDS, len(head.heads))
    table = 4 * len(material.features) * material.encoder.config.hidden_size
    alone = needs([arms[0]], material, outline=outline, peaks=PEAKS)["full"]
    both = needs([arms[0], head], material, outline=outline, peaks=PEAKS)["full"]
    assert both - alone == kinds * (4 * outline.size(outline.names) + table)


def room(limit: int | None, *, given: bool = True) -> Room:
    return Room(limit, given, 400_000_000, {"full": 3_100_000_000, "last-k": 1_500_000_000, "head-only": 700_000_000})


def test_what_does_not_fit_is_named_with_what_it_needs() -> None:
    assert room(2_000_000_000).too_large == {"full": "needs about 3.1 GB, and 2 GB are given"}
    assert room(2_000_000_000, given=False).too_large == {"full": "needs about 3.1 GB, and 2 GB are free"}
    assert room(3_100_000_000).too_large == room(None).too_large == {}


def test_processes_are_as_many_as_fit_beside_the_one_that_leads() -> None:
    assert room(10_000_000_000).processes == 3
    assert room(3_400_000_000).processes == 1
    assert room(2_000_000_000).processes == 1, "of the dearest that is left"
    assert room(1_000_000).processes == 1, "also where nothing fits"
    assert room(None).processes is None
    assert Room(8_000_000_000, True, 0, {}).processes is None


def test_where_no_two_fit_it_is_said_what_would_do(material: Material, arms: Any) -> None:
    short = Room(1_000_000_000, True, 0, {arm.name: (4 - n) * 700_000_000 for n, arm in enumerate(arms)})
    assert [arm.name for arm in replace(short, limit=2_200_000_000).fitting(arms)] == [a.name for a in arms[1:]]
    with pytest.raises(SettingsError, match="1 GB of memory as given are too little for two ways") as error:
        short.fitting(arms)
    least, every = re.findall(r"(\d+MB) would do for the smallest, (\d+MB) for all", str(error.value))[0]
    rivals = [arm for arm in arms if not arm.strategy.search.floor]
    enough = replace(short, limit=int(least[:-2]) * 1_000_000)
    assert sum(arm in rivals for arm in enough.fitting(arms)) == 2
    assert replace(short, limit=int(every[:-2]) * 1_000_000).fitting(arms) == list(arms)
    one = Room(1_000_000_000, True, 0, {arms[0].name: 2_000_000_000})
    with pytest.raises(SettingsError, match="too little for this way of fine-tuning"):
        one.fitting(arms[:1])


@pytest.mark.parametrize(
    ("number", "words"), [(3_100_000_000, "3.1 GB"), (2_000_000_000, "2 GB"), (850_200_000, "850 MB")]
)
def test_sizes_are_said_as_people_say_them(number: int, words: str) -> None:
    assert sized(number) == words


def test_a_size_to_type_holds_the_bytes() -> None:
    assert as_option(1_000_000_000) == "1100MB"
    assert as_option(1) == "100MB"


def test_hidden_states_in_memory_take_no_more_than_a_share() -> None:
    assert limit_within(800) == 100
    assert limit_within(10**15) == LIMIT_BYTES


def test_a_comparison_leaves_out_by_name_what_does_not_fit(
    tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd

    def measured(material: Material, arm: Any, *, runtime: Runtime) -> Speed:
        outline = outline_of(material, arm, runtime=runtime)
        return Speed(1e-6, 3e-6, outline, Peaks(10_000_000, 20_000_000, 25_000_000, 900_000_000))

    monkeypatch.setattr(planning, "measure_speed", measured)
    options: dict[str, Any] = {"strategies": ("full", "last-k:k=1", "head-only"), "folds": 1, "seeds": 1, "tuning": 1}
    options |= {"settings": {"num_train_epochs": 1}, "model": str(tiny_encoder_dir), "budget": None, "threads": 1}
    frame = pd.DataFrame(opinions(60))
    with pytest.raises(SettingsError, match=r"--memory \d+MB would do for the smallest"):
        unfreeze.compare(frame, **options, memory="15MB", output_dir=tmp_path / "short")
    made = unfreeze.compare(frame, **options, memory="800MB", output_dir=tmp_path / "out")
    states = {row["name"]: (row["state"], row["reason"]) for row in made.record["arms"] if row["name"] in NAMES}
    assert states["full"][0] == "dropped"
    assert re.fullmatch(r"needs about \d+ MB, and 800 MB are given", states["full"][1])
    assert states["last-k:k=1"][0] == states["head-only"][0] == "done"
    plan = made.record["plan"]
    assert plan["memory_bytes"] == 800_000_000
    assert {row["name"]: row["peak_bytes"] > 800_000_000 for row in plan["arms"]} == {
        "full": True,
        "last-k:k=1": False,
        "head-only": False,
    }
    again = unfreeze.compare(frame, **options, memory="2GB", output_dir=tmp_path / "out")
    assert {row["state"] for row in again.record["plan"]["arms"] if not row["kept"]} == set()


def test_a_head_that_is_more_than_linear_needs_memory_and_time_for_itself(material: Material, arms: Any) -> None:
    outline, linear = outline_of(material, arms[0], runtime=RUNTIME), next(a for a in arms if a.name == "head-only")
    deep = replace(linear, heads=(*linear.heads, HeadSettings("mean", 2, network="mlp")))
    weights = deep.heads[-1].network_weights(material.encoder.config.hidden_size)
    found = [needs([arm], material, outline=outline, peaks=PEAKS)["head-only"] for arm in (linear, deep)]
    assert found[1] - found[0] == (4 + 12 + 12) * weights
    speed = Speed(1e-4, 1e-3, outline)
    prices = [price_of_trial(replace(linear, heads=(head,)), material, speed=speed) for head in deep.heads[1:]]
    assert prices[:-1] == [prices[0]] * (len(prices) - 1), "linear heads are trained together"
    assert prices[-1] > prices[0]
    mean = price_of_trial(replace(linear, heads=deep.heads[-2:]), material, speed=speed)
    assert mean == pytest.approx((prices[-2] + prices[-1]) / 2)


def test_layers_that_have_learned_and_are_frozen_again_are_priced_as_run_forward(material: Material) -> None:
    names = ["full", "contrastive:until=0.5", "lp-ft:probe=0.5"]
    arms = make_arms(names, material, tuning=1, overrides={"num_train_epochs": 4}, seed=0)
    speed = Speed(1e-4, 1e-3, outline_of(material, arms[0], runtime=RUNTIME))
    full, pairs, probing = (
        next(price_of_trial(arm, material, speed=speed) for arm in arms if arm.name.startswith(name[:4]))
        for name in names
    )
    # Half of both is spent on the head alone; of lp-ft's encoder the states are remembered, of the other's none can be.
    assert (full - pairs) / (full - probing) == pytest.approx(1 - FORWARD)


def test_a_way_that_adds_modules_is_priced_by_what_it_adds(material: Material) -> None:
    arms = make_arms(["bitfit", "adapters", "head-only"], material, tuning=1, overrides={}, seed=0)
    outline = outline_of(material, arms[0], runtime=RUNTIME)
    known = {a.name: with_own_outline(a, material, runtime=RUNTIME) for a in arms}
    assert known["bitfit"].own_outline is None
    adapters = known["adapters"]
    assert len(adapters.plan(outline).ever_trainable) > len(outline.head)
    assert adapters.outline(outline).size(adapters.outline(outline).names) > outline.size(outline.names)
    speed = Speed(1e-4, 1e-3, outline)
    prices = {name: price_of_trial(arm, material, speed=speed) / arm.longest for name, arm in known.items()}
    assert prices["adapters"] == pytest.approx(prices["bitfit"], rel=0.05), "no layer is spared"
    assert prices["head-only"] < prices["adapters"] / 2
    found = needs(list(known.values()), material, outline=outline, peaks=PEAKS)
    assert found["adapters"] > found["head-only"]
