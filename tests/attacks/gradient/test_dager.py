"""Tokens and texts from the gradients of a decoder."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dpaudit.attacks.gradient.bag_of_words import BagOfWords
from dpaudit.attacks.gradient.dager import Dager
from dpaudit.attacks.gradient.decoder_arrays import DecoderArrays
from dpaudit.attacks.gradient.defences import Defence
from dpaudit.attacks.gradient.found_texts import FoundTexts
from dpaudit.attacks.gradient.spans import Span
from dpaudit.attacks.gradient.view import Arrays, BatchGradient
from dpaudit.data.text import TextRoles, load_text
from dpaudit.runtime.check import FloatArray
from dpaudit.runtime.errors import AuditFailed, InputError
from dpaudit.training.decoder import Decoder

WIDTH, PLACES, VOCABULARY = 48, 8, 257
NONE = Defence()
Batch = tuple[FloatArray, FloatArray]


@pytest.fixture(scope="module")
def victims() -> Any:
    """A decoder of 48 channels in double precision."""
    pytest.importorskip("tensorflow")
    from dpaudit.attacks.gradient.observed_gradient import text_victims
    from dpaudit.runtime.tensorflow import keras

    keras.utils.set_random_seed(3)
    return text_victims(Decoder(width=WIDTH, layers=2, heads=4)((PLACES,), VOCABULARY))


def send(victims: Any, batch: Batch, defence: Defence = NONE, seed: int = 0) -> BatchGradient:
    from dpaudit.attacks.gradient.observed_gradient import text_gradient

    return text_gradient(victims, *batch, defence=defence, seed=seed)


def random_texts(number: int, *, seed: int) -> Batch:
    """Texts of tokens at random, as long as fits."""
    tokens = np.random.default_rng(seed).integers(0, VOCABULARY - 1, (number, 1 + PLACES))
    tokens[:, 0] = VOCABULARY - 1
    return tokens.astype(np.float64), np.ones((number, PLACES))


def speeches(number: int, *, seed: int) -> Batch:
    """Beginnings of Shakespeare's speeches, some of them shorter than fits."""
    data = load_text("shakespeare", TextRoles(context=PLACES))
    rows = np.random.default_rng(seed).choice(len(data), number, replace=False)
    return data.features[rows].astype(np.float64), data.labels[rows].astype(np.float64)


def texts_in(batch: Batch) -> tuple[tuple[int, ...], ...]:
    """What is to be found, by hand: behind the first token, up to the last that counts."""
    each = {tuple(row[1 : 1 + int(on.sum())].astype(int).tolist()) for row, on in zip(*batch, strict=True)}
    return tuple(sorted(each))


def tokens_in(batch: Batch) -> set[int]:
    """Tokens that the model is given: the last target of a text is only predicted."""
    return {int(token) for row, on in zip(*batch, strict=True) for token in row[: int(on.sum())]}


@pytest.mark.tf
@pytest.mark.parametrize("made", [random_texts, speeches])
@pytest.mark.parametrize("defence", [NONE, Defence(clip=0.01)])
def test_texts_are_exact_up_to_half_the_width(victims: Any, made: Any, defence: Defence) -> None:
    """B(T - 1) = 21 of 48 channels: all three texts and no other, and the bag is the set of tokens; clipped or not."""
    for seed in range(3):
        batch = made(3, seed=seed)
        view = send(victims, batch, defence)
        found = Dager().read(view)
        assert found.texts == texts_in(batch)
        assert set(BagOfWords().read(view).tokens) == set(found.tokens) | {VOCABULARY - 1} == tokens_in(batch)


@pytest.mark.tf
def test_texts_are_exact_almost_up_to_the_width(victims: Any) -> None:
    """B(T - 1) = 42 of 48; with one more text the rank is that of everything, and nothing is said."""
    batch = random_texts(6, seed=4)
    assert Dager().read(send(victims, batch)).texts == texts_in(batch)
    with pytest.raises(AuditFailed, match="rank of the gradient reaches the 48 channels"):
        Dager().read(send(victims, random_texts(7, seed=4)))


@pytest.mark.tf
def test_texts_that_begin_alike_end_early_or_occur_twice(victims: Any) -> None:
    """One text twice, one that goes on where another ends, and one that differs in its last token only."""
    end = VOCABULARY - 1
    rows = [[5, 6, 7, end], [5, 6, 7, end], [5, 6, 7, 8, 9, end], [1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 9]]
    tokens, counted = np.full((len(rows), 1 + PLACES), float(end)), np.zeros((len(rows), PLACES))
    for place, row in enumerate(rows):
        tokens[place, 1 : 1 + len(row)] = row
        counted[place, : len(row)] = 1
    found = Dager().read(send(victims, (tokens, counted)))
    assert found.texts == tuple(sorted({tuple(row) for row in rows}))


@pytest.mark.tf
def test_a_trained_model_and_single_precision_give_the_texts_too(victims: Any) -> None:
    """After ten steps of SGD, and from a gradient rounded to float32, as frameworks send it."""
    batch = speeches(3, seed=9)
    assert Dager().read(_after_steps(victims, batch)).texts == texts_in(batch)
    view = send(victims, batch)
    rounded = tuple(g.astype(np.float32).astype(np.float64) for g in view.gradient)
    assert Dager().read(replace(view, gradient=rounded)).texts == texts_in(batch)


