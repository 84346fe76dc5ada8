"""Layers by a sweep: windows tried in memory, stored with the checkpoint, taken by plans; and what cannot be swept."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from knedit.catalog.store import Catalog
from knedit.errors import EditError, KneditError
from knedit.flows.checkpoint import add_checkpoint, load_checkpoint
from knedit.flows.choices import Choices, Gating
from knedit.flows.facts import import_file
from knedit.flows.goals import Wishes
from knedit.flows.plan import plan_edit
from knedit.flows.sweep import NAME, SweepWish, score_of, sweep_layers, swept_layers, usual_windows
from knedit.models.model import Model
from knedit.records import Checkpoint, Edit
from tests.cli.running import knedit
from tests.flows.making import save_model
from tests.flows.test_solving import FACTS

LOOSE = Gating({"success": 0.0, "perplexity": 1e6, "protected": 0.0, "earlier": 0.0, "growth": 1e3})
WISH = SweepWish(2, ((0,), (0, 1), (1, 2)), ("capital",))


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    monkeypatch.setenv("KNEDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KNEDIT_DATABASE", str(tmp_path / "facts.db"))
    path = tmp_path / "facts.jsonl"
    path.write_text("\n".join(map(json.dumps, FACTS)))
    with Catalog(str(tmp_path / "facts.db")) as opened:
        import_file(opened, path)
        yield opened


def ready(catalog: Catalog, folder: Path) -> tuple[Checkpoint, Model]:
    checkpoint = add_checkpoint(catalog, save_model("gpt2", folder / "base"))
    return checkpoint, load_checkpoint(checkpoint, device="cpu")


def plan(catalog: Catalog, checkpoint: Checkpoint, model: Model, layers: tuple[int, ...] | None = None) -> Edit:
    choices = Choices(columns=12, layers=layers, gating=LOOSE, on_failure="skip")
    return plan_edit(catalog, checkpoint, lambda _: model, Wishes(updates=["capital/France=Rome"]), choices)


def test_usual_windows_are_a_fifth_wide_and_end_at_three_quarters() -> None:
    found = usual_windows(30)
    assert [(one[0], one[-1]) for one in found] == [(0, 5), (3, 8), (6, 11), (9, 14), (12, 17), (15, 20)]
    assert all(one[-1] < 3 for one in usual_windows(3))
    assert usual_windows(1) == ((0,),)


def test_usual_windows_go_down_from_the_top_where_edits_act_at_the_answer() -> None:
    assert [(one[0], one[-1]) for one in usual_windows(12, at_answer=True)] == [(n, n + 1) for n in range(3, 11)]
    assert usual_windows(4, at_answer=True) == ((1, 2), (2, 3))
    assert usual_windows(1, at_answer=True) == ((0,),)


def test_a_score_rewards_what_holds_and_charges_what_moved() -> None:
    figures = {"argmax": 1.0, "paraphrase_argmax": 0.5, "sibling_argmax_kept": 0.75, "sibling_kl": 0.25}
    assert score_of(figures) == pytest.approx(0.75 - 0.25)
    assert score_of({"argmax": 1.0}) == 1.0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_sweep_is_stored_goes_on_and_is_what_plans_edit(catalog: Catalog, tmp_path: Path) -> None:
    checkpoint, model = ready(catalog, tmp_path)
    assert swept_layers(catalog, checkpoint) is None
    assert "layers_from" not in plan(catalog, checkpoint, model).config["joint"]
    weights = {key: tensor.clone() for key, tensor in model.net.state_dict().items()}
    seen: list[Any] = []
    swept, tried = sweep_layers(catalog, checkpoint, lambda _: model, WISH, progress=seen.append)
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.net.state_dict().items())
    assert [one.layers for one in tried] == [(0,), (0, 1), (1, 2)]
    (best,) = (one for one in tried if one.chosen)
    assert best.score == max(one.score for one in tried)
    assert swept.layers == best.layers
    assert (seen[0].facts_done, seen[-1].facts_done, seen[-1].facts) == (0, 6, 6)

    found = swept_layers(catalog, checkpoint)
    assert found == swept or (found is not None and found.layers == swept.layers)
    again: list[Any] = []
    same, judged = sweep_layers(catalog, checkpoint, lambda _: model, WISH, progress=again.append)
    assert (same.layers, judged) == (swept.layers, tried)
    assert [one.facts_done for one in again] == [6]
    assert len(catalog.experiments(checkpoint.id, name=NAME)) == 1

    told = plan(catalog, checkpoint, model).config["joint"]
    assert (told["layers"], told["layers_from"]) == (list(swept.layers), swept.named)
    own = plan(catalog, checkpoint, model, layers=(2,)).config["joint"]
    assert own["layers"] == [2]
    assert "layers_from" not in own


def test_what_cannot_be_swept_is_told(catalog: Catalog, tmp_path: Path) -> None:
    checkpoint, model = ready(catalog, tmp_path)
    with pytest.raises(EditError, match="no layer 7"):
        sweep_layers(catalog, checkpoint, lambda _: model, SweepWish(windows=((7,),)))
    with pytest.raises(KneditError, match="river"):
        sweep_layers(catalog, checkpoint, lambda _: model, SweepWish(relations=("river",)))
    lone = {"relation": "lone", "templates": ["the old city {subject} {object}"], "facts": [["Kenya", "Nairobi"]]}
    (tmp_path / "lone.jsonl").write_text(json.dumps(lone))
    import_file(catalog, tmp_path / "lone.jsonl")
    with pytest.raises(EditError, match="no relation has two facts with different objects"):
        sweep_layers(catalog, checkpoint, lambda _: model, SweepWish(relations=("lone",)))
    ran = knedit("edit", "sweep", "base", "--windows", "2-1")
    assert (ran.code, "goes downwards" in ran.err) == (2, True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_windows_of_a_model_whose_layers_share_weights_hold_each_of_these_once(
    catalog: Catalog, tmp_path: Path
) -> None:
    checkpoint = add_checkpoint(catalog, save_model("albert", tmp_path / "albert"))
    model = load_checkpoint(checkpoint, device="cpu")
    with pytest.raises(EditError, match="no window of layers holds an edit"):  # a network that was never trained
        sweep_layers(catalog, checkpoint, lambda _: model, SweepWish(1, relations=("capital",)))
    (tried,) = catalog.experiments(checkpoint.id, name=NAME)
    windows = tried.config["windows"]
    assert len(windows) > 1
    blocks = [[model.layout.block_of(layer) for layer in layers] for layers in windows]
    assert all(len(set(own)) == len(own) for own in blocks)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_command_prints_windows_and_the_choice(catalog: Catalog, tmp_path: Path) -> None:
    add_checkpoint(catalog, save_model("gpt2", tmp_path / "base"))
    ran = knedit("edit", "sweep", "base", "--facts", "1", "--windows", "0-1,2", "--relation", "capital")
    assert ran.code == 0, ran.err
    assert "others kept" in ran.out
    assert "unless --layers says otherwise" in ran.out
