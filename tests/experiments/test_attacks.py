"""Attacks on updates do what their papers say."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch

from registry.errors import InputError
from trainer.demo.poisoning import opposite
from trainer.experiments.attacks import ATTACKS, Seen, attack_of


@pytest.fixture
def seen() -> Seen:
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(8, 500, generator=generator, dtype=torch.float64) + 1
    own = torch.randn(500, generator=generator, dtype=torch.float64)
    return Seen(own, honest, 2, generator)


def sent(seen: Seen, name: str, **parameters: object) -> torch.Tensor:
    attack = attack_of(name, parameters)
    assert attack.update is not None
    return attack.update(seen)


def test_sign_flip_and_scaled_multiply_their_own_update(seen: Seen) -> None:
    assert torch.equal(sent(seen, "sign_flip", scale=4), -4 * seen.own)
    assert torch.equal(sent(seen, "scaled", scale=3.0), 3 * seen.own)


def test_noise_is_about_as_large_as_its_own_update_and_unlike_it(seen: Seen) -> None:
    drawn = sent(seen, "noise", scale=2.0)
    assert float(drawn.norm() / seen.own.norm()) == pytest.approx(2.0, rel=0.1)
    assert abs(float(drawn @ seen.own / drawn.norm() / seen.own.norm())) < 0.2


def test_a_little_is_enough_takes_the_papers_z(seen: Seen) -> None:
    mean, deviation = seen.honest.mean(0), seen.honest.std(0, unbiased=False)
    assert torch.allclose(sent(seen, "alie", z=1.5), mean - 1.5 * deviation)
    # n = 10, m = 2: s = 10 // 2 + 1 - 2 = 4 supporters, Phi(z) = (8 - 4) / 8, so z = 0
    assert torch.allclose(sent(seen, "alie"), mean)


def test_the_papers_z_for_fifty_workers(seen: Seen) -> None:
    many = Seen(seen.own, seen.honest.repeat(4, 1)[:26], 24, seen.generator)  # n = 50, m = 24: Phi(z) = 24 / 26
    shift = (many.honest.mean(0) - sent(many, "alie")) / many.honest.std(0, unbiased=False)
    assert 0.5 * (1 + math.erf(float(shift[0]) / math.sqrt(2))) == pytest.approx(24 / 26, abs=1e-9)


def test_inner_product_manipulation_points_against_the_honest_mean(seen: Seen) -> None:
    assert torch.allclose(sent(seen, "ipm", epsilon=0.1), -0.1 * seen.honest.mean(0))


def test_min_max_goes_exactly_as_far_as_honest_distances_allow(seen: Seen) -> None:
    made = sent(seen, "min_max")
    largest = torch.cdist(seen.honest, seen.honest).max()
    assert float((seen.honest - made).norm(dim=1).max()) == pytest.approx(float(largest), rel=1e-9)


def test_min_max_of_equal_updates_is_that_update(seen: Seen) -> None:
    same = Seen(seen.own, seen.own.repeat(3, 1), 1, seen.generator)
    assert torch.allclose(sent(same, "min_max"), seen.own)


def test_copy_sends_an_honest_update(seen: Seen) -> None:
    assert torch.equal(sent(seen, "copy"), seen.honest[0])


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("sneak", {}, "attack: expected one of sign_flip"),
        ("sign_flip", {"epsilon": 1}, "sign_flip: expected parameters scale, got epsilon"),
        ("copy", {"scale": 1}, "copy: expected parameters none, got scale"),
        ("sign_flip", {"scale": "4"}, "scale: expected a finite number, got '4'"),
        ("sign_flip", {"scale": math.inf}, "scale: expected a finite number, got inf"),
        ("backdoor", {"share": 0}, "share: expected more than 0 and at most 1, got 0"),
    ],
)
def test_an_attack_that_is_none_is_refused(name: str, parameters: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        attack_of(name, parameters)


def test_every_attack_changes_the_update_or_the_cases() -> None:
    for name in ATTACKS:
        attack = attack_of(name, {})
        assert (attack.update is None) == (attack.poisoning is not None)


def test_the_demo_s_bad_hospital_goes_four_times_as_far_the_other_way() -> None:
    module = torch.nn.Linear(2, 1)
    for value in module.parameters():
        torch.nn.init.constant_(value, 0.5)
    before = [value.detach().clone() for value in module.parameters()]

    def train(trained: torch.nn.Module, epoch: int) -> Mapping[str, float]:
        with torch.no_grad():
            for value in trained.parameters():
                value.add_(0.25 * epoch)
        return {"loss": 1.0}

    assert opposite(train, 4)(module, 2) == {"loss": 1.0}
    for value, old in zip(module.parameters(), before, strict=True):
        assert torch.equal(value, old - 2.0)
