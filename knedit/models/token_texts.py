"""What a single token says, in text that a terminal shows and a database keeps.

Knows no weights.
"""

from collections.abc import Sequence

from knedit.models.model import Model

_BROKEN = "\ufffd"
_SPACE = "▁"  # how SentencePiece writes the space before a word, which its decoder drops


def token_text(model: Model, token: int) -> str:
    """Return a token's text with the space before it; the tokenizer's own piece where the token is half a character.

    NUL and lone surrogates are escaped as Python escapes them. A number without a token is told in brackets.
    """
    piece = model.tokenizer.convert_ids_to_tokens(token)
    if piece is None:
        return f"[{token}]"
    text = str(model.tokenizer.decode([token], clean_up_tokenization_spaces=False))
    if not text or _BROKEN in text:
        text = str(piece)
    elif str(piece).startswith(_SPACE) and not text.startswith(" "):
        text = f" {text}"
    return _kept(text)


def token_pieces(model: Model, tokens: Sequence[int]) -> list[str]:
    """Return what each token adds to a text, with the spaces between words, so that the pieces join to the text.

    A token that ends in half a character adds nothing; the one that completes it adds it all.
    """
    pieces: list[str] = []
    said = ""
    for end in range(1, len(tokens) + 1):
        text = str(model.tokenizer.decode(list(tokens[:end]), clean_up_tokenization_spaces=False))
        whole = text.rstrip(_BROKEN)
        pieces.append(_kept(whole[len(said) :]))
        said = whole if len(whole) >= len(said) else said
    return pieces


def _kept(text: str) -> str:
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
