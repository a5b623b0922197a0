"""Running averages over horizons that grow with the lineage."""

import pytest
import torch

from model.training.weight_averages import EVERY, PowerEma


def followed(shares: list[float], steps: int) -> PowerEma:
    """Of weights that say which step they are from."""
    averages = PowerEma(shares, {"w": torch.zeros(1, dtype=torch.float64)})
    for step in range(1, steps + 1):
        averages.update({"w": torch.full((1,), float(step), dtype=torch.float64)}, step)
    return averages


@pytest.mark.parametrize("steps", [2_000, 20_000])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_an_average_looks_back_over_its_share_of_all_steps_however_long_the_lineage(share: float, steps: int) -> None:
    """With weights that fall as (step / now) ** (1 / share - 1) the mean age is now * share / (1 + share)."""
    mean = followed([share], steps).by_share[share]["w"].item()
    assert (steps - mean) / steps == pytest.approx(share / (1 + share), abs=0.003)


def test_at_first_an_average_is_the_weights_themselves() -> None:
    assert followed([0.1], EVERY).by_share[0.1]["w"].item() == EVERY


def test_what_is_saved_comes_back_and_goes_on_bit_for_bit() -> None:
    first = followed([0.1, 0.3], 100)
    second = PowerEma([0.1, 0.3], {"w": torch.zeros(1, dtype=torch.float64)})
    second.load({name: value.clone() for name, value in first.tensors().items()})
    for averages in (first, second):
        averages.update({"w": torch.full((1,), 7.0, dtype=torch.float64)}, 104)
    assert first.tensors() == second.tensors()


def test_a_share_that_was_not_kept_begins_as_the_nearest_one() -> None:
    saved = followed([0.1, 0.3], 100).tensors()
    other = PowerEma([0.12, 0.5], {"w": torch.zeros(1, dtype=torch.float64)})
    other.load(saved)
    assert other.by_share[0.12]["w"] == saved["0.1/w"] and other.by_share[0.5]["w"] == saved["0.3/w"]


def test_the_only_average_of_an_earlier_version_begins_all_of_them() -> None:
    averages = PowerEma([0.1, 0.3], {"w": torch.zeros(1)})
    averages.load({"w": torch.ones(1)})
    assert all(one["w"] == 1 for one in averages.by_share.values())
