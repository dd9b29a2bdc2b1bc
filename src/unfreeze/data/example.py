"""One labelled text, whatever file it came from."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled text.

    Attributes:
        text: what the user wrote; for words without a text of their own, the words joined by spaces.
        target: what is to be predicted: a label for classification, one IOB2 tag a word for named entities,
            None where it is unknown.
        words: the words of the text where the task labels words, else empty.
        offsets: start and end of each word in ``text``, in characters.
        file: where it came from, as the user wrote it.
        line: 1-based line in that file.
        row: 0-based row among that file's rows; several rows may share a line.
        group: rows of one group never lie on both sides of a split; None where rows stand alone.
        document: which of a file's documents it is from, where the file marks them; rows of one document are no
            independent evidence, but may lie on both sides of a split.
    """

    text: str
    target: str | tuple[str, ...] | None
    words: tuple[str, ...] = ()
    offsets: tuple[tuple[int, int], ...] = ()
    file: str = ""
    line: int = 0
    row: int = 0
    group: str | None = None
    document: str | None = None
