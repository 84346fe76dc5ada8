"""The rules by hand, and how far each is exact."""

import pytest

from knedit.attribution.quadrature import RULES, Nodes, ends, gauss, left, lobatto, midpoint, panels, right


def integral(nodes: Nodes, degree: int) -> float:
    return sum(w * x**degree for x, w in zip(nodes.points, nodes.weights, strict=True))


def test_the_sums_nodes_by_hand() -> None:
    quarter = (0.25, 0.25, 0.25, 0.25)
    assert left(4) == Nodes((0.0, 0.25, 0.5, 0.75), quarter)
    assert right(4) == Nodes((0.25, 0.5, 0.75, 1.0), quarter)
    assert ends(4) == Nodes((0.0, 1 / 3, 2 / 3, 1.0), quarter)
    assert midpoint(4) == Nodes((0.125, 0.375, 0.625, 0.875), quarter)


def test_one_step_stands_at_the_start_the_end_and_the_middle() -> None:
    assert {name: rule(1).points for name, rule in RULES.items()} == {
        "left": (0.0,),
        "right": (1.0,),
        "ends": (0.0,),
        "midpoint": (0.5,),
        "gauss": (0.5,),
    }


def test_gauss_by_hand() -> None:
    two, three = gauss(2), gauss(3)
    assert two.points == pytest.approx((0.5 - 3**-0.5 / 2, 0.5 + 3**-0.5 / 2))
    assert two.weights == pytest.approx((0.5, 0.5))
    assert three.points == pytest.approx((0.5 - 0.6**0.5 / 2, 0.5, 0.5 + 0.6**0.5 / 2))
    assert three.weights == pytest.approx((5 / 18, 8 / 18, 5 / 18))


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 64])
@pytest.mark.parametrize("name", RULES)
def test_weights_add_up_to_one_and_points_ascend_within_the_path(name: str, steps: int) -> None:
    nodes = RULES[name](steps)
    assert len(nodes.points) == len(nodes.weights) == steps
    assert sum(nodes.weights) == pytest.approx(1, abs=1e-12)
    assert min(nodes.weights) > 0
    assert list(nodes.points) == sorted(set(nodes.points))
    assert 0 <= nodes.points[0] <= nodes.points[-1] <= 1
    assert all(type(number) is float for number in (*nodes.points, *nodes.weights))


@pytest.mark.parametrize("steps", range(1, 9))
def test_gauss_is_exact_up_to_degree_two_m_minus_one_and_no_further(steps: int) -> None:
    for degree in range(2 * steps):
        assert integral(gauss(steps), degree) == pytest.approx(1 / (degree + 1), abs=1e-14)
    assert abs(integral(gauss(steps), 2 * steps) - 1 / (2 * steps + 1)) > 1e-12


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_the_errors_of_the_sums_are_the_textbooks(steps: int) -> None:
    assert integral(left(steps), 1) == pytest.approx(0.5 - 0.5 / steps)
    assert integral(right(steps), 1) == pytest.approx(0.5 + 0.5 / steps)
    assert integral(ends(steps), 1) == pytest.approx(0.5 if steps > 1 else 0)
    assert integral(midpoint(steps), 1) == pytest.approx(0.5)
    assert integral(midpoint(steps), 2) == pytest.approx(1 / 3 - 1 / (12 * steps**2))


def test_lobatto_by_hand() -> None:
    three, five = lobatto(3), lobatto(5)
    assert three.points == pytest.approx((0, 0.5, 1))
    assert three.weights == pytest.approx((1 / 6, 4 / 6, 1 / 6))
    assert five.points == pytest.approx((0, 0.5 - (3 / 7) ** 0.5 / 2, 0.5, 0.5 + (3 / 7) ** 0.5 / 2, 1))
    assert five.weights == pytest.approx((1 / 20, 49 / 180, 16 / 45, 49 / 180, 1 / 20))
    assert (five.points[0], five.points[-1]) == (0.0, 1.0)


@pytest.mark.parametrize("steps", range(3, 9))
def test_lobatto_is_exact_up_to_degree_two_m_minus_three_and_no_further(steps: int) -> None:
    for degree in range(2 * steps - 2):
        assert integral(lobatto(steps), degree) == pytest.approx(1 / (degree + 1), abs=1e-14)
    assert abs(integral(lobatto(steps), 2 * steps - 2) - 1 / (2 * steps - 1)) > 1e-12


@pytest.mark.parametrize("steps", [3, 5, 7])
def test_panels_integrate_each_stretch_between_points_and_add_up_to_the_rule(steps: int) -> None:
    nodes = lobatto(steps)
    weights = panels(nodes.points)
    for degree in range(steps):
        values = [point**degree for point in nodes.points]
        for panel, low, high in zip(weights, nodes.points, nodes.points[1:], strict=False):
            exact = (high ** (degree + 1) - low ** (degree + 1)) / (degree + 1)
            assert sum(w * v for w, v in zip(panel, values, strict=True)) == pytest.approx(exact, abs=1e-13)
    assert [sum(column) for column in zip(*weights, strict=True)] == pytest.approx(nodes.weights)
