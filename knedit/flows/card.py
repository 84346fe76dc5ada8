"""The model card of an edited checkpoint: what was changed, how it measured, its limits, how to check all of it.

Made of the manifest alone, and of what the parent's card says: the same manifest gives the same card.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from knedit.checkpoints.manifest import Manifest
from knedit.flows.card_facts import CardFacts
from knedit.hub.cards import UNKNOWN, Result, write_card
from knedit.records import BLANK

_ROWS = 50
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#!])")
_MEASURES = {  # of facts that should stay, and of those whose old answer should go
    "correct": ("answered rightly", "old answer given"),
    "probability": ("probability of the right answer", "probability of the old answer"),
    "new_correct": ("new answer given", "new answer given"),
    "new_probability": ("probability of the new answer", "probability of the new answer"),
}
_GONE = ("updated", "erased")
_ROLES = {"attribute": "own wordings", "paraphrase": "unseen paraphrases", "implied": "implied questions"}
_VERBS = {"update": "changed", "erase": "erased", "erase-relation": "erased", "amplify": "said louder or softer"}
_CLASSES = {
    "text-generation": "AutoModelForCausalLM",
    "fill-mask": "AutoModelForMaskedLM",
    "text2text-generation": "AutoModelForSeq2SeqLM",
}
_LIMITS = """\
* Only the prompts counted above were asked. Other wordings, other languages, longer texts and chat templates may bring
  out something else.
* An edit rewrites value vectors of feed-forward blocks, and whatever else these served is changed with them.
* What the base's card says of risks and limits holds for this model too; its own figures were measured on the base.
"""
_ERASURE = """\
* An erasure lowers what the model says. It is no proof that nothing is left: fine-tuning, quantisation or other prompts
  may bring it back. The base still has it, and a comparison of the two shows which value vectors were changed.
