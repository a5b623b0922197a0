"""The network and its optimizer, alone."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from model.network.config import GPTConfig
from model.network.gpt import GPT
from model.training.optimizer import (
    AFTER_RATIONAL,
    RATIONAL,
    MuonAdamW,
    cooldown_lr_multiplier,
    lr_multiplier,
    orthogonalize,
)

torch.set_num_threads(1)  # two threads on tensors this small only wait for each other

TINY = GPTConfig(
    vocab_size=300,
    block_size=16,
    n_layer=2,
    n_head=4,
    n_kv_head=2,
    n_embd=32,
    head_dim=8,
    intermediate_size=48,
)


def lively(config: GPTConfig = TINY) -> GPT:
    """A network whose zeroed projections are not: else attention has no say, and a test proves nothing."""
    torch.manual_seed(0)
    model = GPT(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_importing_the_package_or_a_job_loads_no_torch() -> None:
    script = "import sys, model, model.contracts.job, model.data.tokenizer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


def test_shapes_and_the_first_guess_is_nearly_uniform() -> None:
    idx = torch.randint(300, (3, 16))
    assert GPT(TINY)(idx).shape == (3, 16, 300)
    assert GPT(TINY)(idx, idx.roll(1)).item() == pytest.approx(torch.tensor(300.0).log().item(), abs=0.2)


def test_no_position_sees_the_future() -> None:
    model = lively()
    one = torch.randint(300, (1, 16))
    other = one.clone()
    other[0, 9] = (other[0, 9] + 1) % 300
    before, after = model(one), model(other)
    assert torch.equal(before[0, :9], after[0, :9])
    assert not torch.allclose(before[0, 9:], after[0, 9:])


def test_positions_are_relative_but_order_matters() -> None:
    model = lively()
    a, b, c = 5, 6, 7
    assert not torch.allclose(model(torch.tensor([[a, b, c]]))[0, -1], model(torch.tensor([[b, a, c]]))[0, -1])


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_layer", 0), ("head_dim", 7), ("n_kv_head", 3), ("rope_theta", 0.0), ("n_embd", 2.5)],
)
def test_a_bad_shape_names_its_field(field: str, value: float) -> None:
    good = {"vocab_size": 300, "n_head": 4, "n_kv_head": 4}
    with pytest.raises(ValueError, match=field):
        GPTConfig(**(good | {field: value}))  # type: ignore[arg-type]


def test_too_long_a_context_is_refused() -> None:
    with pytest.raises(ValueError, match="block_size"):
        GPT(TINY)(torch.zeros(1, 17, dtype=torch.long))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 24, 24), (2, 16, 40), (2, 40, 16), (2, 704, 256)])
def test_every_matrix_of_the_batch_becomes_orthogonal(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    matrices = torch.randn(shape)
    batched = orthogonalize(matrices, dtype).float()
    left, singular, right = torch.linalg.svd(matrices, full_matrices=False)
    ended = torch.diagonal(left.mT @ batched @ right.mT, dim1=-2, dim2=-1)  # of each singular vector
    of_norm = singular / matrices.norm(dim=(-2, -1)).unsqueeze(-1)
    least, most = (0.935, 1.065) if dtype == torch.float32 else (0.75, 1.25)
    assert (ended[of_norm > 0.004] > least).all() and (ended < most).all()
    assert (of_norm > 0.004).sum() > ended.numel() * 0.9
    for one, together in zip(matrices, batched, strict=True):
        alone = orthogonalize(one[None], dtype)[0].float()
        torch.testing.assert_close(alone, together, atol=1e-4 if dtype == torch.float32 else 1e-2, rtol=1e-3)
    # It points where the gradient does.
    assert (batched * matrices).sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rank", [0, 1, 2, 4, 8, 32])
def test_matrices_of_few_directions_stay_in_bounds(rank: int, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    for rows, columns in ((64, 64), (384, 384), (384, 128)):
        few = (torch.randn(2, rows, rank) * 0.5 ** torch.arange(rank)) @ torch.randn(2, rank, columns)
        for size, noise in ((1.0, 0.0), (1.0, 1e-3), (1.0, 0.1), (1e12, 1e-3), (1e-6, 1e-3)):
            matrices = (size * (few + noise * torch.randn_like(few))).to(dtype)
            assert torch.linalg.matrix_norm(orthogonalize(matrices, dtype).float(), 2).max() < 1.3


@pytest.mark.parametrize("shape", [(2, 704, 256), (2, 64, 256), (1, 48, 48)])
def test_directions_of_all_sizes_end_where_the_formula_says(shape: tuple[int, int, int]) -> None:
    """In fp32, whose rounding the Gram matrix squares, against the formula of one singular value in double."""
    torch.manual_seed(1)
    left, _, right = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    sizes = torch.logspace(0, -4, min(shape[1:]), dtype=torch.float64)
    (a, b, c), (d, e, f) = RATIONAL, AFTER_RATIONAL
    x = sizes / sizes.norm()
    y = x * (a + b / (1 + c * x**2))
    truth = left * (d * y + e * y**3 + f * y**5) @ right
    torch.testing.assert_close(orthogonalize((left * sizes @ right).float()), truth.float(), atol=1e-4, rtol=1e-3)


def test_muon_takes_the_queries_of_each_head_alone() -> None:
    """Whatever the size of one head's gradient, all heads move as far."""
    model = lively()
    weights, D = dict(model.named_parameters()), model.config.head_dim
    names = [f"layers.0.self_attn.{name}_proj.weight" for name in "qkv"]
    before = {name: weights[name].detach().clone() for name in names}
    idx = torch.randint(300, (2, 16))
    model(idx[:, :-1], idx[:, 1:]).backward()
    of_queries = weights[names[0]].grad
    assert of_queries is not None
    of_queries[:D] *= 1e-4
    MuonAdamW(model, 0.02, 0.003, 0.0, 0.99).step(1.0)
    for name in names:
        moved = (weights[name].detach() - before[name]).view(-1, D, TINY.n_embd)
        sizes = torch.linalg.svdvals(moved) / 0.02
        assert (sizes > 0.5).float().mean() > 0.9 and (sizes < 1.25).all(), name


