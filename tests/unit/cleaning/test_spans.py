from hypothesis import given
from hypothesis import strategies as st

from arhn.cleaning.spans import _folded, _origins, align, cut

TEXT = "He said “No—never” in  1999.\nIt cost €5 (five). Naïve café; STRASSE, straße."


def found(answer: str, text: str = TEXT) -> str | None:
    span = align(answer, text)
    return None if span is None else text[span[0] : span[1]]


def test_exact_wins() -> None:
    assert found("in  1999") == "in  1999"


def test_whitespace_case_quotes_and_dashes_may_differ() -> None:
    assert found('said "no-never" IN 1999') == "said “No—never” in  1999"
    assert found("1999. It cost") == "1999.\nIt cost"


def test_wrapping_quotes_are_ignored() -> None:
    assert found('"It cost €5"') == "It cost €5"
    assert found("**five**") == "five"


def test_case_folding_that_changes_length() -> None:
    assert found("strasse, STRASSE") == "STRASSE, straße"


def test_word_boundaries_are_preferred() -> None:
    assert align("cat", "concatenate the cat") == (16, 19)
    assert align("cat", "concatenate") == (3, 6)


def test_what_is_not_there_is_not_found() -> None:
    assert align("in 2001", TEXT) is None
    assert align("", TEXT) is None
    assert align("   ", TEXT) is None
    assert align('""', TEXT) is None


@given(st.text(min_size=1), st.data())
def test_every_slice_aligns_to_itself_verbatim(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    answer = text[start:end]
    span = align(answer, text)
    if answer.strip():
        assert span is not None
        assert text[span[0] : span[1]] == answer.strip()


@given(st.text(), st.text())
def test_a_span_is_always_inside_its_text(answer: str, text: str) -> None:
    span = align(answer, text)
    if span is not None:
        start, end = span
        assert 0 <= start < end <= len(text)


@given(st.text(alphabet="aB “”\"'’-–\n\u00a0ß…", min_size=1), st.data())
def test_tolerated_changes_align_to_the_right_words(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    if text[start:end].strip() and align(" ".join(text[start:end].upper().split()), text):
        span = align(" ".join(text[start:end].split()), text)
        assert span is not None
        assert "".join(text[slice(*span)].split()) == "".join(text[start:end].split())


@given(st.text() | st.text(alphabet="aB “”…\u200b\u00ad \n\t\u00a0\x1cßİŉ", min_size=1))
def test_every_folded_character_comes_from_its_own(text: str) -> None:
    folded, origins = _folded(text), _origins(text)
    assert len(folded) == len(origins)
    for character, i in zip(folded, origins, strict=True):
        assert character in _folded(text[i])


@given(st.text(), st.integers(1, 200))
def test_cut_is_a_prefix_within_the_limit(text: str, limit: int) -> None:
    short = cut(text, limit)
    assert len(short) <= max(limit, 0) or short == text
    assert text.startswith(short)


def test_cut_ends_at_a_sentence() -> None:
    assert cut("One two three. Four five six. Seven", 32) == "One two three. Four five six."
    assert cut("One. Two three four five six seven", 30) == "One. Two three four five six"
    assert cut("x" * 50, 10) == "x" * 10
