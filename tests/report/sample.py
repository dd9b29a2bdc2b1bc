"""Records as a comparison writes them, made up: figures that hang together, every verdict, every oddity."""

import copy

from unfreeze.recommend import Cheapest, Comparison, Recommendation, RestsOn, as_dict
from unfreeze.recommend.wording import sentences

SPLITS = "Made here (seed 0): 20\u00a0% test (200 rows); one stratified validation split; equal texts lie on one side."
SENTIMENT = ("negative", "positive")
ENTITIES = ("art", "building", "event", "location", "other", "organization", "person", "product", "time", "work")

# Name, number, score, test, seconds of a run, trainable parameters, summary
WAYS = (
    ("full", 1, 0.831, 0.824, 55.2, 22_713_986, "Train everything from the start."),
    ("gradual", 3, 0.818, 0.815, 51.7, 22_713_986, "Train the head first, then layer by layer, from the top."),
    ("last-k", 2, 0.803, 0.806, 21.4, 3_550_850, "Train the last layers; the rest stays frozen."),
    ("head-only", 4, 0.771, 0.765, 2.31, 770, "Train the head alone on a frozen encoder."),
)
FLOORS = (
    ("scratch", 5, 0.645, 0.65, 60.3, 22_713_986, "Train everything from random weights."),
    ("untouched", None, 0.712, 0.72, 0.4, 0, "Nearest class mean on the untouched encoder."),
    ("TF-IDF + linear", None, 0.724, 0.73, 0.31, None, "Needs no encoder."),
    ("majority class", None, 0.5, 0.5, 0.0, None, "Needs no encoder."),
)


def _curve(seed, fold, score, epochs):
    points = []
    for epoch in range(1, epochs + 1):
        reached = score - (score - 0.5) * 0.45**epoch + 0.004 * ((seed + epoch) % 3 - 1)
        points.append(
            {"epoch": epoch, "step": 40 * epoch, "train_loss": 0.7 / epoch, "validation_loss": 0.5, "score": reached}
        )
    return {"seed": seed, "fold": fold, "points": points}


def _tuning(score, rates):
    tries = [(place, rate, pooling) for place, rate in enumerate(rates) for pooling in ("standard", "mean")]
    usual = {"layers": 1, "num_train_epochs": 8}
    return [{"learning_rate": r, "pooling": p, **usual, "score": score - 0.01 * n} for n, r, p in tries]


def arm(way, *, floor=False, seeds=3, folds=1, metric="accuracy", types=()):
    name, number, score, test, seconds, parameters, summary = way
    learns = name in ("full", "gradual", "last-k", "head-only", "scratch")
    rates = (1e-3, 3e-4, 3e-3) if name == "head-only" else (2e-5, 5e-5, 1.2e-4)
    second = {"precision": score + 0.01, "recall": score - 0.01} if types else {"macro_f1": score - 0.01}
    encoder = parameters is not None
    return {
        "name": name,
        "number": number,
        "summary": summary,
        "source": "Devlin et al. 2019, arXiv:1810.04805, section 4" if learns else "",
        "floor": floor,
        "state": "done",
        "reason": "",
        "starved": None,
        "settings": {"learning_rate": rates[0], "pooling": "standard", "layers": 1, "num_train_epochs": 8}
        if learns
        else None,
        "score": score,
        "interval": [max(0.0, score - 0.026), score + 0.025],
        "interval_basis": "bootstrap over 800 examples",
        "scores": [[score + 0.006 * (s - 1)] * folds for s in range(seeds)],
        "details": {metric: score, **second, **{f"F1 {kind}": score for kind in types}},
        "test": {"mean": test, "runs": [test] * seeds},
        "train_seconds": seconds,
        "total_seconds": seconds * (seeds * folds + 3),
        "trainable_parameters": parameters,
        "stored_bytes": max(4 * parameters, 3100) if encoder else None,
        "predict_seconds_per_1000": 3.1 if encoder else None,
        "tuning": _tuning(score, rates) if learns else [],
        "curves": [_curve(s, f, score, 8) for s in range(seeds) for f in range(folds)] if learns else [],
        "collapsed_runs": 0,
        "diverged_runs": 0,
        "short_memory_runs": 0,
        "runs": seeds * folds,
    }


def absent(name, state, reason):
    empty = ("settings", "score", "interval", "test", "train_seconds", "total_seconds", "predict_seconds_per_1000")
    row = arm((name, None, 0.5, 0.5, 1.0, 1, "Stands for an arm that did not finish."))
    row |= dict.fromkeys((*empty, "trainable_parameters", "stored_bytes"))
    return row | {
        "scores": [],
        "details": {},
        "tuning": [],
        "curves": [],
        "runs": 0,
        "interval_basis": "",
        "state": state,
        "reason": reason,
    }


def comparison(rival, difference, half, verdict, *, level=0.983, note="", needed=None):
    interval = _interval(difference - half, difference + half, level)
    return Comparison(rival, difference, interval, 0.01, verdict, needed, note)


def _interval(low, high, level):
    from unfreeze.compare.intervals import Interval

    return Interval(low, high, level, "over runs and examples")


