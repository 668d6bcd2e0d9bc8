"""Links: `[text](address)`, and addresses that stand in the text.

Rules: pure. Each rule is a rule of markdown-it, and replaces the rule that markdown-it has. No rule
takes time quadratic in the text: every search has a limit, or starts where the last one ended.
"""

import re
import unicodedata
from collections import Counter
from typing import Final

from markdown_it.rules_inline import StateInline

from liveblog.blog.visible import INVISIBLE
from liveblog.html.letters import CJK_LETTER, EMOJI, JOINERS, LETTER, LETTERS, UNSEEN
from liveblog.html.marks import CODE, ESCAPE, unescape

ADDRESS_MAX: Final = 2_048  # characters of a link's address; a longer one is text
# A link's text may contain links, which are text. Deeper brackets are text as well.
BRACKETS_DEPTH_MAX: Final = 5

# Only these letters are of any case: for a whole pattern, `re` would fold each class of letters,
# which takes 0.1 s at the start.
_SCHEME: Final = "(?i:https?)://"
# A name ends at CJK, since words follow it there without a blank, unless it is all CJK itself.
_NAME: Final = rf"(?:{LETTER}|[{JOINERS}]|\\?-)+"
_CJK_NAMES: Final = rf"{CJK_LETTER}+(?:\\?\.(?:{CJK_LETTER}+|{_NAME}))+"
_PORT: Final = r"(?::\d{1,5})?"
_FIRST: Final = r"(?=[^\W_])"  # an address has more than what belongs to the sentence
_HOST: Final = rf"{_FIRST}(?:{_CJK_NAMES}|{_NAME}(?:\\?\.{_NAME})*)(?:\.(?=/))?{_PORT}"
_STOP: Final = r"\s<>\"`\\“”„«»‹›、。，！？；：（）「」『』【】《》"  # noqa: RUF001 - full-width marks
_PATH: Final = rf"(?:\\?[/?#](?:{ESCAPE}|(?!\*\*|~~)[^{_STOP}{EMOJI}]){{0,{ADDRESS_MAX}}})?"
_TOP: Final = rf"(?:(?![\d_]){LETTER}){{2,63}}"
_MAIL: Final = (
    rf"{LETTER}(?:{LETTER}|[.+-]){{0,63}}@"
    rf"(?:{_CJK_NAMES}|(?:(?:{LETTER}|-)+\.)+{_TOP})(?![\w-]*@)"
)
_USER: Final = rf"{_SCHEME}[^\s/?#<>]{{0,{ADDRESS_MAX}}}@\S{{0,{ADDRESS_MAX}}}"
_WEB_START: Final = rf"(?<![A-Za-z0-9]){_SCHEME}"
_NAME_START: Final = rf"(?<!{LETTER})(?<![.@/-])(?i:www)\\?\."
_MAIL_START: Final = rf"(?<!{LETTER})(?<![.+@/-])"
_ADDRESS: Final = re.compile(
    rf"(?<![A-Za-z0-9])(?:(?P<user>{_USER})|(?P<web>{_SCHEME}{_HOST}{_PATH}))"
    rf"|(?P<name>{_NAME_START}{_FIRST}(?:{_CJK_NAMES}|{_NAME}(?:\\?\.{_NAME})+){_PORT}{_PATH})"
    rf"|{_MAIL_START}(?P<mail>{_MAIL})"
)
# Where a mark or an address may start; all other characters are text.
STARTS: Final = re.compile(
    rf"[\n*~`\[\]\\]|{_WEB_START}|{_NAME_START}"
    rf"|{_MAIL_START}{LETTER}[{LETTERS}.+-]{{0,63}}+@(?=\w)"
)
_TRAILING: Final = frozenset("?!.,:;*_~'")
_OPENING: Final = {")": "(", "]": "[", "}": "{"}

_BRACKET: Final = re.compile(rf"\\.|``+|{CODE}|[\[\]]")
_ROUND: Final = rf"\((?:[^\s()\"]|\([^\s()\"]{{0,{ADDRESS_MAX}}}\)){{0,{ADDRESS_MAX}}}\)"
_PIECE: Final = rf"\\\S|[^\s()\\]|{_ROUND}|[^\S\n]"
_TARGET: Final = re.compile(
    rf"\([{UNSEEN}]*+(?:<(?P<angle>[^<>\n]{{1,{ADDRESS_MAX}}})>[{UNSEEN}]*+"
    rf"|(?P<plain>(?:{_PIECE}){{1,{ADDRESS_MAX}}}))\)"
)
# An address in round brackets with a blank in it, which is no title after an address.
_SPACED: Final = re.compile(r"(?:https?://|tel:|mailto:)[^\"]+", re.IGNORECASE)
_UNSEEN: Final = re.compile(rf"[{UNSEEN}]+")
_BARE: Final = re.compile(rf"[{UNSEEN}]*+(.*[^{UNSEEN}])?", re.DOTALL)
# Characters that nobody sees and that no address has, unlike those of Persian words and emoji.
_NEVER: Final = re.compile(rf"(?![\u200c\u200d\ufe00-\ufe0f])[{INVISIBLE}]")
_BEFORE_PATH: Final = re.compile(r"([a-z][a-z0-9+.-]*:(//)?)?[^/?#]*", re.IGNORECASE)
_DOMAIN: Final = re.compile(rf"(?:[{LETTERS}-]+\.)+(?:(?![\d_])[{LETTERS}]){{2,63}}(?=[/?#:]|$)")
_IS_MAIL: Final = re.compile(rf"[{LETTERS}][{LETTERS}.+-]{{0,63}}@{_DOMAIN.pattern}")
# An address in round brackets; words there are no link, as in "[sic](Paris)".
_IS_ADDRESS: Final = re.compile(
    rf"[a-z][a-z0-9+.-]*:\S|/|#\S|\?\w+=|\.\.?/|[\w%.-]+/\S*\.\w|{_DOMAIN.pattern}"
    rf"|{_IS_MAIL.pattern}",
    re.IGNORECASE,
)
# A user name in an address could pass for the host, as in https://bank.example@evil.example.
# Browsers skip further slashes after the scheme, and read "\" as "/" (URL Standard, 4.4).
_IS_WEB: Final = re.compile(r"https?://[^\s/\\?#@]+(?:[/\\?#]|$)", re.IGNORECASE)
_IS_OTHER: Final = re.compile(r"(?:mailto:|tel:)\S|/(?![/\\])", re.IGNORECASE)


