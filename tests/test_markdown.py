"""Text that means nothing else in Markdown."""

import pytest

from metarl_exp.markdown import escaped, pipes


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("inner_steps=3, lr=0.1 [0.2, 0.3] (RL^2) a < b & c, C# − 1", None),
        ("*a* _b_ `c` ~~d~~ $e$", r"\*a\* \_b\_ \`c\` \~\~d\~\~ \$e\$"),
        (r"\*a", r"\\\*a"),
        ("<img src=x onerror=y> </b> <!-- --> &lt; &#60;", r"\<img src=x onerror=y> \</b> \<!-- --> \&lt; \&#60;"),
        ("[a](http://b) ![c](d) [e][f]", r"[a]\(http://b) \![c]\(d) [e]\[f]"),
        ("- a\n- b", r"\- a - b"),
        ("1. a", r"1\. a"),
        ("# a\u2028# b", r"\# a # b"),
        ("[x] a", r"\[x] a"),
        ("> a", r"\> a"),
        ("-1.5", None),
        ("0.1", None),
    ],
)
def test_words_are_shown_as_they_are(words, shown):
    assert escaped(words) == (words if shown is None else shown)


def test_cells_of_a_table_stay_in_their_row():
    assert pipes(["a|b", "c"], [["d\ne", "f"]]) == "| a\\|b | c |\n| --- | ---: |\n| d e | f |"
