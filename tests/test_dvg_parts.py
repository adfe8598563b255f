"""DVG's noise, resize and plan, each against hand-worked cases and independent references."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import sobel
from scipy.stats import kstest

from vgdfr import Architecture, Dvg, VideoSpec
from vgdfr.methods.dvg_noise import coordinate_noise
from vgdfr.methods.dvg_plan import Plan, Sizes, chosen, demands, detail, global_shift, motion, passes_of, within
from vgdfr.methods.dvg_resize import Grid, blurred, coarser, full_grid, nested, resized

HUNYUAN = Architecture(60, frames_per_latent=4, num_spatial_levels=3, patch_size=2, latent_channels=16)
PAPER = VideoSpec("a prompt", 0, 544, 960, 97, 50, 6.0, 7.0, 24)


def by_hand(seed: int, *place: int) -> float:
    """Returns the noise at one place: SplitMix64 in Python's integers, and one normal number by Box and Muller."""
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def mixed(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    state = mixed(seed)
    for coordinate in place:
        state = mixed((state + golden * (coordinate + 1)) & mask)
    u, v = (((mixed((state + golden * i) & mask) >> 12) + 0.5) / 2**52 for i in (1, 2))
    return math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v)


def test_the_noise_at_a_coordinate_is_worked_by_hand() -> None:
    # SplitMix64's published first output for seed 0 is 0xE220A8397B1DCDAF: the output function of one golden step
    z = 0x9E3779B97F4A7C15
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    assert z ^ (z >> 31) == 0xE220A8397B1DCDAF
    for seed in (0, 3, 2**63 - 1):
        noise = coordinate_noise(Grid((0, 7), (1, 5, 6), (0, 2)), 3, seed)
        assert noise.shape == (1, 3, 2, 3, 2) and noise.dtype == torch.float32
        assert noise[0, 2, 1, 1, 1].item() == pytest.approx(by_hand(seed, 7, 5, 2, 2), rel=1e-6)
        assert noise[0, 0, 0, 0, 0].item() == pytest.approx(by_hand(seed, 0, 1, 0, 0), rel=1e-6)


def test_the_noise_is_standard_normal_and_without_correlation() -> None:
    noise = coordinate_noise(full_grid((16, 32, 32)), 8, seed=11)[0]
    values = noise.double().numpy().ravel()
    assert len(values) == 131072 and len(np.unique(noise.numpy())) > 0.99 * len(values)
    assert values.mean() == pytest.approx(0, abs=4 / math.sqrt(len(values)))
    assert values.std() == pytest.approx(1, abs=0.008)
    assert (values**3).mean() == pytest.approx(0, abs=0.05) and (values**4).mean() == pytest.approx(3, abs=0.1)
    assert kstest(values, "norm").pvalue > 0.01
    shifted = [noise.roll(1, axis) for axis in range(4)] + [coordinate_noise(full_grid((16, 32, 32)), 8, seed=12)[0]]
    for other in shifted:
        assert abs(np.corrcoef(values, other.numpy().ravel())[0, 1]) < 4 / math.sqrt(len(values))


def test_a_coordinate_has_the_same_noise_in_every_grid_of_a_plan() -> None:
    grids = nested([(4, 4, 6), (5, 6, 8), (5, 8, 12), (9, 8, 12)])
    full = coordinate_noise(grids[-1], 2, seed=3)
    for grid in grids:
        frames, rows, columns = (torch.tensor(axis) for axis in grid)
        part = full[:, :, frames[:, None, None], rows[:, None], columns]
        assert torch.equal(coordinate_noise(grid, 2, seed=3), part)


# ---- resize


def test_coarse_grids_are_evenly_spaced_and_keep_the_ends() -> None:
    # three of four places: 0, 1.5 and 3, of which Python rounds 1.5 to 2; two of those three are the ends
    grids = nested([(2, 1, 2), (3, 1, 3), (4, 1, 5)])
    assert grids == [Grid((0, 3), (0,), (0, 4)), Grid((0, 2, 3), (0,), (0, 2, 4)), full_grid((4, 1, 5))]
    for count in range(2, 26):
        (axis, _, _) = coarser(full_grid((25, 1, 1)), (count, 1, 1))
        assert len(set(axis)) == count and axis == tuple(sorted(axis)) and (axis[0], axis[-1]) == (0, 24)
        steps = np.diff(axis)
        assert steps.max() - steps.min() <= 1


