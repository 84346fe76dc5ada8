"""What a plan must say little to: one relation's surroundings, and the mean over a plan's wishes."""

from dataclasses import replace

import torch
from torch import Tensor

from knedit.editing.around import Mixture, Neighbours, Region, Surroundings, kept_too
from knedit.editing.statistics import Moment, Noise, Pricing, Statistics

PRICING = Pricing(subjects=2, text=0.5, first=0, relation=3, prompts=4, ridge=0.1)


def rows(count: int, seed: int) -> Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def counted(keys: Tensor) -> dict[int, Moment]:
    found = Moment.empty(5)
    found.add(keys)
    return {0: found}


def surroundings(kept: Neighbours | None = None) -> Surroundings:
    statistics = Statistics("", counted(rows(9, 1)), counted(rows(9, 2)), {0: Moment.empty(5)})
    known = {
        "a": Neighbours(("x", "y", "z"), {0: rows(3, 3)}, {0: rows(4, 4)}),
        "b": Neighbours(("u", "v"), {0: rows(2, 5)}),
    }
    return Surroundings(statistics, (), known.get, kept)


def whole(noise: Noise) -> Tensor:
    return noise.block(range(5))


def test_the_plans_own_subjects_are_nobodys_neighbours() -> None:
    region = Region(surroundings(), PRICING, "a", frozenset({"y"}))
    base = surroundings().statistics.base(0, PRICING)
    others, told = rows(3, 3)[[0, 2]], rows(4, 4)
    expected = base.block(range(5)) + 3 * others.T @ others / 2 + 4 * told.T @ told / 4
    torch.testing.assert_close(whole(region.noise(0)), expected)
    assert region.others == ["x", "z"]


def test_a_relation_that_nobody_knows_has_what_everybody_has() -> None:
    around = surroundings()
    region = Region(around, PRICING, "c", frozenset())
    torch.testing.assert_close(whole(region.noise(0)), around.statistics.base(0, PRICING).block(range(5)))
    assert region.others == []


def test_a_plans_noise_is_the_mean_of_its_wishes_own() -> None:
    around, subjects = surroundings(), frozenset({"y"})
    first, second = (Region(around, PRICING, name, subjects) for name in "ab")
    own = [rows(2, 6), rows(3, 7), rows(1, 8)]
    mixture = Mixture(around, PRICING, [0], 5)
    for keys in own:
        mixture.add(0, keys)
    mixture.add_region(first, 2)
    mixture.add_region(second, 1)
    each = [region.noise(0).beside(keys) for region, keys in zip((first, first, second), own, strict=True)]
    torch.testing.assert_close(whole(mixture.noise(0, subjects)), sum(map(whole, each)) / 3, rtol=1e-5, atol=1e-6)


def test_prompts_of_a_relation_in_which_facts_are_forgotten_count_whatever_its_share() -> None:
    pricing = replace(PRICING, asked_by=7)
    around = surroundings()
    regions = [Region(around, pricing, name, frozenset()) for name in "ab"]
    told = rows(4, 4)
    found = []
    for besides in (0, 20):
        mixture = Mixture(around, pricing, [0], 5)
        for region, count in zip(regions, (1, 19), strict=True):
            mixture.add_region(region, count, besides=besides)
        found.append(whole(mixture.noise(0, frozenset())))
    torch.testing.assert_close(found[1] - found[0], 7 * told.T @ told / 4, rtol=1e-5, atol=1e-5)


def test_facts_elsewhere_count_for_every_relation_but_those_of_edited_subjects() -> None:
    elsewhere = Neighbours(("p", "y", "q"), {0: rows(3, 9)}, {0: rows(6, 10)})
    around = replace(surroundings(), elsewhere=elsewhere)
    pricing = replace(PRICING, elsewhere=5)
    others, told = rows(3, 9)[[0, 2]], rows(6, 10)
    for name in "abc":
        plain = Region(surroundings(), pricing, name, frozenset({"y"})).noise(0)
        found = Region(around, pricing, name, frozenset({"y"})).noise(0)
        more = 5 * others.T @ others / 2 + 5 * told.T @ told / 6
        torch.testing.assert_close(whole(found), whole(plain) + more)


def test_few_kept_facts_count_one_by_one_and_many_a_bounded_sum() -> None:
    few, many = (Neighbours(tuple(map(str, range(n))), {0: rows(n, n)}) for n in (3, 40))
    pricing = Pricing(kept=2, kept_all=10)
    noise = Noise.of(torch.eye(5, dtype=torch.float64))
    for kept, price, subjects in ((few, 2, frozenset[str]()), (many, 10 / 39, frozenset({"7"}))):
        keys = kept.without(subjects, 0)
        expected = noise.block(range(5)) + price * keys.T @ keys
        torch.testing.assert_close(whole(kept_too(noise, surroundings(kept), pricing, subjects, 0)), expected)