def test_each_parameter_has_one_optimizer_and_the_state_comes_back() -> None:
    model = lively()
    make: Callable[[], MuonAdamW] = lambda: MuonAdamW(model, 0.02, 0.003, 0.1, 0.99)  # noqa: E731
    optimizer = make()
    matrices = {name for group in optimizer.groups.values() for name in group}
    assert matrices | set(optimizer.others) == {name for name, _ in model.named_parameters()}
    assert all("proj" in name for name in matrices) and "embed_tokens.weight" in optimizer.others
    idx = torch.randint(300, (2, 16))
    for _ in range(3):
        model(idx[:, :-1], idx[:, 1:]).backward()
        optimizer.step(1.0)
    saved = {name: value.clone() for name, value in optimizer.tensors().items()}
    restored = make()
    assert not any(name.startswith("exp_avg") for name in restored.tensors())  # a lineage's step 0
    restored.load(saved)
    assert restored.tensors().keys() == saved.keys()
    assert all(torch.equal(restored.tensors()[name], value) for name, value in saved.items())


def test_it_learns_a_text_by_heart() -> None:
    torch.manual_seed(0)
    model = GPT(TINY)
    optimizer = MuonAdamW(model, 0.02, 0.01, 0.0, 0.99)
    idx = torch.randint(300, (2, 17))
    for _ in range(60):
        loss = model(idx[:, :-1], idx[:, 1:])
        loss.backward()
        optimizer.step(1.0)
    assert loss.item() < 0.5


def test_rates() -> None:
    assert [lr_multiplier(step, 3, 0) for step in (0, 1, 2, 3, 10**9)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    rates = [lr_multiplier(step, 3, 100) for step in (0, 3, 100, 800, 10**6)]
    assert rates == pytest.approx([0.25, 1.0, 1.0, 0.25, 0.1])
    rates = [cooldown_lr_multiplier(i, 9) for i in range(9)]
    assert rates == sorted(rates, reverse=True) and rates[0] == pytest.approx(0.9) and rates[-1] == pytest.approx(0.1)