def test_the_resize_is_worked_by_hand() -> None:
    """Rows a, b, c become a, (a + b) / 2, (b + c) / 2, c by area, since four windows overlap three rows.

    The three rows are the anchors 0, 2, 3 of the four, so b stands in row 2 again. The frames are the anchors 0 and 3
    of four, and the frames between are thirds.
    """
    x = torch.tensor([[1.0, 3.0, 9.0], [4.0, 6.0, 0.0]])[None, None, :, :, None]
    source, target = Grid((0, 3), (0, 2, 3), (0,)), full_grid((4, 4, 1))
    expected = [[1.0, 2.0, 3.0, 9.0], [2.0, 3.0, 4.0, 6.0], [3.0, 4.0, 5.0, 3.0], [4.0, 5.0, 6.0, 0.0]]
    assert torch.allclose(resized(x, source, target)[0, 0, :, :, 0], torch.tensor(expected))


def test_a_resize_keeps_the_values_at_all_anchors_and_onto_the_same_grid_is_nothing() -> None:
    small, middle, _, full = nested([(4, 2, 4), (6, 4, 6), (6, 6, 8), (9, 6, 8)])
    x = torch.randn(1, 3, *small.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resized(x, small, small), x)
    for target in (middle, full):
        frames, rows, columns = (
            torch.tensor([there.index(at) for at in here]) for here, there in zip(small, target, strict=True)
        )
        large = resized(x, small, target)
        assert large.shape == (1, 3, *target.shape)
        assert torch.equal(large[:, :, frames[:, None, None], rows[:, None], columns], x)


def test_the_blur_is_worked_by_hand() -> None:
    """One pixel of 9 among zeros: the 3 x 3 mean is 1 in the centre, 9 / 6 at an edge and 9 / 4 in a corner."""
    x = torch.zeros(1, 1, 1, 3, 3)
    x[..., 1, 1] = 9
    edge, corner = 0.3 * 9 / 6, 0.3 * 9 / 4
    expected = torch.tensor([[corner, edge, corner], [edge, 0.7 * 9 + 0.3, edge], [corner, edge, corner]])
    assert torch.allclose(blurred(x, 0.3)[0, 0, 0], expected)
    flat = torch.full((1, 2, 2, 4, 4), 5.0)
    assert torch.allclose(blurred(flat, 0.3), flat), "a border is no darker than the rest"


# ---- plan


def test_a_switch_follows_the_pass_of_its_step() -> None:
    # int(50 * 0.28) = 14, so the pass of step 14 is the first stage's last
    assert passes_of(50, (0.28, 0.5, 0.72)) == (15, 11, 11, 13)
    assert passes_of(8, (0.28, 0.5, 0.72)) == (3, 2, 1, 2)
    assert passes_of(100, (0.29, 0.57, 0.58)) == (30, 28, 1, 41), "100 * 0.29 is 28.999999999999996 in floats"
    with pytest.raises(ValueError, match=r"4 steps with switches at 0.28, 0.5, 0.72 give 2, 1, 0 and 1; take more"):
        passes_of(4, (0.28, 0.5, 0.72))


def test_candidates_and_densities_are_worked_by_hand() -> None:
    """A latent of 4 frames of 4 x 4 in patches of 2. The first stage has 2 frames of 2 x 2.

    The second stage's sides 2, 2.4, 2.8, 3.2, 3.6 and 4 are 2 or 4 in whole patches. It has 2, 3 or 4 frames. So six
    plans remain. With 1, 2, 1 and 1 passes the first has 8 + 2 * 8 + 32 + 64 = 120 of 5 * 64 tokens, 0.375.
    """
    sizes, passes = Sizes((4, 4, 4), 2, 0.5, 0.5), (1, 2, 1, 1)
    plans = sizes.candidates(passes)
    second = [(f, side, side) for side in (2, 4) for f in (2, 3, 4)]
    assert [plan.shapes for plan in plans] == [((2, 2, 2), s, (s[0], 4, 4), (4, 4, 4)) for s in second]
    tokens = [8 + 2 * f * side**2 + f * 16 + 64 for f, side, _ in second]
    assert [plan.density * 320 for plan in plans] == pytest.approx(tokens) and tokens[0] == 120
    # a budget of 0.5 is 160 tokens: 144, 168 and 168 lie within 0.06 (19 tokens), the nearest first
    assert [round(plan.density * 320) for plan in within(plans, 0.5, 0.06)] == [168, 168, 144]


