import pytest

from knedit.analysis.texts import Shelf, find_phrase, hide_object, hide_some_word, sentences_of, some


def test_the_objects_first_whole_word_outside_the_subject_is_hidden() -> None:
    text = "New York City lies in New York, not in Yorkshire; New York is a state."
    hidden = hide_object(text, "New York City", "New York")
    assert hidden is not None
    assert hidden.text == "New York City lies in {object}, not in Yorkshire; New York is a state."
    assert hidden.word == "New York"
    assert hide_object("Yorkshire is not new", "Leeds", "York") is None
    assert hide_object("New York City", "New York City", "New York") is None


def test_behind_the_subject_means_behind_it() -> None:
    assert hide_object("Paris is the capital of France", "France", "Paris", behind=True) is None
    found = hide_object("Of France the capital is Paris", "France", "Paris", behind=True)
    assert found is not None
    assert found.text == "Of France the capital is {object}"


def test_some_word_is_hidden_by_chance_but_not_the_first_nor_the_subjects() -> None:
    text = "In Costa Rica many birds sing"
    seen = {found.word for n in range(60) if (found := hide_some_word(text, "Costa Rica", str(n)))}
    assert seen == {"many", "birds", "sing"}
    early = {found.word for n in range(60) if (found := hide_some_word("a Oslo b e c d", "Oslo", str(n), behind=True))}
    assert early == {"c", "d"}
    assert hide_some_word("Oslo", "Oslo", "x") is None
    assert hide_some_word(text, "Costa Rica", "7") == hide_some_word(text, "Costa Rica", "7")


def test_a_long_text_is_cut_around_the_word() -> None:
    text = " ".join(f"w{n}" for n in range(300))
    found = hide_object(text, "", "w150")
    assert found is not None
    assert found.text.split(" ")[0] == "w91"
    assert len(found.text.split(" ")) == 79  # 59 before the blank, 19 behind it


def test_a_shelf_gives_the_texts_that_hold_a_phrase_as_whole_words_each_once() -> None:
    shelf = Shelf()
    shelf.add(
        ["The  capital of France.", "The capital of France.", "Francesca sings.", "Old France!", "{object} is no text"]
    )
    assert shelf.texts == ["The capital of France.", "Francesca sings.", "Old France!"]
    assert shelf.holding("France") == ["The capital of France.", "Old France!"]
    assert shelf.holding("capital of France") == ["The capital of France."]
    assert (shelf.holding("Spain"), shelf.holding("!")) == ([], [])


def test_sentences_and_choices_are_the_same_each_time() -> None:
    assert sentences_of("One. Two!\n\nThree? Four") == ["One.", "Two!", "Three?", "Four"]
    assert some("abcdef", 3, "seed") == some("abcdef", 3, "seed")
    assert len(some("ab", 3, "seed")) == 2


@pytest.mark.parametrize(("phrase", "place"), [("C++", 8), ("(new)", 12), ("know", None)])
def test_phrases_are_found_whatever_letters_they_have(phrase: str, place: int | None) -> None:
    assert find_phrase("I knew a C++ (new)"[1:], phrase) == place
