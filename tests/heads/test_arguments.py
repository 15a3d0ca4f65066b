"""What heads say to arguments that do not fit, on every way that leads through a core."""

import numpy as np
import pytest
import torch

from memrl.heads import Batch, Classifier, NextToken, StoryAnswer, Tagger

from .toys import BOTH_WAYS, HEADS, LENGTHS, ROWS, STEPS, WIDTH, embedding, small_core, tokens


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Tagger("dnc", 3), "core: str given, a built core needed"),
        (lambda: Tagger(small_core("gru"), 0), "0 outputs given, at least 1"),
        (lambda: NextToken(small_core("gru"), 5).generate(torch.zeros(0, 1, dtype=torch.long), 1), "prompt: 0 steps"),
        (lambda: NextToken(small_core("gru"), 5).generate(torch.zeros(1, 1, dtype=torch.long), 1, 0.0), "temperature"),
    ],
    ids=["core", "outputs", "prompt", "temperature"],
)
def test_what_does_not_fit_is_said(call, says):
    with pytest.raises(ValueError, match=says):
        call()


WRONG_LENGTHS = {
    "too_long": (torch.tensor([9, 1, 1]), "1 to 9 given, 1 to 5 allowed"),
    "too_short": (torch.tensor([0, 1, 1]), "0 to 1 given, 1 to 5 allowed"),
    "floats": (torch.tensor([5.0, 1.0, 1.0]), r"torch.float32 \(3,\) given, a tensor of whole numbers \(3,\) needed"),
    "bools": (torch.tensor([True, True, True]), r"torch.bool \(3,\) given, a tensor of whole"),
    "complex": (torch.ones(3, dtype=torch.complex64), r"torch.complex64 \(3,\) given"),
    "rows": (torch.tensor([1, 1]), r"torch.int64 \(2,\) given"),
    "list": ([5, 1, 1], "list given, a tensor of whole"),
    "array": (np.array([5, 1, 1]), "ndarray given, a tensor of whole"),
}


@pytest.mark.parametrize("wrong", WRONG_LENGTHS)
@pytest.mark.parametrize("name", BOTH_WAYS)
@pytest.mark.parametrize("kind", HEADS)
def test_lengths_that_do_not_fit_are_said(kind, name, wrong):
    lengths, says = WRONG_LENGTHS[wrong]
    with pytest.raises(ValueError, match=f"^lengths: {says}"):
        HEADS[kind][0](small_core(name))(tokens(), lengths=lengths)


@pytest.mark.parametrize("lengths", [None, LENGTHS[:2]], ids=["whole", "padded"])
@pytest.mark.parametrize("name", BOTH_WAYS)
@pytest.mark.parametrize("make", [Classifier, StoryAnswer, Tagger])
def test_inputs_states_and_resets_that_do_not_fit_are_said(make, name, lengths):
    head = make(small_core(name), 3)
    x, state = torch.zeros(STEPS, 2, WIDTH), head.core.initial_state(1)  # torch would spread one row over two
    with pytest.raises(ValueError, match=r"^inputs: \(5, 2, 3\) given, .*needed$"):
        head(x[..., 1:], lengths=lengths)
    with pytest.raises(ValueError, match=r"^inputs: \(5, 2\) given, .*needed$"):
        head(x[..., 0], lengths=lengths)
    with pytest.raises(ValueError, match=r"^inputs: 0 steps given, at least 1 needed$"):
        head(x[:0], lengths=lengths)
    with pytest.raises(ValueError, match=r"^state: batch of 1 given, inputs have a batch of 2$"):
        head(x, state, lengths=lengths)
    for reset in (torch.zeros(STEPS, 1, dtype=torch.bool), torch.zeros(STEPS, 2)):
        with pytest.raises(ValueError, match=r"^reset: .* given, torch.bool \(5, 2\) needed$"):
            head(x, reset=reset, lengths=lengths)


@pytest.mark.parametrize("kind", HEADS)
def test_a_batch_of_no_steps_is_said(kind):
    nothing = torch.zeros(0, ROWS, dtype=torch.long)
    with pytest.raises(ValueError, match=r"^inputs: 0 steps given, at least 1 needed$"):
        HEADS[kind][0](small_core("gru")).answer(Batch(nothing, nothing.bool(), nothing, LENGTHS))


@pytest.mark.parametrize("name", BOTH_WAYS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_lengths_may_be_whole_numbers_of_any_size(name, dtype):
    for kind in ("classifier", "story_answer", "tagger"):
        head = HEADS[kind][0](small_core(name))
        torch.testing.assert_close(head(tokens(), lengths=LENGTHS.to(dtype))[0], head(tokens(), lengths=LENGTHS)[0])


def test_lengths_go_with_resets_in_the_middle_only_where_nothing_is_padded():
    tagger = Tagger(small_core("gru"), 3, embedding())
    reset = torch.zeros(STEPS, ROWS, dtype=torch.bool)
    reset[0] = reset[2, 1] = True
    whole = torch.full((ROWS,), STEPS)
    torch.testing.assert_close(tagger(tokens(), reset=reset, lengths=whole)[0], tagger(tokens(), reset=reset)[0])
    with pytest.raises(ValueError, match="lengths: given beside resets in the middle"):
        tagger(tokens(), reset=reset, lengths=LENGTHS)
