"""One of many writers, a process of its own: rounds of imports, attributions, refinements and changes of status.

Run as `python -m tests.catalog.writing URL NUMBER ROUNDS`; begins at a line on stdin, ends with a line on stdout.
"""

import sys
from dataclasses import replace

from knedit.catalog.store import Catalog
from knedit.records import (
    Fact,
    KnowledgeNeuron,
    NeuronScore,
    Prompt,
    PromptAttribution,
    RefinedFact,
    Refinement,
)
from tests.catalog.making import CAPITAL, MODEL, NOON, RUN

FACTS = 20  # a round; half of them are told by every writer
ATTRIBUTED = 4


def facts_of(number: int, turn: int) -> list[Fact]:
    """Return the facts that a writer tells in one round; those of even numbers all writers tell."""
    whose = [f"writer {number}" if place % 2 else "all" for place in range(FACTS)]
    return [Fact.make(CAPITAL.id, f"Land {turn}.{place} of {who}", "Town") for place, who in enumerate(whose)]


def prompt_of(fact: Fact) -> Prompt:
    return Prompt.make(fact.id, "attribute", f"The capital of {fact.subject} is {{object}}.", "Town")


def refinement_of(number: int) -> Refinement:
    config = {"writer": number}
    return Refinement(Refinement.identify(RUN.id, config), RUN.id, config, NOON)


def write(catalog: Catalog, number: int, rounds: int) -> None:
    catalog.add_checkpoint(replace(MODEL, path=f"/models/{number}"))
    catalog.open_run(RUN)
    refinement, known = refinement_of(number), []
    for turn in range(rounds):
        facts = facts_of(number, turn)
        known += facts
        prompts = [prompt_of(fact) for fact in facts]
        order = facts if number % 2 else facts[::-1]
        catalog.import_facts([CAPITAL, *order, *prompts])
        for prompt in prompts[:ATTRIBUTED]:
            given = PromptAttribution(RUN.id, prompt.id, 0.5, 0.0, 1.0)
            catalog.put_attributions([given], [NeuronScore(RUN.id, prompt.id, 1, 7, 1.0)])
        catalog.put_refinement(
            refinement,
            [RefinedFact(refinement.id, fact.id, 1, 1.0, 1) for fact in known],
            [KnowledgeNeuron(refinement.id, fact.id, 1, 7, 1.0, 1.0, "generic") for fact in known],
        )
        catalog.set_fact_status([fact.id for fact in facts], "approved")


if __name__ == "__main__":
    with Catalog(sys.argv[1]) as opened:
        sys.stdin.readline()
        write(opened, int(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.write("done\n")
