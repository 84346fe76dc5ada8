"""From a wording and its answer to tokens: what a model reads, what it shall say, and where it says it.

A masked model reads one mask for each token of the answer. A causal model reads the text before the answer; an answer
of several tokens is teacher-forced. An encoder–decoder's encoder reads the text with a sentinel where the answer is
due; its decoder begins with its start token and that sentinel, and goes on as a causal model. Knows no network, only
the tokenizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from knedit.errors import ModelError
from knedit.models.model import Model
from knedit.models.positions import named_positions
from knedit.records import BLANK, Prompt

_CLOSING = " .!?…\"'”’»)"
_LEAD = "a"
SENTINEL, NEXT_SENTINEL = "<extra_id_0>", "<extra_id_1>"


@dataclass(frozen=True, slots=True)
class Query:
    """Tokens to read, answer tokens to say, and the position whose output predicts each of them.

    `neurons` are the positions whose neurons are attributed, together; None: those that predict the answer.
    Of an encoder–decoder these are all the decoder's, and `context` is what its encoder reads.
    """

    tokens: tuple[int, ...]
    answers: tuple[int, ...]
    positions: tuple[int, ...]
    neurons: tuple[int, ...] | None = None
    context: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Blank:
    """Tokens to go on from, the places of their masks, and what an encoder reads."""

    tokens: tuple[int, ...]
    masks: tuple[int, ...]
    context: tuple[int, ...] = ()


def ends_in_answer(text: str) -> bool:
    """Tell whether a prompt's text ends in its blank, closing punctuation aside, so that a causal model can use it."""
    head, blank, tail = text.partition(BLANK)
    return bool(blank) and bool(head.strip()) and not tail.strip(_CLOSING)


def usable(model: Model, prompt: Prompt) -> bool:
    """Tell whether this kind of model can be asked this prompt at all."""
    if prompt.answer is None or BLANK not in prompt.text:
        return False
    return model.masked or model.encoder_decoder or ends_in_answer(prompt.text)


def encode_prompt(model: Model, prompt: Prompt, *, where: str = "answer", subject: str | None = None) -> Query:
    """Return the query of a catalogued prompt.

    `where` names the tokens whose neurons are meant (see `named_positions`), for some of which the fact's subject must
    be given. Raises ModelError if the model cannot read the prompt or say its answer, or has no such tokens.
    """
    assert usable(model, prompt)
    assert prompt.answer is not None
    before, _, after = prompt.text.partition(BLANK)
    if model.encoder_decoder:
        if where != "answer":
            raise ModelError(
                f"the position {where!r} is not one of the decoder's, whose neurons are attributed",
                model.source,
                "An encoder–decoder knows the position `answer` alone.",
            )
        return _encode_filling(model, before + SENTINEL + after, prompt.answer)
    if model.masked:
        mask = _mask_token(model)
        answers = _answer_tokens(model, prompt.answer, spaced=before[-1:].isspace())
        read = before + mask * len(answers) + after
        query = _encode_masked(model, read, answers)
    else:
        read = before.rstrip()
        query = _encode_causal(model, read, prompt.answer, joint=" " if before[-1:].isspace() else "")
    neurons = named_positions(model, read, where, subject=subject, answer=query.positions[0])
    return replace(query, neurons=neurons)


def encode_text(model: Model, text: str, answer: str) -> Query:
    """Return the query of a text given as the model reads it: with its mask tokens or sentinel, or up to the answer.

    For a masked model, as many mask tokens as the answer has tokens; for an encoder–decoder, one `<extra_id_0>`. For a
    causal model, `answer` follows `text` as it
    stands, leading space and all. Raises ModelError if the two do not fit the model.
    """
    if not text.strip():
        raise ModelError("the prompt is empty", "prompt", "Give the words that lead to the answer.")
    if not answer.strip():
        raise ModelError("the answer is empty", f"prompt {text!r}", "Give the answer that shall be attributed.")
    if model.encoder_decoder:
        return _encode_filling(model, text, answer.strip())
    if not model.masked:
        return _encode_causal(model, text, answer, joint="")
    before = text.partition(_mask_token(model))[0]
    return _encode_masked(model, text, _answer_tokens(model, answer.strip(), spaced=before[-1:].isspace()))


