"""Floors that need no encoder: what any fine-tuned model must beat before its score means anything.

They learn from training rows alone, see words as strings, and take seconds. A fine-tuned encoder that is not shown to
beat them has found nothing that counting words does not find.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

_STRENGTHS = (1.0, 10.0)
_INNER_FOLDS = 3


def majority_class(train_labels: Sequence[str], n: int) -> list[str]:
    """The most frequent training label, n times over: what a model scores that has not read the text.

    A floor because it uses the class balance and nothing else; on unbalanced data its accuracy looks like skill.

    Args:
        train_labels: labels of the training rows; at least one.
        n: number of predictions.

    Returns:
        n times the same label; of equally frequent ones the first in alphabetical order.

    Raises:
        ValueError: there is no training label.

    Source:
        Rule 0-R: Holte 1993, Very simple classification rules perform well, Machine Learning 11 (the default rule).
    """
    if not train_labels:
        raise ValueError("the most frequent label needs at least one training label; got none")
    frequent = Counter(train_labels)
    return [min(frequent, key=lambda label: (-frequent[label], label))] * n


def chance(classes: int) -> float:
    """The expected accuracy of guessing every class with equal probability, whatever the class balance.

    A floor because it uses no data at all. Named entities have no such figure: a uniform guess over spans finds next to
    none, so it is 0 there, and the caller shows 0.

    Args:
        classes: number of classes, at least one.

    Returns:
        A fraction.

    Raises:
        ValueError: there is no class.

    Source:
        The mean of a Bernoulli variable: each guess is right with probability 1 / classes.
    """
    if classes < 1:
        raise ValueError(f"a guess needs at least one class; got {classes}")
    return 1 / classes


def tfidf_linear(
    train_texts: Sequence[str], train_labels: Sequence[str], *, texts: Sequence[str], seed: int = 0
) -> list[str]:
    """Labels by a linear model on weighted words and word pairs.

    A floor because it knows no language: no order beyond two words, no meaning, nothing learned elsewhere. On many
    labelled texts it is within a few points of a fine-tuned encoder, at a thousandth of the cost. The strength of the
    regularisation is chosen by cross-validation inside the training rows where every class has enough of them.

    Args:
        train_texts: training texts, at least one.
        train_labels: their labels.
        texts: texts to label.
        seed: of the inner folds.

    Returns:
        One label a text, in order.

    Raises:
        ValueError: no training text, or not one label a text.

    Source:
        Wang & Manning 2012, Baselines and bigrams, ACL (linear models on word pairs as the baseline to beat);
        Salton & Buckley 1988, Term-weighting approaches in automatic text retrieval (the weights).
    """
    if not train_texts or len(train_texts) != len(train_labels):
        raise ValueError(f"one label a training text, at least one; got {len(train_texts)} and {len(train_labels)}")
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(token_pattern=r"(?u)\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True)
    try:
        seen = words.fit_transform(train_texts)
    except ValueError:  # no text holds a word or a mark: nothing can be counted
        return majority_class(train_labels, len(texts))
    if len(set(train_labels)) == 1 or not texts:
        return majority_class(train_labels, len(texts))
    model = _strongest(seen, train_labels, seed).fit(seen, list(train_labels))
    return [str(label) for label in model.predict(words.transform(texts))]


def _strongest(features: Any, labels: Sequence[str], seed: int) -> Any:
    """The linear model, unfitted, with the inverse regularisation that inner cross-validation likes best."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    def model(strength: float) -> Any:
        return LogisticRegression(C=strength, max_iter=1000, random_state=seed)

    if min(Counter(labels).values()) < _INNER_FOLDS:
        return model(_STRENGTHS[-1])
    folds = StratifiedKFold(_INNER_FOLDS, shuffle=True, random_state=seed)
    means = [cross_val_score(model(c), features, list(labels), cv=folds).mean() for c in _STRENGTHS]
    return model(_STRENGTHS[means.index(max(means))])