"""


def model_card(record: Manifest, facts: CardFacts, *, name: str, signed: bool) -> str:
    """Return the text of README.md for a folder that `record` tells of. Raises CheckpointError where it is unsound."""
    sections = [
        f"# {_plain(name)}",
        _introduction(record, facts),
        _changes(record),
        _method(record),
        *_measured(record),
        _limits(record),
        _use(facts, name),
        _checks(record, signed=signed),
        _licence(facts),
    ]
    return write_card(facts.front, list(_results(record, facts)), "\n\n".join(sections) + "\n", name=name)


def _introduction(record: Manifest, facts: CardFacts) -> str:
    base = facts.front.get("base_model")
    link = f"[{base}](https://huggingface.co/{base})" if base else f"`{record.parent.name}`"
    counts = dict.fromkeys(_VERBS.values(), 0)
    for step in record.edit["steps"]:
        counts[_VERBS[step["operation"]]] += step["facts"]
    told = " and ".join(f"{number} {_facts(number)} {verb}" for verb, number in counts.items() if number)
    vectors = sum(len(change.indices) for change in record.changed)
    return (
        f"{link} with {told} by knedit {record.knedit}, without training."
        f" {vectors} value vectors in {len(record.changed)} tensors differ from the base's; every other byte of the"
        " weights, the tokenizer and the configuration is the base's."
    )


def _facts(number: int) -> str:
    return "fact" if number == 1 else "facts"


def _changes(record: Manifest) -> str:
    steps = record.edit["steps"]
    rows = [
        [
            _VERBS[step["operation"]],
            _cell(step.get("target", "not told")),
            _cell(step.get("new") or "–"),
            step["facts"],
            step["neurons"],
        ]
        for step in steps[:_ROWS]
    ]
    more = f"\n\nand {len(steps) - _ROWS} more, which `knedit.json` lists." if len(steps) > _ROWS else ""
    head = ["", "fact", "new answer", "facts", "value vectors"]
    return f"## What was changed\n\n{_table(head, rows)}{more}"


def _method(record: Manifest) -> str:
    config = record.edit["config"]
    operations = {step["operation"].removesuffix("-relation") for step in record.edit["steps"]}
    solvers = [f"{verb}: `{config[verb]['solver']}`" for verb in ("update", "erase", "amplify") if verb in operations]
    rows = [[f"`{one.tensor}`", "" if one.member is None else one.member, len(one.indices)] for one in record.changed]
    told = _table(["tensor", "expert", "value vectors"], rows[:_ROWS])
    return f"## How\n\nSolvers: {', '.join(solvers)}. `knedit.json` has the whole configuration.\n\n{told}"


def _measured(record: Manifest) -> Iterator[str]:
    evaluation = record.evaluation or {}
    if lines := evaluation.get("summary"):
        rows = [
            [
                line["group"],
                _ROLES.get(line["role"], line["role"]),
                _measure(line),
                line["prompts"],
                _share(line["metric"], line["before"]),
                _share(line["metric"], line["after"]),
            ]
            for line in lines
        ]
        head = ["facts", "prompts", "measure", "number", "before", "after"]
        yield f"## Before and after\n\nBoth asked from their files, in float32.\n\n{_table(head, rows)}"
    if texts := evaluation.get("texts"):
        pairs = [
            [_cell((one[name] or "").replace(BLANK, "…")) for name in ("text", "before", "after")] for one in texts
        ]
        yield f"Greedy continuations:\n\n{_table(['prompt', 'before', 'after'], pairs)}"
    if gates := evaluation.get("gates"):
        rows = [[one["gate"], f"{one['value']:.3g}", f"{one['threshold']:g}", _verdict(one)] for one in gates]
        yield f"## Gates\n\n{_table(['gate', 'value', 'threshold', ''], rows)}\n\n{_GATES}"


_GATES = (
    "growth: how much longer the longest value vector became. perplexity: by what share that of a held-out text rose."
    " protected, earlier: the share of protected facts, and of earlier edits' facts, still answered as before. success:"
    " the share of edited facts that answer as wished."
)


def _verdict(gate: Mapping[str, Any]) -> str:
    if gate["passed"]:
        return "passed"
    return "**failed, and kept all the same**" if gate["forced"] else "failed"


def _limits(record: Manifest) -> str:
    untouched = (record.evaluation or {}).get("untouched")
    told = ""
    if untouched and untouched["right_before"]:
        told = (
            f"* Of {untouched['right_before']} prompts about facts that should stay, answered rightly before,"
            f" {untouched['still_right']} still are.\n"
        )
    erased = any(step["operation"].startswith("erase") for step in record.edit["steps"])
    return f"## Limits\n\n{told}{_LIMITS}{_ERASURE if erased else ''}".rstrip()


def _use(facts: CardFacts, name: str) -> str:
    auto = _CLASSES.get(facts.front.get("pipeline_tag") or "", "AutoModelForCausalLM")
    return (
        "## Use\n\nAs the base, with nothing to install but transformers:\n\n```python\n"
        f"from transformers import {auto}, AutoTokenizer\n\n"
        f'model = {auto}.from_pretrained("{_plain(name)}")  # this folder, or its name on the Hub\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{_plain(name)}")\n```'
    )


def _checks(record: Manifest, *, signed: bool) -> str:
    key = " --public-key KEY.pub" if signed else ""
    signature = " `model.sig` covers every file, SHA256SUMS too." if signed else ""
    return (
        "## How to check it\n\n```sh\nsha256sum -c SHA256SUMS\n"
        f"knedit checkpoint verify . --parent BASE{key}\n"
        "knedit edit apply --reproduce . --parent BASE --output AGAIN\n```\n\n"
        f"`SHA256SUMS` lists every file but itself{' and the signature' if signed else ''}.{signature}"
        " `knedit checkpoint verify` checks the hashes, that just the value vectors listed in `knedit.json` differ from"
        " the base's, and that the model still says what was recorded. The last command writes the weights again, from"
        f" the base and `reproduce/`. BASE is the folder of the base: its weights' sha256 is `{record.parent.sha256}`."
    )


def _licence(facts: CardFacts) -> str:
    licence = facts.front["license"]
    told = " and ".join([licence] if isinstance(licence, str) else licence)
    files = ", ".join(f"`{name}`" for name in facts.licence_files)
    what = "It is not known." if licence == UNKNOWN else f"{told}, as of the base."
    terms = f" The base's terms lie beside: {files}." if files else ""
    card = " The base's own card is `reproduce/parent-card.md`." if facts.parent_card is not None else ""
    return f"## Licence\n\n{what}{terms}{card}"


def _results(record: Manifest, facts: CardFacts) -> Iterator[Result]:
    task = facts.front.get("pipeline_tag") or "text-generation"
    for line in (record.evaluation or {}).get("summary", ()):
        if line["metric"] in ("correct", "new_correct"):
            role = _ROLES.get(line["role"], line["role"])
            yield Result(task, line["group"], role, "accuracy", round(line["after"], 4), _measure(line))


def _measure(line: Mapping[str, Any]) -> str:
    return _MEASURES[line["metric"]][line["group"] in _GONE]


def _share(metric: str, value: float) -> str:
    return f"{value:.1%}" if metric.endswith("correct") else f"{value:.3g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Return a text of the catalog's or a model's so that Markdown shows it as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", _plain(text))


def _plain(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