def advice(arms, verdict, rivals, *, chosen, seeds=3, folds=1, metric="accuracy", **more):
    scored = sorted((a for a in arms if a["score"] is not None), key=lambda a: -a["score"])
    best = next(a for a in scored if not a["floor"])
    floors = tuple(
        comparison(a["name"], best["score"] - a["score"], 0.03, "better", level=0.9875) for a in scored if a["floor"]
    )
    made = Recommendation(
        verdict=verdict,
        metric=metric,
        margin=0.01,
        best=best["name"],
        chosen=chosen,
        scores=tuple((a["name"], a["score"]) for a in scored),
        rivals=tuple(rivals),
        floors=floors,
        floors_not_worse=tuple(pair.rival for pair in floors if pair.interval.low <= 0),
        starved=tuple((a["name"], a["starved"]) for a in arms if a["starved"]),
        dropped=tuple((a["name"], a["reason"]) for a in arms if a["state"] != "done"),
        rests_on=RestsOn(seeds, folds, 800, 0),
        **more,
    )
    return as_dict(Recommendation(**{f: getattr(made, f) for f in made.__slots__} | {"sentences": sentences(made)}))


def data(folds, labels):
    return {
        "sources": {"file": "reviews.csv", "train": None},
        "rows": {"all": 1000, "train": 640, "validation": 160, "test": 200},
        "folds": folds,
        "splits": SPLITS,
        "labels": list(labels),
        "strata": {label: 1000 // len(labels) for label in labels},
        "tokens": {"median": 27, "p95": 60, "max": 130},
        "window": 512,
        "counts": [
            {"what": "texts cut at 512 tokens", "number": 2, "of": 1000, "rows": [17, 90]},
            {"what": "rows with an empty text were dropped", "number": 25, "of": 1027, "rows": list(range(2, 22))},
        ],
        "says": ["classification: texts from column 'text', labels from column 'label'", SPLITS],
        "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    }


def handed_over(name, *, ner):
    kind = "Token" if ner else "Sequence"
    test = {"strict entity F1": 0.62, "precision": 0.6, "recall": 0.64} if ner else {"accuracy": 0.82, "macro_f1": 0.81}
    return {
        "name": name,
        "folder": "model",
        "loads_with": f'transformers.AutoModelFor{kind}Classification.from_pretrained("model")',
        "epochs": 4,
        "test": test,
        "test_interval": [0.77, 0.87],
        "reload_check": {"equal": True, "largest_difference": 0.0},
    }


def record(arms, recommendation, *, seeds=3, folds=1, metric="accuracy", labels=SENTIMENT):
    ner = metric != "accuracy"
    chosen = recommendation["chosen"]
    return {
        "format": 1,
        "unfreeze": "0.1.0",
        "created": "2026-11-21T10:00:00+00:00",
        "command": "unfreeze compare reviews.csv --budget 15m",
        "data": data(folds, labels),
        "task": "ner" if ner else "classification",
        "metric": metric,
        "encoder": {
            "name": "embedded: all-MiniLM-L6-v2",
            "hub_id": "sentence-transformers/all-MiniLM-L6-v2",
            "family": "bert",
            "digest": "53aa51172d142c89d9012cce15ae4d6c",
            "window": 512,
            "layers": 6,
            "parameters": 22_713_216,
        },
        "settings": {
            "seeds": seeds,
            "folds": folds,
            "tuning": 3,
            "margin": 0.01,
            "budget_seconds": 900.0,
            "prefer": "score",
            "seed": 0,
            "strategies": ["full", "last-k"],
            "task": None,
        },
        "runtime": {"device": "cpu", "threads": 2, "precision": "bf16-autocast"},
        "versions": {"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0"},
        "plan": {"total_seconds": 800.0, "arms": []},
        "arms": arms,
        "recommendation": recommendation,
        "handed_over": chosen and handed_over(chosen, ner=ner),
        "seconds": 780.0,
    }


def all_arms(**more):
    return [*(arm(way, **more) for way in WAYS), *(arm(way, floor=True, **more) for way in FLOORS)]


def better():
    arms = all_arms()
    pairs = [comparison(a["name"], 0.831 - a["score"], 0.006, "better") for a in arms[1:4]]
    return record(arms, advice(arms, "better", pairs, chosen="full"))


def tie():
    arms = all_arms(seeds=1, folds=5)
    pairs = [comparison("gradual", 0.003, 0.005, "tie"), comparison("last-k", 0.004, 0.005, "tie")]
    arms[1]["score"], arms[2]["score"] = 0.828, 0.827
    pairs.append(comparison("head-only", 0.06, 0.02, "better"))
    made = advice(arms, "tie", pairs, chosen="last-k", seeds=1, folds=5, cheapest=Cheapest("last-k", 0.009))
    return record(arms, made, seeds=1, folds=5)


def not_settled():
    arms = all_arms()
    arms[3] |= {"starved": "its best learning rate is the highest tried", "collapsed_runs": 1, "short_memory_runs": 1}
    arms.append(absent("lora", "dropped", "does not fit the budget"))
    arms.append(absent("adapter", "failed", "the loss was not finite in every run"))
    pairs = [
        comparison("gradual", 0.013, 0.02, "not settled", needed=4200),
        comparison("last-k", 0.028, 0.02, "better"),
        comparison("head-only", 0.06, 0.02, "not settled", note="head-only is starved: its best rate is the highest"),
    ]
    more = {"cheapest": Cheapest("gradual", 0.033), "examples_needed": 4200}
    made = record(arms, advice(arms, "not settled", pairs, chosen="full", **more))
    made["handed_over"]["loads_with"] = "import unfreeze.encoders.pooled; " + made["handed_over"]["loads_with"]
    return made


def floor_wins():
    arms = all_arms()
    arms[6] |= {"score": 0.84, "interval": [0.81, 0.866]}
    pairs = [comparison(a["name"], 0.831 - a["score"], 0.006, "better") for a in arms[1:4]]
    return record(arms, advice(arms, "better", pairs, chosen="full"))


def one_run():
    arms = all_arms(seeds=1)
    note = "one run cannot show training noise"
    pairs = [comparison(a["name"], 0.831 - a["score"], 0.02, "not settled", note=note) for a in arms[1:4]]
    more = {"seeds": 1, "cheapest": Cheapest("head-only", 0.08)}
    made = record(arms, advice(arms, "not settled", pairs, chosen="full", **more), seeds=1)
    made["handed_over"] |= {"test": None, "test_interval": None, "reload_check": None}
    return made


def ner():
    metric = "strict entity F1"
    more = {"metric": metric, "types": ENTITIES}
    arms = [arm((n, k, s - 0.2, t - 0.2, *rest), **more) for n, k, s, t, *rest in WAYS]
    arms += [arm((n, k, s - 0.5, t - 0.5, *rest), floor=True, **more) for n, k, s, t, *rest in FLOORS]
    for row in arms[-2:]:
        row |= {"trainable_parameters": None, "interval": [row["score"], row["score"] + 0.02]}
    pairs = [comparison(a["name"], 0.631 - a["score"], 0.006, "better") for a in arms[1:4]]
    tags = ("O", *(f"{side}-{kind}" for kind in ENTITIES for side in "BI"))
    made = record(arms, advice(arms, "better", pairs, chosen="full", metric=metric), metric=metric, labels=tags)
    made["data"]["strata"] = {kind: 120 for kind in ENTITIES}
    return made


def long_names():
    made = better()
    long = "a-strategy-from-elsewhere:with_a_setting=0.000123,and_another_setting=some_long_value"
    made["arms"][1]["name"] = made["recommendation"]["rivals"][0]["rival"] = long
    made["data"]["labels"] = [f"a label of many words, number {n}, as found in a taxonomy of goods" for n in range(30)]
    made["data"]["labels"].append("Grundstücksverkehrsgenehmigungszuständigkeitsübertragungsverordnung" * 3)
    made["data"]["sources"]["file"] = "/a/very/long/path/" * 12 + "reviews.csv"
    made["encoder"]["name"] = "someone-with-a-long-name/a-model-with-an-even-longer-name-v3-base-uncased-2026"
    return made


def nothing_handed_over():
    made = better()
    names = ("full", "gradual", "last-k", "head-only")
    made["arms"] = [absent(n, "failed", "the loss was not finite") for n in names] + made["arms"][4:]
    empty = Recommendation("no arm", "accuracy", 0.01, None, None, dropped=tuple((n, "diverged") for n in names))
    made["recommendation"] = as_dict(empty) | {"sentences": list(sentences(empty))}
    made["handed_over"] = None
    return made


VARIANTS = (better, tie, not_settled, floor_wins, one_run, ner, long_names, nothing_handed_over)


def poisoned(payload):
    """A record with a payload in every text that a user, a file or a third party decides."""
    made = copy.deepcopy(not_settled())
    renamed = {a["name"]: f"{a['name']}{payload}" for a in made["arms"]}

    def swap(value):
        if isinstance(value, str):
            return renamed.get(value, value + payload)
        if isinstance(value, dict):
            return {key: swap(item) for key, item in value.items()}
        return [swap(item) for item in value] if isinstance(value, list) else value

    kept = {"task": made["task"], "recommendation": swap(made["recommendation"])}
    kept["recommendation"]["verdict"] = made["recommendation"]["verdict"]
    for pair in (*kept["recommendation"]["rivals"], *kept["recommendation"]["floors"]):
        pair["verdict"] = pair["verdict"].removesuffix(payload)
    out = {key: kept.get(key, swap(value)) for key, value in made.items()}
    for changed, row in zip(out["arms"], made["arms"], strict=True):
        changed["state"] = row["state"]
        if changed["settings"]:
            changed["settings"] = {f"{key}{payload}": value for key, value in changed["settings"].items()}
    out["data"]["strata"] = {f"{key}{payload}": number for key, number in out["data"]["strata"].items()}
    out["handed_over"]["test"] = {f"{key}{payload}": value for key, value in out["handed_over"]["test"].items()}
    return out
