"""Image attention against a twin of plain loops, and the positional encoding against paper B's formula."""

import math

import pytest
import torch

from reenactor.nn import ImageAttentionBlock, attend, positional_encoding

C_X, C_Y, C_A = 8, 12, 6


@pytest.fixture
def block():
    torch.manual_seed(0)
    block = ImageAttentionBlock(C_X, C_Y, C_A).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_()
    return block


def maps(k, *, batch=2, driver=(4, 6), target=(3, 2)):
    made = torch.Generator().manual_seed(k)
    z_x = torch.randn(batch, C_X, *driver, generator=made, dtype=torch.float64)
    z_y = torch.randn(batch, k, C_Y, *target, generator=made, dtype=torch.float64)
    return z_x, z_y


def block_ref(block, z_x, z_y):
    """One place after the other; only the last convolution is PyTorch's."""
    batch, _, hx, wx = z_x.shape
    k, _, hy, wy = z_y.shape[1:]
    p_x = positional_encoding(C_X, hx, wx).double()
    p_y = positional_encoding(C_Y, hy, wy).double()
    mixed = torch.zeros_like(z_x)
    attention = torch.zeros(batch, hx, wx, k, hy, wy, dtype=z_x.dtype)
    targets = [(n, u, v) for n in range(k) for u in range(hy) for v in range(wy)]
    for b in range(batch):
        for i in range(hx):
            for j in range(wx):
                query = block.query.weight @ z_x[b, :, i, j] + block.query_position.weight @ p_x[:, i, j]
                scores = []
                for n, u, v in targets:
                    key = block.key.weight @ z_y[b, n, :, u, v] + block.key_position.weight @ p_y[:, u, v]
                    scores.append(math.exp(float(query @ key) / math.sqrt(C_A)))
                for (n, u, v), score in zip(targets, scores, strict=True):
                    attention[b, i, j, n, u, v] = score / sum(scores)
                    mixed[b, :, i, j] += score / sum(scores) * (block.value.weight @ z_y[b, n, :, u, v])
    mean = mixed.mean((2, 3), keepdim=True)
    std = (mixed.var((2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    normed = (mixed - mean) / std * block.norm.weight[:, None, None] + block.norm.bias[:, None, None]
    return block.conv(z_x + normed), attention


@torch.no_grad()
@pytest.mark.parametrize("k", [1, 3])
def test_equals_the_slow_twin(block, k):
    z_x, z_y = maps(k)
    for got, expected in zip(block(z_x, z_y), block_ref(block, z_x, z_y), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)


def test_attend_by_hand():
    # Two places, keys that say "yes" and "no": weights e^1 : e^0 after the division by sqrt(4).
    query, key = torch.tensor([[[1.0, 1, 1, 1]]]), torch.tensor([[[0.5, 0.5, 0.5, 0.5], [0.0, 0, 0, 0]]])
    mixed, weights = attend(query, key, torch.tensor([[[10.0], [20.0]]]))
    share = math.e / (math.e + 1)
    torch.testing.assert_close(weights, torch.tensor([[[share, 1 - share]]]))
    torch.testing.assert_close(mixed, torch.tensor([[[10 * share + 20 * (1 - share)]]]))


@torch.no_grad()
@pytest.mark.parametrize("k", [1, 3, 8])
def test_one_softmax_over_all_targets(block, k):
    z_x, z_y = maps(k)
    attention = block(z_x, z_y)[1]
    assert attention.shape == (2, 4, 6, k, 3, 2)
    torch.testing.assert_close(attention.sum((3, 4, 5)), torch.ones(2, 4, 6, dtype=torch.float64))
    if k > 1:
        # Some targets are looked at more than others: not a softmax for each.
        assert attention.sum((4, 5)).std() > 0.05


@torch.no_grad()
def test_order_of_targets_does_not_matter(block):
    z_x, z_y = maps(3)
    order = torch.tensor([2, 0, 1])
    result, attention = block(z_x, z_y)
    shuffled, shuffled_attention = block(z_x, z_y[:, order])
    torch.testing.assert_close(shuffled, result)
    torch.testing.assert_close(shuffled_attention, attention[:, :, :, order])


@torch.no_grad()
def test_the_same_target_many_times_counts_once(block):
    z_x, z_y = maps(1)
    torch.testing.assert_close(block(z_x, z_y.repeat(1, 5, 1, 1, 1))[0], block(z_x, z_y)[0])


@torch.no_grad()
def test_position_matters_and_is_told_by_both_encodings(block):
    # A map moved in a circle keeps its contents: without positions the result would be the same.
    z_x, z_y = maps(2)
    assert (block(z_x, z_y.roll(1, dims=3))[0] - block(z_x, z_y)[0]).abs().max() > 0.1
    block.query_position.weight.zero_()
    block.key_position.weight.zero_()
    torch.testing.assert_close(block(z_x, z_y.roll(1, dims=3))[0], block(z_x, z_y)[0])


@torch.no_grad()
def test_one_person_serves_many_frames(block):
    z_x, z_y = maps(3, batch=4)
    one = z_y[:1]
    loop = torch.cat([block(frame[None], one)[0] for frame in z_x])
    torch.testing.assert_close(block(z_x, one)[0], loop)


def test_gradients_reach_every_parameter(block):
    z_x, z_y = maps(3)
    block(z_x, z_y)[0].square().sum().backward()
    assert all(parameter.grad.abs().max() > 1e-6 for parameter in block.parameters())


@torch.no_grad()
@pytest.mark.parametrize("autocast", [True, False])
def test_faint_differences_survive_bfloat16(autocast):
    # As before training: places differ by 1% of their mean, which a result rounded to bfloat16 would lose by half.
    torch.manual_seed(0)
    block = ImageAttentionBlock(C_X, C_Y, C_A)
    block.value.weight.abs_()
    for layer in (block.query, block.query_position):
        layer.weight.mul_(0.1)
    z_x, z_y = (z.float() for z in maps(2))
    z_y = z_y.abs()
    seen = []
    block.norm.register_forward_hook(lambda _module, given, _output: seen.append(given[0].float()))
    block(z_x, z_y)
    if autocast:
        with torch.autocast("cpu", torch.bfloat16):
            block(z_x, z_y)
    else:
        block.bfloat16()(z_x.bfloat16(), z_y.bfloat16())
    exact, rounded = (m - m.mean((2, 3), keepdim=True) for m in seen)
    assert exact.std() < 0.02 * block.value(z_y.to(block.value.weight.dtype).movedim(2, -1)).mean()
    assert (rounded - exact).std() < 0.1 * exact.std()


def by_hand(channels, height, width):
    """Equation 9, entry by entry."""
    code = torch.zeros(channels, height, width, dtype=torch.float64)
    for i in range(height):
        for j in range(width):
            for k in range(channels // 4):
                y = 256 * i / (height * 10000 ** (2 * k / channels))
                x = 256 * j / (width * 10000 ** (2 * k / channels))
                for offset, value in enumerate((math.sin(y), math.cos(y), math.sin(x), math.cos(x))):
                    code[4 * k + offset, i, j] = value
    return code


@pytest.mark.parametrize(("channels", "height", "width"), [(4, 1, 1), (8, 3, 5), (64, 16, 16), (20, 8, 4)])
def test_is_the_papers_formula(channels, height, width):
    # Angles reach 256; float32 holds those to 1.5e-5.
    expected = by_hand(channels, height, width)
    torch.testing.assert_close(positional_encoding(channels, height, width).double(), expected, atol=5e-5, rtol=0)


def test_first_entries():
    code = positional_encoding(4, 2, 4)
    # Row 1 of 2 is 128, column 3 of 4 is 192.
    expected = torch.tensor([math.sin(128), math.cos(128), math.sin(192), math.cos(192)])
    torch.testing.assert_close(code[:, 1, 3], expected, atol=1e-5, rtol=0)


def test_the_same_place_has_the_same_code_in_maps_of_different_sizes():
    fine, coarse = positional_encoding(32, 16, 16), positional_encoding(32, 8, 8)
    torch.testing.assert_close(fine[:, ::2, ::2], coarse, atol=1e-5, rtol=0)


def test_every_place_differs():
    places = positional_encoding(64, 16, 16).flatten(1).T
    apart = torch.cdist(places, places) + 1e3 * torch.eye(256)
    assert apart.min() > 0.1


def test_odd_channels_are_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        positional_encoding(6, 4, 4)
