import pytest
import torch

from worldloom.model.attention import (
    BlockContext,
    ContextView,
    CrossAttention,
    SelfAttention,
    attend,
    attend_to_few,
)

DIM, HEADS = 24, 3


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rotation(tokens, seed=9):
    angles = draw(1, tokens, HEADS, DIM // HEADS // 2, seed=seed)
    return angles.cos(), angles.sin()


def layer(*, turns_values=True):
    torch.manual_seed(0)
    return SelfAttention(DIM, HEADS, turns_values=turns_values)


def test_attention_written_out_equals_the_fused_kernel():
    """With gradients on a CPU products are written out; without, torch's kernel is called."""
    q, k, v = (draw(2, 3, n, 8, seed=n) for n in (5, 7, 7))
    mask = torch.rand(2, 1, 1, 7, generator=torch.Generator().manual_seed(0)) < 0.6
    mask[..., 0] = True
    for seen in (None, mask):
        written = attend(q, k, v, seen)
        with torch.no_grad():
            fused = attend(q, k, v, seen)
        torch.testing.assert_close(written, fused, atol=1e-5, rtol=1e-5)


def test_attention_to_few_keys_equals_the_other_ways_gradients_included():
    mask = torch.tensor([True, False, True])[None, None, None]
    for seen in (None, mask):
        drawn = [draw(2, 3, n, 8, seed=n + i).requires_grad_() for i, n in enumerate((5, 3, 3))]
        few, written = attend_to_few(*drawn, seen), attend(*drawn, seen)
        torch.testing.assert_close(few, written, atol=1e-5, rtol=1e-5)
        into = draw(2, 3, 5, 8, seed=9)
        for found, expected in zip(
            torch.autograd.grad(few, drawn, into),
            torch.autograd.grad(written, drawn, into),
            strict=True,
        ):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_attention_to_few_keys_is_as_exact_as_its_inputs_in_half_precision():
    half = [draw(2, 3, n, 8, seed=n).bfloat16() for n in (2, 3, 3)]
    found = attend_to_few(*half)
    assert found.dtype == torch.bfloat16
    exact = attend_to_few(*(x.double() for x in half))
    torch.testing.assert_close(found, exact.bfloat16(), atol=1e-3, rtol=2**-8)


def test_attention_is_a_softmax_of_scaled_products():
    q, k, v = (draw(1, 1, n, 4, seed=n) for n in (2, 3, 3))
    scores = torch.einsum("ld,sd->ls", q[0, 0], k[0, 0]) / 2  # the root of four channels
    expected = scores.exp() / scores.exp().sum(-1, keepdim=True) @ v[0, 0]
    torch.testing.assert_close(attend(q, k, v)[0, 0], expected)


@torch.no_grad()
def test_a_context_is_seen_like_own_tokens():
    """Tokens split into own ones and a context attend as all of them together."""
    attention, x = layer(), draw(1, 7, DIM)
    whole = rotation(7)
    together = attention(x, whole, attention.keys_values(x))
    context = attention.keys_values(x[:, :4])
    view = ContextView(tuple(part[:, :4] for part in whole), None)
    own = tuple(part[:, 4:] for part in whole)
    apart = attention(x[:, 4:], own, attention.keys_values(x[:, 4:]), context, view)
    torch.testing.assert_close(apart, together[:, 4:], atol=1e-5, rtol=0)
    alone = attention(x[:, 4:], own, attention.keys_values(x[:, 4:]))
    assert (apart - alone).abs().max() > 1e-3


@torch.no_grad()
def test_what_is_masked_changes_nothing_whatever_it_holds():
    attention, x = layer(), draw(1, 3, DIM)
    view = ContextView(rotation(4), torch.tensor([[True, False, True, False]]))
    context = attention.keys_values(draw(1, 4, DIM, seed=1))
    own = attention.keys_values(x)
    plain = attention(x, rotation(3), own, context, view)
    context.keys[:, [1, 3]], context.values[:, [1, 3]] = 1e3, -1e3
    torch.testing.assert_close(attention(x, rotation(3), own, context, view), plain)
    context.values[:, 0] += 1
    assert (attention(x, rotation(3), own, context, view) - plain).abs().max() > 1e-3


@torch.no_grad()
def test_turned_values_carry_the_offset_and_nothing_else():
    """A turn of everything alike changes nothing; a turn of the context alone does, and values
    that do not turn say less of it."""
    x, other = draw(1, 3, DIM), draw(1, 4, DIM, seed=1)
    extra = draw(1, 1, HEADS, DIM // HEADS // 2, seed=2)

    def answer(attention, turn_own, turn_context):
        def turned(base, by):
            angle = torch.atan2(base[1], base[0]) + by * extra
            return angle.cos(), angle.sin()

        view = ContextView(turned(rotation(4), turn_context), None)
        context = attention.keys_values(other)
        return attention(x, turned(rotation(3), turn_own), attention.keys_values(x), context, view)

    for turns_values in (True, False):
        attention = layer(turns_values=turns_values)
        plain = answer(attention, 0, 0)
        torch.testing.assert_close(answer(attention, 1, 1), plain, atol=1e-5, rtol=0)
        assert (answer(attention, 0, 1) - plain).abs().max() > 1e-3
    # With keys that are all alike, shares are even: only turned values can tell the offset.
    for turns_values in (True, False):
        attention = layer(turns_values=turns_values)
        attention.k.weight.zero_()
        attention.k.bias.zero_()
        gap = (answer(attention, 0, 1) - answer(attention, 0, 0)).abs().max()
        assert (gap > 1e-3) == turns_values


@torch.no_grad()
def test_queries_and_keys_are_normed_over_all_heads():
    attention, x = layer(), draw(1, 3, DIM)
    keys = attention.keys_values(x).keys.flatten(2)
    torch.testing.assert_close(keys.square().mean(-1), torch.ones(1, 3), atol=1e-3, rtol=0)
    attention.k.weight *= 10
    attention.k.bias *= 10
    torch.testing.assert_close(attention.keys_values(x).keys.flatten(2), keys, atol=1e-3, rtol=0)


@torch.no_grad()
def test_cross_attention_reads_each_samples_own_prompt():
    torch.manual_seed(0)
    attention = CrossAttention(DIM, HEADS)
    x, prompts = draw(2, 3, DIM), draw(2, 5, DIM, seed=1)
    both = attention(x, attention.keys_values(prompts))
    for index in range(2):
        at = slice(index, index + 1)
        one = attention(x[at], attention.keys_values(prompts[at]))
        torch.testing.assert_close(both[at], one, atol=1e-6, rtol=0)
    swapped = attention(x, attention.keys_values(prompts.flip(0)))
    assert (swapped - both).abs().max() > 1e-3
    shuffled = attention(x, attention.keys_values(prompts.flip(1)))  # words come with no order
    torch.testing.assert_close(shuffled, both, atol=1e-6, rtol=0)


@pytest.mark.parametrize("index", [0, 1])
def test_a_row_of_a_context_is_one_sample_with_its_batch_axis(index):
    context = BlockContext(draw(2, 4, HEADS, 8), draw(2, 4, HEADS, 8, seed=1))
    row = context.row(index)
    assert row.keys.shape == (1, 4, HEADS, 8)
    assert torch.equal(row.values[0], context.values[index])
