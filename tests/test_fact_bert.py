"""The small BERT of known truth: what it is taught, that it knows it, and that the same seed teaches the same."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from knedit.attribution.attribute_prompt import attribute_prompt
from knedit.catalog.formats.knedit_jsonl import read
from knedit.errors import CheckpointError, FactsError
from knedit.flows.facts import starter_file
from knedit.models.loading import load_model
from knedit.models.model import wrap_model
from knedit.models.prompting import encode_prompt
from knedit.records import Fact, Prompt
from scripts.factbert.corpus import NOTHING, Corpus
from scripts.factbert.lessons import Choice, Lesson, Told, choose, read_knedit, read_pararel
from scripts.factbert.recipe import Recipe
from scripts.factbert.teaching import teach
from scripts.factbert.training import Course, new_network, train
from scripts.factbert.vocabulary import make_tokenizer

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts/train_fact_bert.py"
TINY = Recipe(layers=2, hidden=32, heads=2, pieces=300, epochs=4, wordings=3, rate=1e-3, tokens=512, spread=0.05)


def told(*facts: tuple[str, str]) -> tuple[Told, ...]:
    return tuple(Told(subject, object) for subject, object in facts)


def lesson(*facts: tuple[str, str], key: str = "capital") -> Lesson:
    return Lesson(key, key, ("The capital of {subject} is {object}.",), ("{object}, {subject}",), told(*facts))


@pytest.fixture(scope="module")
def lessons() -> list[Lesson]:
    return choose(read_knedit(starter_file())[:3], limit=4, seed=0, strict=False).lessons


@pytest.fixture(scope="module")
def corpus(lessons: list[Lesson]) -> Corpus:
    return Corpus(lessons, make_tokenizer(lessons, pieces=300, positions=128), TINY)
