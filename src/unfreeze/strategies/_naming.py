"""Ways of fine-tuning by what a user writes: a registered strategy with its settings, or a file of stages."""

from unfreeze.strategies import _base, _describing
from unfreeze.strategies._base import Strategy
from unfreeze.strategies._describing import Description
from unfreeze.strategies._schedules import Schedule, is_schedule, read_schedule


def strategy_named(spelling: str) -> Strategy:
    """The strategy that a user spells ``name``, ``name:setting=value,setting=value``, or as the path of a TOML file.

    Raises:
        UnknownName: no strategy, or no setting of it, has that name.
        SettingsError: a value is of the wrong type, or a file of stages says what cannot be.
    """
    if is_schedule(spelling):
        return read_schedule(spelling)  # type: ignore[return-value]  # what others have as a class, it has of its own
    return _base.strategy_named(spelling)


def spelling_of(strategy: Strategy) -> str:
    """How a user would spell this strategy: its name, and the settings that are not the default ones."""
    return strategy.name if isinstance(strategy, Schedule) else _base.spelling_of(strategy)


def description_of(name: str) -> Description:
    """What the file of a strategy says of it; parts that it does not have are empty."""
    if not is_schedule(name):
        return _describing.description_of(name)
    path = name.rpartition("@")[0] or name
    what = f"The stages of {path}; what follows the @ marks their content."
    return Description(read_schedule(name).summary or what, what, f"the user's own file {path}", "", "", "", ())
