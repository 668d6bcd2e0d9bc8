"""How often the same thing is logged."""

from liveblog.seldom import AGAIN_S, Seldom


def test_line_of_a_kind_is_allowed_once_a_minute() -> None:
    now = 0.0
    seldom = Seldom(lambda: now)
    assert [seldom.may("a"), seldom.may("b"), seldom.may("a")] == [True, True, False]
    now = AGAIN_S - 1
    assert not seldom.may("a")
    now = AGAIN_S
    assert seldom.may("a")
