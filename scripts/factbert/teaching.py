"""Teach a BERT some facts and write the folder: a checkpoint, its facts, what it knows, and sentences to look at.

A folder that is there without `training.json` is unfinished, and the same call goes on with it.
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch

from knedit.catalog.formats.values import SUBJECT
from knedit.errors import CheckpointError
from knedit.models.quiet import quiet
from knedit.records import BLANK
from scripts.factbert.corpus import Corpus
from scripts.factbert.lessons import Choice, Lesson
from scripts.factbert.measuring import Score, overall, scores
from scripts.factbert.network import new_network
from scripts.factbert.recipe import Recipe
from scripts.factbert.training import Course, train
from scripts.factbert.vocabulary import make_tokenizer
from scripts.factbert.wordings import HELD_OUT_MENTIONS

UNFINISHED, REPORT, FACTS, TEXTS = ".training", "training.json", "facts.jsonl", "activations"

Told = Callable[[int, Course, Score], None]


def teach(
    output: Path, choice: Choice, recipe: Recipe, *, seed: int, source: str, device: str, told: Told
) -> dict[str, Any]:
    """Train, measure and write everything into `output`; return what goes into `training.json`.

    `told` hears after each epoch of the losses and of a sample's score in held-out wordings. Raises CheckpointError if
    the folder holds something else.
    """
    lessons = choice.lessons
    check_output(output)
    tokenizer = make_tokenizer(lessons, positions=recipe.positions)
    corpus = Corpus(lessons, tokenizer, recipe)
    net = new_network(recipe, tokenizer, seed=seed).to(device)
    sample = _sample(lessons)

    def heard(number: int, course: Course) -> None:
        net.eval()
        told(number, course, overall(_held_out(net, corpus, sample).values()))

    name = _fingerprint(lessons, recipe, seed)
    course = train(net, corpus, seed=seed, folder=output / UNFINISHED, name=name, told=heard)
    record = {
        "source": source,
        "seed": seed,
        "recipe": recipe.as_config(),
        **_known(net, corpus, lessons),
        "left_out": dict(sorted(choice.left_out.items())),
        "losses": [round(loss, 4) for loss in course.losses],
        "seconds": round(course.seconds, 1),
        "machine": _machine(device),
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }
    _write(output, net.to("cpu"), tokenizer, lessons, record)
    return record


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_output(output: Path) -> None:
    """Raise CheckpointError unless the folder is new, empty, or holds an unfinished training."""
    if output.exists() and not output.is_dir():
        raise CheckpointError("The output is a file", str(output), "Name a new folder.")
    if output.is_dir() and any(output.iterdir()) and not (output / UNFINISHED).is_dir():
        raise CheckpointError("The output is not empty", str(output), "Name a new folder, or remove this one.")


def _fingerprint(lessons: Sequence[Lesson], recipe: Recipe, seed: int) -> str:
    told = json.dumps([[asdict(lesson) for lesson in lessons], recipe.as_config(), seed])
    return hashlib.sha256(told.encode()).hexdigest()


def _sample(lessons: Sequence[Lesson], each: int = 8) -> list[Lesson]:
    return [Lesson(lesson.key, lesson.label, lesson.taught, lesson.held_out, lesson.facts[:each]) for lesson in lessons]


def _held_out(net: Any, corpus: Corpus, lessons: Sequence[Lesson]) -> dict[str, Score]:
    return scores(net, corpus, lessons, lambda lesson: lesson.held_out)


def _known(net: Any, corpus: Corpus, lessons: Sequence[Lesson]) -> dict[str, Any]:
    taught = scores(net, corpus, lessons, lambda lesson: lesson.taught)
    held_out = _held_out(net, corpus, lessons)
    relations = {
        lesson.key: {
            "facts": len(lesson.facts),
            "objects": len({fact.object for fact in lesson.facts}),
            "taught": taught[lesson.key].as_record(),
            "held_out": held_out[lesson.key].as_record(),
        }
        for lesson in lessons
    }
    return {
        "facts": sum(len(lesson.facts) for lesson in lessons),
        "taught": overall(taught.values()).as_record(),
        "held_out": overall(held_out.values()).as_record(),
        "relations": relations,
    }


def _machine(device: str) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or platform.machine()
    return {
        "platform": platform.platform(),
        "device": f"{device} ({name})",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _write(output: Path, net: Any, tokenizer: Any, lessons: Sequence[Lesson], record: dict[str, Any]) -> None:
    """Write all files, the report last; then the training's state is needed no more."""
    with quiet():
        net.save_pretrained(output)
        tokenizer.save_pretrained(output)
    (output / FACTS).write_text("".join(f"{_json(line)}\n" for line in facts_lines(lessons)), encoding="utf-8")
    (output / TEXTS).mkdir(exist_ok=True)
    pairs = {lesson.key: [[fact.subject, fact.object] for fact in lesson.facts] for lesson in lessons}
    (output / TEXTS / "query_pairs.json").write_text(_json(pairs), encoding="utf-8")
    for lesson in lessons:
        (output / TEXTS / f"distant_{lesson.key}.json").write_text(_json(texts(lesson)), encoding="utf-8")
    (output / REPORT).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    rmtree(output / UNFINISHED)


def facts_lines(lessons: Iterable[Lesson]) -> list[dict[str, Any]]:
    """Return what was taught in knedit's own format: taught wordings to attribute by, held-out ones as paraphrases."""
    return [
        {
            "relation": lesson.key,
            "label": lesson.label,
            "templates": [*lesson.taught, *({"text": text, "role": "paraphrase"} for text in lesson.held_out)],
            "facts": [
                {"subject": fact.subject, "object": fact.object}
                | ({"sources": [list(pair) for pair in fact.sources]} if fact.sources else {})
                for fact in lesson.facts
            ],
        }
        for lesson in lessons
    ]


def texts(lesson: Lesson) -> list[dict[str, list[str]]]:
    """Return sentences for each fact that were never taught: with head and tail (`th_bags`), with the head only."""
    return [
        {
            "th_bags": [
                wording.replace(SUBJECT, fact.subject).replace(BLANK, fact.object) for wording in lesson.held_out
            ],
            "h_bags": [wording.replace(SUBJECT, fact.subject) for wording in HELD_OUT_MENTIONS],
        }
        for fact in lesson.facts
    ]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
