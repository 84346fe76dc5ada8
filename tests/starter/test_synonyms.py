import pytest

from knedit.catalog.formats.knedit_jsonl import read
from knedit.errors import FactsError
from knedit.flows.experiments.consistency import read_synonyms
from knedit.flows.facts import starter_file
from knedit.records import Fact
from knedit.starter.synonyms import synonyms_text


def test_the_list_reads_and_most_of_its_words_are_objects_of_starter_facts() -> None:
    found = read_synonyms(synonyms_text(), None)
    objects = {one.object for one in read(starter_file()) if isinstance(one, Fact)}
    assert found["football"] == ("soccer",)
    assert len(found.keys() & objects) >= 30


@pytest.mark.parametrize("line", ["football soccer", "football =", "= soccer"])
def test_a_line_that_is_no_list_of_synonyms_is_told_with_its_number(line: str) -> None:
    with pytest.raises(FactsError, match="line 2"):
        read_synonyms(f"yes = aye\n{line}", None)