def _after_steps(victims: Any, batch: Batch) -> BatchGradient:
    from dpaudit.attacks.gradient.observed_gradient import LocalSteps, text_update

    before = victims.weights
    update = text_update(victims, *speeches(8, seed=11), LocalSteps(1.0, 10, 8))
    victims.model.set_weights([w + u for w, u in zip(before, update.update, strict=True)])
    try:
        return send(victims, batch)
    finally:
        victims.model.set_weights(before)


@pytest.mark.tf
def test_noise_of_dp_leaves_nothing(victims: Any) -> None:
    """σ = 0.6 at clip norm 1 (ε = 8 in one release): no text of 8 batches, and no more tokens named than noise makes
    (5 % a batch; more than 3 of 8 batches name one with probability 4e-4, seeds fixed)."""
    named = 0
    for seed in range(8):
        view = send(victims, random_texts(1, seed=seed), Defence(clip=1.0, noise_multiplier=0.6), seed)
        with pytest.raises(AuditFailed, match="DAGER"):
            Dager().read(view)
        named += bool(BagOfWords().read(view).tokens)
    assert named <= 3


@pytest.mark.tf
def test_updates_of_clients(victims: Any) -> None:
    """One local step is a gradient: the texts are exact. After three with other batches they are not, and nothing is
    said of texts; the bag is exact after any number of steps of SGD."""
    from dpaudit.attacks.gradient.observed_gradient import LocalSteps, text_update

    batch = speeches(3, seed=5)
    assert Dager().read(text_update(victims, *batch, LocalSteps(0.5, 1, 3))).texts == texts_in(batch)
    several = text_update(victims, *batch, LocalSteps(0.5, 1, 1))
    assert several.steps == 3
    with pytest.raises(AuditFailed, match="DAGER"):
        Dager().read(several)
    assert set(BagOfWords().read(several).tokens) == tokens_in(batch)


@pytest.mark.tf
def test_a_frozen_embedding_hides_the_bag_and_no_text(victims: Any) -> None:
    """Without a gradient of the embedding every token of the vocabulary is tried, and the texts are the same."""
    batch = speeches(2, seed=6)
    view = send(victims, batch)
    frozen = (np.zeros_like(view.gradient[0]), *view.gradient[1:])
    assert Dager().read(replace(view, gradient=frozen)).texts == texts_in(batch)


@pytest.mark.tf
def test_a_tied_embedding_has_no_row_of_zeros(victims: Any) -> None:
    """By the chain rule a tied table has the sum of both gradients, and the head's part is nowhere zero: refused."""
    view = send(victims, speeches(2, seed=7))
    tied = view.gradient[0] + view.gradient[-2].T
    assert np.square(tied).sum(1).all()
    with pytest.raises(AuditFailed, match="tied to the head"):
        BagOfWords().read(BatchGradient((view.weights[0],), (tied,)))


@pytest.mark.tf
def test_the_forward_pass_is_that_of_keras(victims: Any) -> None:
    """Logits from the arrays equal the model's own; Keras' GELU rounds a root of 2 to single precision."""
    tokens, _ = random_texts(4, seed=8)
    arrays = DecoderArrays.of(victims.weights)
    logits = arrays.head_input(tokens[:, :-1]) @ arrays.head + arrays.head_bias
    np.testing.assert_allclose(logits, victims.model(tokens[:, :-1]).numpy(), atol=1e-6)


def test_the_distance_from_a_span_is_that_of_least_squares() -> None:
    """Brute force: the residual of the best fit by the layer's true inputs, over the length of the vector."""
    rng = np.random.default_rng(0)
    inputs, slopes = rng.normal(size=(5, 12)), rng.normal(size=(5, 9))
    span = Span.of([inputs.T @ slopes], [slopes.sum(0)])
    assert span.rank == 5
    basis = np.column_stack([inputs, np.ones(5)]).T
    others = rng.normal(size=(20, 12))
    for vector, distance in zip(others, span.distances(others), strict=True):
        longer = np.append(vector, 1.0)
        fit, *_ = np.linalg.lstsq(basis, longer, rcond=None)
        assert distance == pytest.approx(np.linalg.norm(longer - basis @ fit) / np.linalg.norm(longer), abs=1e-9)
    assert span.contains(inputs).all()
    assert not span.contains(others).any()


def test_the_bag_is_the_rows_that_are_not_zero_and_above_published_noise() -> None:
    """Without noise any row; with noise of 0.1 a row of length 5 and not one as long as noise is."""
    table = np.zeros((50, 16))
    table[[3, 7]] = [[1e-9] * 16, [5.0] + [0.0] * 15]
    weights: Arrays = (np.ones((50, 16)),)
    assert BagOfWords().read(BatchGradient(weights, (table,))).tokens == (3, 7)
    noisy = table + np.random.default_rng(0).normal(0, 0.1, table.shape)
    assert BagOfWords().read(BatchGradient(weights, (noisy,), noise=0.1)).tokens == (7,)


def test_what_is_no_decoder_is_refused() -> None:
    """Other arrays, an embedding that is no table, and a first token that is none: one line."""
    weights: Arrays = (np.ones((4, 2)), np.ones(2))
    with pytest.raises(InputError, match='architecture "decoder"'):
        Dager().read(BatchGradient(weights, weights))
    with pytest.raises(InputError, match="embedding 1 is no table"):
        BagOfWords(embedding=1).read(BatchGradient(weights, weights))
    assert FoundTexts.of([]).texts == ()