def token_linear(
    train_sentences: Sequence[Sequence[str]],
    train_tags: Sequence[Sequence[str]],
    *,
    sentences: Sequence[Sequence[str]],
    seed: int = 0,
) -> list[tuple[str, ...]]:
    """One tag a word by a linear model on the word, its spelling and its neighbours; every word for itself.

    A floor because it knows no language beyond the training words: names are found by capitals, endings and the words
    beside them. Tags do not see each other; an inside tag that continues nothing becomes O, which is what strict
    scoring makes of it (as beginnings they cost 5 points of strict F1 on WikiGold, .44 to .39).

    Args:
        train_sentences: words of the training sentences, at least one word in all.
        train_tags: one IOB2 tag a word.
        sentences: words of the sentences to tag.
        seed: of the order in which the model sees the words.

    Returns:
        One IOB2 tag a word, sentence by sentence, in order.

    Raises:
        ValueError: no training word, not one tag a word, or tags that are not IOB2.

    Source:
        Ratinov & Roth 2009, Design challenges and misconceptions in named entity recognition, CoNLL (the features);
        Weinberger et al. 2009, Feature hashing for large scale multitask learning, ICML.
    """
    if [len(words) for words in train_sentences] != [len(tags) for tags in train_tags]:
        raise ValueError("token_linear needs one tag a word in every training sentence")
    if any(_well_formed(row) != tuple(row) for row in train_tags):
        raise ValueError(
            "token_linear needs IOB2 tags: an I- tag continues an entity of its kind; got one that does not"
        )
    tags = [tag for row in train_tags for tag in row]
    if not tags:
        raise ValueError("token_linear needs at least one training word; got none")
    to_tag = sum(len(words) for words in sentences)
    if len(set(tags)) == 1 or not to_tag:
        flat = iter(majority_class(tags, to_tag))
    else:
        flat = iter(_tag_words(train_sentences, tags, sentences, seed))
    return [_well_formed([next(flat) for _ in words]) for words in sentences]


def _well_formed(tags: Sequence[str]) -> tuple[str, ...]:
    """IOB2 tags in which every inside tag continues an entity of its kind; the others become O."""
    kept: list[str] = []
    for tag in tags:
        before = kept[-1] if kept else "O"
        kept.append("O" if tag.startswith("I-") and before[2:] != tag[2:] else tag)
    return tuple(kept)


def _tag_words(
    train_sentences: Sequence[Sequence[str]], tags: list[str], sentences: Sequence[Sequence[str]], seed: int
) -> list[str]:
    """Tags of all words of ``sentences``, end to end."""
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import SGDClassifier

    hasher = FeatureHasher(2**18, input_type="string", alternate_sign=False)
    model = SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=12, tol=None, average=True, random_state=seed)
    model.fit(hasher.transform(_all_features(train_sentences)), tags)
    return [str(tag) for tag in model.predict(hasher.transform(_all_features(sentences)))]


def _all_features(sentences: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    for words in sentences:
        padded = ["<s>", "<s>", *words, "</s>", "</s>"]
        for place in range(len(words)):
            yield _features(padded[place : place + 5])


def _features(window: Sequence[str]) -> list[str]:
    """What is seen of the middle of five words: the words, its shape, its beginnings and endings, and pairs."""
    before, word, after = window[1], window[2], window[3]
    lower, shape = word.lower(), _shape(word)
    near = [f"{offset}={other.lower()}" for offset, other in zip("abcde", window, strict=True)]
    shapes = [f"{offset}~{_shape(other)}" for offset, other in zip("bcd", (before, word, after), strict=True)]
    edges = [f"{kind}{size}={part}" for size in (1, 2, 3, 4) for kind, part in _ends(lower, size)]
    pairs = [
        f"bc={before.lower()} {lower}",
        f"cd={lower} {after.lower()}",
        f"~bcd={_shape(before)} {shape} {_shape(after)}",
    ]
    return ["always", f"as written={word}", *near, *shapes, *edges, *pairs]


def _ends(word: str, size: int) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("begins", word[:size]), ("ends", word[-size:])


def _shape(word: str) -> str:
    """Capitals as X, small letters as x, digits as 9, the rest as it is; runs of one kind shortened to two."""
    kinds = ["X" if c.isupper() else "x" if c.isalpha() else "9" if c.isdigit() else c for c in word]
    return "".join(kind for place, kind in enumerate(kinds) if kinds[max(0, place - 2) : place] != [kind, kind])
