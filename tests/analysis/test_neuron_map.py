import pytest

from knedit.analysis.findings import Graph
from knedit.analysis.neuron_map import agreement, findings, measure, rank_correlation
from knedit.analysis.sheet import Notes, Row
from knedit.models.model import wrap_model
from knedit.models.prompting import encode_prompt
from knedit.records import Prompt
from tests.analysis.sheets import sheet
from tests.tiny_models import network, tokenizer_of


def edge(key: str, attribution: float, lost: float, share: float) -> Row:
    return Row("a", key, {"attribution": attribution, "lost": lost, "share": share}, {})


def test_ablation_bears_out_edges_by_their_weight_and_ranks_them() -> None:
    edges = [
        edge("0:1 1:2", 2.0, 1.0, 0.6),
        edge("0:1 2:2", -1.0, -0.5, -0.3),
        edge("0:2 1:2", 0.5, -0.1, 0.1),
        edge("0:1 answer", 9.0, 9.0, 0.0),
    ]
    assert agreement(edges) == pytest.approx(0.9)
    assert rank_correlation(edges) == pytest.approx(1.0)
    assert rank_correlation(edges[2:]) is None
    assert agreement([]) is None


def test_a_maps_edges_go_upward_and_its_nodes_speak() -> None:
    model = wrap_model(network("bert"), tokenizer_of("bert"))
    query = encode_prompt(model, Prompt.make(0, "attribute", "the capital of France is {object}", "Paris"))
    notes = Notes()
    measure(model, [query, query], [(1, 7), (0, 3), (1, 9)], notes)
    rows: dict[tuple[str, str], dict[str, float | str | None]] = {}
    for one in notes.found:
        rows.setdefault((one.series, one.key), {})[one.metric] = one.value if one.text is None else one.text
    assert {key for series, key in rows if series == "edges"} == {
        "0:3 1:7", "0:3 1:9", "0:3 answer", "1:7 answer", "1:9 answer",
    }  # fmt: skip
    assert float(rows["fact", ""]["error"] or 0) < 0.3  # five points of a rough path
    found = findings(sheet({"a": ("capital", rows)}))
    (graph,) = found.pictures
    assert isinstance(graph, Graph)
    assert [node.layer for node in graph.nodes] == [0, 1, 1, 2]
    assert graph.nodes[-1].name == graph.top == "answer"
    assert all(node.words for node in graph.nodes)
