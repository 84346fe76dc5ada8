"""The benchmark of attribution, but for its clock: what it computes from what it measures, and that it runs."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from knedit.attribution.quadrature import RULES
from knedit.errors import KneditError
from knedit.models.prompting import Query
from scripts.benchmark import clock, contestants, exactness, memory, networks, refinement, report, scaling, speed

ROOT = Path(__file__).parents[1]
TINY = speed.Setting(repeats=1, prompts=3, tiny=True, batches=(1, 4))
RANDOM = ["bert-base", "gpt2", "llama-1b"]


def test_its_help_names_every_section() -> None:
    command = [sys.executable, "scripts/bench_attribution.py", "--help"]
    told = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    named = "".join(told.split("Sections,")[1].split("--repeats")[0].split())
    assert named == "withcommasbetween:gpt2,bert,smollm2,batching,memory,linear,adaptive,gpu."


def test_differences_are_shares_of_what_is_right() -> None:
    right = torch.tensor([[3.0, 4.0], [0.0, 10.0]])
    found = torch.tensor([[3.0, 4.5], [0.0, 9.0]])
    assert exactness.largest_difference(found, right) == pytest.approx(0.1)
    assert exactness.worst_layer(found, right) == pytest.approx(0.1)
    assert exactness.completeness(found, torch.tensor([7.0, 10.0])) == pytest.approx(0.1)


def test_the_pieces_integrate_what_switches_near_zero() -> None:
    nodes = exactness.pieces()
    assert len(nodes.points) == 264
    assert sum(nodes.weights) == pytest.approx(1)
    early = 1e-3
    found = sum(w * early / (x + early) ** 2 for x, w in zip(nodes.points, nodes.weights, strict=True))
    assert found == pytest.approx(1 / (1 + early), abs=1e-6)


def test_the_straight_line_is_that_of_least_squares() -> None:
    assert exactness.slope_fit([1, 2, 3], [3.0, 5.0, 7.0]) == pytest.approx((1, 2, 1))
    assert exactness.slope_fit([0, 1, 2], [0.0, 3.0, 0.0]) == pytest.approx((1, 0, 0))


def test_contestants_take_turns_and_each_begins_a_round() -> None:
    order: list[str] = []
    taken = clock.alternate({name: partial(order.append, name) for name in "abc"}, 3)
    assert "".join(order) == "abcbcacab"
    assert {name: len(times) for name, times in taken.items()} == {"a": 3, "b": 3, "c": 3}


def test_the_median_is_not_moved_by_one_slow_run() -> None:
    assert clock.medians({"a": [1.0, 9.0, 2.0], "b": [4.0]}) == {"a": 2.0, "b": 4.0}


def test_the_work_of_a_run_is_its_matrix_products() -> None:
    def run() -> torch.Tensor:
        return torch.ones(3, 4) @ torch.ones(4, 5) + (torch.ones(2, 3, 4) @ torch.ones(2, 4, 5)).sum()

    found, work = clock.watched(run)
    assert found.shape == (3, 5)
    assert work == clock.Work(2 * 3 * 4 * 5 * 3, {(1, 3, 4, 5): 1, (2, 3, 4, 5): 1})
    again, counted = clock.watched(clock.plain_products(work, device=torch.device("cpu"), dtype=torch.float32))
    assert (again, counted) == (None, work)


def test_targets_say_whether_they_are_met() -> None:
    fast, wrong = report.Target("times", 13, 12), report.Target("error", 0.02, 0.01, at_least=False)
    assert fast.told() == "met     times: 13 (≥ 12)"
    assert wrong.told() == "MISSED  error: 0.02 (≤ 0.01)"
    section = report.Section("Title", {"x": 1}, [("a", "b"), ("cd", "10")], ["A note."], [fast])
    assert section.told() == "Title\n-----\na    b\ncd  10\nA note.\nmet     times: 13 (≥ 12)\n"
    assert section.as_json() == {
        "x": 1,
        "targets": [{"name": "times", "value": 13, "bound": 12, "at_least": True, "met": True}],
    }


def test_prompts_are_taken_evenly() -> None:
    queries = [Query((n,), (n,), (0,)) for n in range(10)]
    assert [query.tokens[0] for query in networks.spread(queries, 4)] == [0, 2, 5, 7]
    assert networks.spread(queries, 20) == queries


@pytest.mark.parametrize("masked", [False, True])
def test_numbers_are_read_as_tokens(masked: bool) -> None:
    tokenizer = networks.numbers_tokenizer(200, masked=masked)
    words = tokenizer.convert_ids_to_tokens([150, 103, 7])
    assert words == ["150", "[MASK]" if masked else "103", "7"]
    assert tokenizer(" ".join(words))["input_ids"] == [150, 103, 7]


@pytest.mark.parametrize("name", RANDOM)
def test_random_prompts_have_twelve_tokens_and_the_answer_that_the_network_gives(name: str) -> None:
    model = networks.network(name, tiny=True)
    (query,) = networks.queries_for(name, model, 1, tiny=True)
    (at,), (answer,) = query.positions, query.answers
    assert (len(query.tokens), at) == (12, 9 if name == "bert-base" else 11)
    assert (networks.MASK in query.tokens) == (name == "bert-base")
    assert int(model.net(torch.tensor([query.tokens])).logits[0, at].argmax()) == answer


@pytest.mark.parametrize("name", RANDOM)
def test_the_loop_gives_knedits_scores(name: str) -> None:
    model = networks.network(name, tiny=True)
    (query,) = networks.queries_for(name, model, 1, tiny=True)
    nodes = RULES["ends"](20)
    (mine,) = contestants.knedit(model, [query], rule="ends", steps=20)
    assert exactness.largest_difference(contestants.loop(model, query, nodes.points, nodes.weights), mine.scores) < 1e-5
    true, _, own = exactness.truth(model, query)
    (gauss,) = contestants.knedit(model, [query], rule="gauss", steps=96)
    assert exactness.worst_layer(true, gauss.scores) < 1e-4
    assert own < 1e-3


@pytest.mark.parametrize(
    ("peer", "module", "rule"), [("eleutherai", "knowledge_neurons", "ends"), ("captum", "captum.attr", "right")]
)
@pytest.mark.parametrize("name", ["bert-base", "gpt2"])
def test_a_peer_gives_knedits_scores_where_the_rule_is_the_same(name: str, peer: str, module: str, rule: str) -> None:
    pytest.importorskip(module)
    model = networks.network(name, tiny=True)
    (query,) = networks.queries_for(name, model, 1, tiny=True)
    (mine,) = contestants.knedit(model, [query], rule=rule, steps=20)
    found = getattr(contestants, peer)(model, query)
    assert exactness.largest_difference(found, mine.scores) < 1e-5


def test_what_is_not_installed_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(KneditError) as caught:
        contestants.check_installed("json", "no_such_module.part")
    assert str(caught.value) == (
        "not installed: no_such_module.part (the benchmark's own packages)."
        " Run: pip install -c constraints.txt -e '.[bench]'."
    )


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can reset the peak of memory")
def test_the_peak_of_memory_is_measured_from_the_loaded_network() -> None:
    threads = torch.get_num_threads()
    trial = memory.Trial("gpt2", "knedit", prompts=2, budget=2**28, threads=threads, tiny=True)
    assert 0 <= memory.measure(trial) < 2**28
    before = memory.resident("VmRSS")
    assert memory.resident("VmHWM") >= before > 0


def test_the_sections_on_cost_run() -> None:
    assert {*scaling.batching(TINY).figures} == {"gpt2", "bert-base", "smollm2"}
    section = scaling.linear(TINY)
    assert [(curve.x_label, len(curve.seconds)) for curve in section.curves] == [("prompts", 4), ("steps", 4)]
    assert len(scaling.gpu(TINY).figures["rows"]) == 2 * len(scaling.RACES) * 2


def test_the_section_on_refinement_runs_and_is_exact() -> None:
    section = refinement.adaptive(TINY)
    assert len(section.figures["completeness_errors"]) == len(section.figures["worst_layer_errors"]) == 3
    assert [target.met for target in section.targets] == [True, True]


def test_curves_are_drawn_in_the_files_format(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report.plot([report.Curve("Cost", "prompts", [1, 2], [1.0, 2.0], 0, 1)], tmp_path / "cost.svg")
    assert "<svg" in (tmp_path / "cost.svg").read_text(encoding="utf-8")