def test_the_choice_is_worked_by_hand() -> None:
    """Areas 4 and 16 give gains 0 and 1 in space; 2, 3 and 4 frames give 0, 0.5 and 1 in time.

    Demands of 0.7 and 0.3: (0, 1) misses by 0.49 + 0.49, (1, 0) by 0.09 + 0.09, (0, 0.5) by 0.49 + 0.04.
    """

    def plan(frames: int, side: int) -> Plan:
        return Plan(((2, 2, 2), (frames, side, side), (frames, 4, 4), (4, 4, 4)), (1, 2, 1, 1))

    plans = [plan(4, 2), plan(2, 4), plan(3, 2)]
    assert chosen(plans, 0.7, 0.3) == plan(2, 4)
    assert chosen(plans, 0.1, 0.9) == plan(4, 2)
    assert chosen(plans, 0.2, 0.5) == plan(3, 2)
    assert chosen([plan(3, 2), plan(3, 2)], 0.7, 0.3) == plan(3, 2), "one candidate has no range"
    # exp(1.0986 * 1) : exp(0) = 3 : 1
    assert demands(1.0, 0.0, math.log(3)) == pytest.approx((0.75, 0.25)) and demands(0.4, 0.4, 2.6) == (0.5, 0.5)


def test_the_shift_of_a_frame_is_that_of_lucas_and_kanade() -> None:
    """The frames after are built as before - (u dx + v dy) with SciPy's Sobel, so the least squares have no error."""
    before = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(5))
    shifts = torch.tensor([[0.5, -0.25], [0.0, 0.0], [3.0, 4.0]])
    dy, dx = (
        torch.tensor(np.stack([sobel(frame, axis=axis, mode="constant") / 8 for frame in before.numpy()]))
        for axis in (0, 1)
    )
    after = before - shifts[:, :1, None] * dx - shifts[:, 1:, None] * dy
    assert torch.allclose(global_shift(before, after), shifts, atol=1e-4)


def test_the_demand_for_time_is_worked_by_hand() -> None:
    """A still pair counts 0, and a pair with speed s counts s / (1 + s); one pair of each gives half of that."""
    still = torch.randn(1, 4, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    other = torch.randn(1, 4, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    assert motion(still.expand(-1, -1, 3, -1, -1)) == 0
    grey = [frame[0, :, 0].mean(0) for frame in (still, other)]
    grey = [(frame - frame.mean()) / frame.std() for frame in grey]
    speed = float(global_shift(grey[0][None], grey[1][None]).norm())
    assert motion(torch.cat([still, still, other], 2)) == pytest.approx(speed / (1 + speed) / 2, rel=1e-5)
    assert motion(torch.cat([still, 7 * still + 3], 2)) == pytest.approx(0, abs=1e-5), "brightness is no motion"


def test_the_demand_for_space_is_worked_by_hand() -> None:
    """Frames b + a (-1)^(row + column), with b = 2 in one frame and -2 in the other.

    Their energy is 16^2 b^2 at frequency 0, in the middle, and 16^2 a^2 in the corner. So the share is 1 / (1 + 4).
    """
    board = torch.tensor([[(-1.0) ** (row + column) for column in range(4)] for row in range(4)])
    x = torch.stack([board + 2, board - 2])[None, None]
    assert detail(x) == pytest.approx(0.2)
    assert detail(5 * x + 1) == pytest.approx(0.2), "a channel's scale and mean do not matter"
    assert detail(x - board) == pytest.approx(0, abs=1e-6) and detail(torch.stack([board, board])[None, None]) == 1


@pytest.mark.parametrize("budget", [0.36, 0.4, 0.5, 0.6, 0.7])
def test_every_plan_of_a_budget_is_near_it_on_hunyuan_video(budget: float) -> None:
    Dvg(budget).check(PAPER, HUNYUAN)
    plans = Dvg(budget)._plans(PAPER, HUNYUAN)
    assert len(plans) >= 4
    for plan in plans:
        assert abs(plan.density - budget) <= 0.02 + 1e-9 and plan.passes == (15, 11, 11, 13)
        assert plan.shapes[-1] == (25, 68, 120) and plan.shapes[0] == (round(20 * budget), 34, 60)
        for small, large in zip(plan.shapes, plan.shapes[1:], strict=False):
            assert all(a <= b for a, b in zip(small, large, strict=True)) and not small[1] % 2 and not small[2] % 2
