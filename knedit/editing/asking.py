"""The contexts of a wish as a model is asked them.

Knows the model's tokens, which wishes do not.
"""

from collections.abc import Sequence

from knedit.editing.recipe import Recipe
from knedit.editing.wishes import Context, Wish, contexts_of
from knedit.models.model import Model
from knedit.models.prompting import Query, encode_prompt
from knedit.records import Prompt


def query_of(model: Model, wish: Wish, text: str, answer: str | None = None) -> Query:
    """Return the query of one of a wish's texts, or of another answer's, whose site is where an edit acts on it.

    Raises ModelError.
    """
    prompt = Prompt.make(0, "attribute", text, answer or wish.answer)
    where = "answer" if model.at_answer else "subject"
    return encode_prompt(model, prompt, where=where, subject=wish.subject)


def contexts_asked(
    model: Model, wish: Wish, sentences: Sequence[str], recipe: Recipe
) -> tuple[list[Context], list[Query]]:
    """Return a wish's contexts with their queries, its own texts first.

    What is to be forgotten is asked in no other text that begins with its subject: to forget it there as well costs all
    other texts (SmolLM2-135M: two facts of 50 raised the perplexity by 4 % for it, instead of 0.4 %).
    """
    contexts = contexts_of(wish, sentences, recipe.variety_of(wish, at_answer=model.at_answer))
    found = [(context, query_of(model, wish, context.text)) for context in contexts]
    if wish.new is None:
        own = len(wish.texts)
        found = [pair for number, pair in enumerate(found) if number < own or not begins_with_subject(model, pair[1])]
    return [context for context, _ in found], [query for _, query in found]


def begins_with_subject(model: Model, query: Query) -> bool:
    """Tell whether the subject is the first token of its text; its key is then much that of any text's first token."""
    return not (model.at_answer or model.masked) and query.neurons == (0,)