def encode_plain(model: Model, text: str) -> Query:
    """Return a query that reads a text as it is, for its neurons at all tokens but special ones.

    Nor at a causal model's first token, which sees nothing before it: its massive activations are no other token's. Its
    answer is its own last token, where it stands. Raises ModelError if it has no tokens, or more than the model takes,
    and for an encoder–decoder, whose decoder does not read texts.
    """
    if model.encoder_decoder:
        raise ModelError(
            "an encoder–decoder's decoder does not read a text of its own",
            model.source,
            "Choose another baseline, such as zero.",
        )
    tokens = _tokens(model, text)
    _check_prompt(tokens, text)
    _check_length(model, len(tokens), text)
    special = set(model.tokenizer.all_special_ids)
    first = 0 if model.masked else 1
    words = tuple(place for place, token in enumerate(tokens) if place >= first and token not in special)
    last = len(tokens) - 1
    return Query(tuple(tokens), (tokens[last],), (last,), neurons=words)


def blank_text(model: Model, text: str) -> Blank:
    """Return what a model reads to go on from a text.

    A causal model reads up to the blank `{object}`, or all of a text without one; a masked model one mask there, an
    encoder–decoder the sentinel there, or at the end. Raises ModelError if that is nothing, or more than the model
    takes.
    """
    before, blank, after = text.partition(BLANK)
    if model.encoder_decoder:
        whole = before + SENTINEL + after if blank else f"{text.rstrip()} {SENTINEL}"
        return Blank(_decoder_start(model), (), tuple(_context(model, whole)))
    if not model.masked:
        tokens = _strip_closing(model, _tokens(model, before.rstrip()))
        _check_prompt(tokens, before)
        _check_length(model, len(tokens), before)
        return Blank(tuple(tokens), ())
    tokens = _tokens(model, before + (_mask_token(model) if blank else "") + after)
    _check_length(model, len(tokens), text)
    masks = tuple(place for place, token in enumerate(tokens) if token == model.tokenizer.mask_token_id)
    return Blank(tuple(tokens), masks)


def closing_tokens(model: Model) -> set[int]:
    """Return the tokens that end a text which the model writes; an encoder–decoder's blank ends at the next one's."""
    config = getattr(model.net, "generation_config", None)
    ends = getattr(config, "eos_token_id", None) if config is not None else model.tokenizer.eos_token_id
    found = set(ends if isinstance(ends, list) else [ends]) - {None}
    return found | ({_sentinel(model, NEXT_SENTINEL)} if model.encoder_decoder else set())


def token_count(model: Model, answer: str) -> int:
    """Return the number of tokens of an answer that follows a space."""
    return len(_answer_tokens(model, answer, spaced=True))


def first_token(model: Model, answer: str) -> int:
    """Return the first token of an answer that follows a space."""
    return _answer_tokens(model, answer, spaced=True)[0]


def unknown_token(model: Model) -> int | None:
    """Return the token that stands for unknown words, or None where the tokenizer has none of its own.

    One that also begins, ends or pads texts stands for no word.
    """
    words = model.tokenizer
    token = words.unk_token_id
    others = (words.bos_token_id, words.eos_token_id, words.pad_token_id)
    return None if token is None or token in others else int(token)


def _encode_causal(model: Model, before: str, answer: str, *, joint: str) -> Query:
    """Tokenise prompt and answer together, so that they meet as in running text; apart where the seam would move."""
    prompt = _strip_closing(model, _tokens(model, before))
    _check_prompt(prompt, before)
    together = _strip_closing(model, _tokens(model, before + joint + answer))
    answers = _rest(together, prompt) or _tokens(model, joint + answer, special=False)
    _check_answer(model, answers, answer)
    tokens = (*prompt, *answers[:-1])
    _check_length(model, len(tokens), before)
    return Query(tokens, tuple(answers), tuple(range(len(prompt) - 1, len(tokens))))


