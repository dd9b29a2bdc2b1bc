"""Every error of ours survives the way from one process to another, word for word."""

import pickle

import pytest

from unfreeze import errors
from unfreeze.errors import DataError, MissingExtra, Problem, UnfreezeError, UnknownName

ODD = {
    DataError: DataError([Problem("a.csv", 3, "no label"), Problem("a.csv", 5, "no text")], "Mend them."),
    MissingExtra: MissingExtra("demo", "for the embedded encoder"),
    UnknownName: UnknownName("strategy", "ful", ["full", "gradual"]),
}
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UnfreezeError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_when_it_was_sent(kind):
    error = ODD[kind] if kind in ODD else kind("what happened")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))
    assert again.exit_code == error.exit_code