def address(state: StateInline, silent: bool) -> bool:
    """Link a full address, a name that begins with "www." or an e-mail address."""
    found = _ADDRESS.match(state.src, state.pos, state.posMax)
    if not found:
        return False
    text = found[0] if found["user"] else _without_end(found[0])
    shown = unescape(text)
    if not silent:
        _push(state, shown, None if found["user"] else _href(shown, found.lastgroup))
    state.pos += len(text)
    return True


def _href(shown: str, kind: str | None) -> str:
    return {"name": "https://", "mail": "mailto:"}.get(kind or "", "") + shown


def _without_end(text: str) -> str:
    """Return an address without what belongs to the sentence: a full stop, a bracket around it."""
    pieces, opened = list[str](), Counter[str]()
    for piece in re.findall(rf"{ESCAPE}|.", text):
        opening = _OPENING.get(piece[-1])
        if opening and not opened[opening]:
            break
        opened[opening or piece[-1]] += -1 if opening else 1
        pieces.append(piece)
    while _is_trailing(pieces[-1][-1]):
        pieces.pop()
    return "".join(pieces)


def _is_trailing(char: str) -> bool:
    """Return whether a character at the end of an address belongs to the sentence around it."""
    category = unicodedata.category(char)
    is_foreign = not char.isascii() and (category[0] == "P" or category == "Sm")
    return char in _TRAILING or is_foreign or bool(_UNSEEN.match(char))


def _push(state: StateInline, shown: str, href: str | None) -> None:
    """Show an address, as a link unless it stands in the text of a link."""
    if href is None or state.linkLevel:
        state.append_pending(shown)
        return
    _open(state, href)
    state.push("text", "", 0).content = shown
    state.push("link_close", "a", -1)


def _open(state: StateInline, href: str) -> None:
    """Start a link; the letters of its host are composed, as in the names of hosts."""
    seen = _BEFORE_PATH.sub(_composed, _NEVER.sub("", href), count=1)
    state.push("link_open", "a", 1).attrs = {"href": state.md.normalizeLink(seen)}


def _composed(host: re.Match[str]) -> str:
    return unicodedata.normalize("NFC", host[0])


def link(state: StateInline, silent: bool) -> bool:
    """Link `[text](address)`; an address that may not be linked leaves the text alone."""
    if silent or state.src[state.pos] != "[" or state.linkLevel >= BRACKETS_DEPTH_MAX:
        return False
    close = _brackets(state).get(state.pos, state.posMax)
    found = _TARGET.match(state.src, close + 1, state.posMax)
    if not found or not state.src[state.pos + 1 : close].strip():
        return False
    target = _NEVER.sub("", unescape(_target(found["angle"], found["plain"])))
    if not _IS_ADDRESS.match(target):
        return False
    _push_text(state, close, None if state.linkLevel else linkable(target))
    state.pos = found.end()
    return True


def _target(angle: str | None, plain: str | None) -> str:
    """Return what stands in the brackets of a link, "" for words with blanks between them."""
    bare = _BARE.match(angle or plain or "")
    target = (bare and bare[1]) or ""
    has_words = not angle and re.search(r"\s", target) and not _SPACED.fullmatch(target)
    return "" if has_words else target


def linkable(target: str) -> str | None:
    """Return the address of a link, None for one that may not be linked.

    Links may go to http, https, mailto, tel and paths of this site, without a user name. A domain
    gets https, an e-mail address mailto.
    """
    if _IS_WEB.match(target) or _IS_OTHER.match(target):
        return _UNSEEN.sub("", target) if target[:4].lower() == "tel:" else target
    if _IS_MAIL.fullmatch(target):
        return f"mailto:{target}"
    return f"https://{target}" if _DOMAIN.match(target) and "@" not in target else None


def _brackets(state: StateInline) -> dict[int, int]:
    """Return where each "[" of the text is closed."""
    if not state.cache:
        state.cache[-1] = -1
        opened: list[int] = []
        for found in _BRACKET.finditer(state.src):
            if found[0] == "[":
                opened.append(found.start())
            elif found[0] == "]" and opened:
                state.cache[opened.pop()] = found.start()
    return state.cache


def _push_text(state: StateInline, close: int, href: str | None) -> None:
    """Show the text of a link up to the bracket at `close`, with its marks."""
    end = state.posMax
    if href is not None:
        _open(state, href)
    state.pos, state.posMax = state.pos + 1, close
    state.linkLevel += 1
    state.md.inline.tokenize(state)
    state.linkLevel -= 1
    state.posMax = end
    if href is not None:
        state.push("link_close", "a", -1)