def _encode_masked(model: Model, text: str, answers: Sequence[int]) -> Query:
    tokens = _tokens(model, text)
    positions = tuple(place for place, token in enumerate(tokens) if token == model.tokenizer.mask_token_id)
    if len(positions) != len(answers):
        raise ModelError(
            f"the prompt has {len(positions)} mask tokens and the answer {len(answers)} tokens",
            f"prompt {text!r}",
            f"Put one {_mask_token(model)} for each token of the answer.",
        )
    _check_length(model, len(tokens), text)
    return Query(tuple(tokens), tuple(answers), positions)


def _encode_filling(model: Model, text: str, answer: str) -> Query:
    """Encode for an encoder–decoder: the decoder is fed its start, the sentinel and the answer but for its last."""
    context = _context(model, text)
    start = _decoder_start(model)
    answers = _answer_tokens(model, answer, spaced=True)
    tokens = (*start, *answers[:-1])
    return Query(tokens, tuple(answers), tuple(range(len(start) - 1, len(tokens))), context=tuple(context))


def _context(model: Model, text: str) -> list[int]:
    tokens = _tokens(model, text)
    if tokens.count(_sentinel(model)) != 1:
        raise ModelError(
            f"the prompt has {tokens.count(_sentinel(model))} sentinels, not one",
            f"prompt {text!r}",
            f"Put one {SENTINEL} where the answer is due.",
        )
    _check_length(model, len(tokens), text)
    return tokens


def _decoder_start(model: Model) -> tuple[int, ...]:
    config = model.net.config
    start = getattr(config, "decoder_start_token_id", None)
    return (config.pad_token_id if start is None else start, _sentinel(model))


def _sentinel(model: Model, word: str = SENTINEL) -> int:
    token = model.tokenizer.convert_tokens_to_ids(word)
    if token is None or token == model.tokenizer.unk_token_id:
        raise ModelError(f"the tokenizer has no {word}", model.source, "An encoder–decoder needs its sentinels.")
    return int(token)


def _answer_tokens(model: Model, answer: str, *, spaced: bool) -> list[int]:
    """Tokenise an answer; a spaced one after a word, since some tokenizers open a text with a space of their own."""

    def plain(text: str) -> list[int]:
        return _tokens(model, text, special=False)

    after = _rest(plain(f"{_LEAD} {answer}"), plain(_LEAD)) or plain(f" {answer}")
    tokens = after if spaced else plain(answer)
    _check_answer(model, tokens, answer)
    return tokens


def _tokens(model: Model, text: str, *, special: bool = True) -> list[int]:
    """Tokenise a text of any length; too long ones are refused here, so the tokenizer need not warn of them."""
    return list(model.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])


def _rest(tokens: list[int], beginning: list[int]) -> list[int]:
    """Return what follows the beginning, or nothing where the tokens begin otherwise."""
    return tokens[len(beginning) :] if tokens[: len(beginning)] == beginning else []


def _check_prompt(tokens: Sequence[int], text: str) -> None:
    if not tokens:
        raise ModelError("the prompt has no tokens", f"prompt {text!r}", "Give the words that lead to the answer.")


def _check_answer(model: Model, tokens: Sequence[int], answer: str) -> None:
    unknown = model.tokenizer.unk_token_id
    if not tokens or (unknown is not None and unknown in tokens and unknown != model.tokenizer.eos_token_id):
        raise ModelError(
            f"the answer {answer!r} is not in the model's vocabulary",
            model.source,
            "Use an answer that the tokenizer knows.",
        )


def _check_length(model: Model, length: int, text: str) -> None:
    limit = model.max_tokens
    if limit is not None and length > limit:
        raise ModelError(
            f"the prompt has {length} tokens, the model takes {limit}",
            f"prompt {text[:60]!r}…",
            "Shorten the prompt.",
        )


def _strip_closing(model: Model, tokens: list[int]) -> list[int]:
    """Drop the end-of-sequence token that some tokenizers append: the answer goes on from the text."""
    closing = {model.tokenizer.eos_token_id, model.tokenizer.sep_token_id} - {None}
    while tokens and tokens[-1] in closing:
        tokens = tokens[:-1]
    return tokens


def _mask_token(model: Model) -> str:
    token = model.tokenizer.mask_token
    if token is None:
        raise ModelError("the tokenizer has no mask token", model.source, "A masked model needs one.")
    return str(token)
