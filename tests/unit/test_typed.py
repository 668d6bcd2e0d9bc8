"""Readers see every character that an editor types, except marks of the closed list."""

# The texts have the signs that editors type, also those that look like others.
# ruff: noqa: RUF001

import html
import re
from itertools import chain

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from kit import typed

from liveblog.html.markdown import plain, to_html


def visible(text: str) -> str:
    """Return what readers see of a text: a line for each line break, without blanks that fold."""
    made = re.sub(r"\n?</?(ul|ol|table|thead|tbody|tr|blockquote|p|h4|li)>\n?", "\n", to_html(text))
    made = html.unescape(re.sub(r"<[^>]+>", "", made))
    return "\n".join(line for line in map(typed.folded, made.splitlines()) if line)


def as_typed(text: str) -> str:
    """Return a text as readers see it when it has no marks."""
    return "\n".join(line for line in map(typed.folded, text.splitlines()) if line)


def tags(text: str) -> str:
    """Return the inline tags of a text's HTML, with the text between them."""
    return re.sub(r"</?(p|br)>|\n| rel=\"noopener\"", "", to_html(text))


AS_TYPED = [
    "Score:\nHome 1\nAway 2",
    "Final:\n3:1",
    "[Watch live]: https://video.example/live",
    "[1]: see below",
    "*",
    "**",
    "```",
    "~~~",
    "![](https://x.example/a.png)",
    "![]()",
    "[]()",
    "[sic](Paris)",
    "[Merz](CDU)",
    "[x](see above)",
    "100. Länderspiel",
    "2024. What a year",
    "16. Minute: Tor\n\n22. Minute: Gelb",
    "3. Platz",
    "1. FC Köln",
    "1. one\n1. one again",
    "2. two\n3. three",
    "------ UPDATE ------",
    "++++++ EIL ++++++",
    "====== JETZT ======",
    "***** LIVE *****",
    "- - -",
    "* * *",
    "---",
    "___",
    "f***ing w***ers",
    "s**t and b*****s",
    "5*3*2",
    "$100*2 and $50*3",
    "2**10**2",
    "a*b*c",
    "__init__",
    "_quiet_ and __loud__",
    "snake_case_name",
    r"C:\x\*.txt",
    r"D:\Users\_temp\(old)",
    r"(C:\x\*.txt)",
    r"\\server\share\*.doc",
    r"\\server",
    r"¯\_(ツ)_/¯",
    r"C:\new\table",
    "\tindented",
    "    four blanks",
    "text\n\n    four blanks after a line",
    "Labour 42%\n---",
    "Tory 31%\n===",
    "# 1 priority",
    "#1 in the charts",
    "#### four",
    "##two",
    "AT&amp;T",
    "&copy; &#42; &nbsp;",
    "> 5 %",
    ">5 %",
    ">> forwarded",
    "- 5 degrees\n- 7 degrees",
    "+ 3 seats\n+ 2 seats",
    "- 5 degrees\n- cold",
    "- one item",
    "- one\n* another",
    "-no blank\n-no blank",
    "1.no blank\n2.no blank",
    "a | b",
    "a | b\nc | d",
    "``x`` and ```y```",
    "~5 km~ and ~6 km~",
    "~~~struck~~~",
    "a~~b~~c",
    "****four****",
    "a * b * c",
    "*not closed",
    "not opened*",
    "<b>bold</b>",
    "<https://x.example>",
    "report.md, e.g.it, node.js",
    "www.",
    "a\\",
    "line\\\nbreak",
]

# Lines of the author of these tests, as typed in news rooms.
OWN = [
    "HT: Leeds 0-0 Hull (agg. 1-2)",
    "90+4' GOOOAL!!! 3-2",
    "Rd 3: Djokovic d. Rune 6-4, 3-6, 7-6(5)",
    "-3 °C in Oslo, +12 °C in Rome",
    "± 0,5 % laut Umfrage*",
    "* Fehlertoleranz: 2,5 Prozentpunkte",
    "CDU 28,5 (+4,4) | SPD 16,4 (-9,3)",
    "Q3: $4.2bn (+7%) vs. $3.9bn est.",
    "Turnout @ 6pm: 54.3% (2019: 51.9%)",
    "Votes: 1,234,567 = 50.1%",
    "#Eilmeldung: Bahnstreik ab 22 Uhr",
    "@coastguard_north: 'All boats are in.'",
    'He said: "It\'s [the deal] dead."',
    "“We [the union] will not sign,” she said",
    "Nr. 7 -> Nr. 4 ->> Nr. 1",
    "Berlin => Hamburg <= 3 h",
    "if x < 3 && y > 4",
    "A&E waits: 4h+ (was <3h)",
    "R&D; P&L; M&A",
    "https://",
    "mail@",
    "@home",
    "file_name_v2_final.docx",
    "$HOME/.bashrc and ~/notes",
    "~ 40 Verletzte ~",
    "~~",
    "~~ ~~",
    "Kl. 3a ~ Kl. 4b",
    "1) only one point",
    "1. Mai: Demo um 10 Uhr",
    "24. Dezember geschlossen",
    "3.) Rücktritt",
    "a) erstens\nb) zweitens",
    "i. first\nii. second",
    "10. zehn\n9. neun\n8. acht",
    "No. 1\nNo. 2",
    "|| LIVE ||",
    "| Leitung gestört |",
    "> > >",
    ">:(",
    ">",
    "<3 <3 <3",
    "<!-- Notiz -->",
    "<Name> geändert",
    "[UPDATE] 14:32",
    "[14:32] [LIVE]",
    "[ ] offen\n[x] erledigt",
    "![Achtung]",
    "Grüße aus Köln! [mehr]",
    "(*) vorläufig",
    "5* hotel",
    "M*A*S*H",
    "P!nk, Ke$ha, A$AP",
    "^^ siehe oben",
    "`90s",
    "O`Neill",
    "\\o/",
    r"10\8",
    "{{name}} fehlt",
    "%s %d %(x)s",
    "3:2 n. V. (4:3 i. E.)",
    "=:-)",
    "+++ EIL +++ Kanzler tritt zurück +++",
    "+1 +1 +1",
    "--> weiter",
    "-- dpa",
    "— Gedankenstrich —",
    "...",
    "…und dann?",
    "?!?!",
    "¿Qué? ¡No!",
]

# More lines for each kind that editors saw altered.
KINDS: dict[str, list[str]] = {
    "line breaks": [
        "21:04 Anstoß\n21:05 Ecke HSV\n21:09 Tor!",
        "What we know:\nThree hurt\nOne arrested",
        "Oslo 3\nRome 12\n\nCairo 27\nParis 9",
        "He said:\n“No.”\n“Never.”",
        "Rot: 12\r\nBlau: 9",
    ],
    "references": [
        "[^1]: Quelle: dpa",
        "[Ticker]:https://video.example/t",
        "[live]: www.bbc.co.uk",
        "[a]: b\n[c]: d",
        "[x]: <https://x.example>",
        '[foo]: /url "title"',
    ],
    "marks without words": [
        *("****", "~~~~", "``", "` `", "``` ```", "* *", "##", "- ", "1.", "| |", "> "),
        *("![]( )", "[]( )", "[](https://x.example)"),
    ],
    "numbers": [
        "100. Länderspiel für Kroos\n101. folgt",
        "7. und 8. Runde",
        "12. Runde:\n13. Runde:",
        "1. a\n1. b\n1. c",
        "1990. Das Jahr\n\n1991. Das Jahr danach",
        "3. eins\n4. zwei\n5. drei",
        "16. Minute\n22. Minute\n90. Minute",
    ],
    "banners": [
        *("------", "++++++", "------ EIL", "+ + + EIL + + +", "***EIL", "##### EIL #####"),
        *("-----\nEIL\n-----", "=====\nEIL\n=====", "###EIL###", "~~~EIL~~~", "```EIL```"),
    ],
    "stars and underscores": [
        *("s***, d**n it", "3*4=12, 5*6=30", "$50*2 or $60*3", "__main__.py", "**/*.txt"),
        *("_a_ __b__ ___c___", r"X:\*\_y\*.doc", "a_b_c, __all__ = [*x]"),
    ],
    "code and headings": [
        *("\ttab first", "     five blanks", "text\n\tand a tab", "Labour 42%\n----"),
        *("Greens 12\n=", "# priority", "###### six", "#no blank", "&lt;b&gt; &euro; &#x26;"),
    ],
    "figures": [
        *("> ½ der Wähler", "> ① eins", "> Ⅳ. Akt", ">\u00a05 %", "> \u200b5 %"),
        *("- ½\n- ¾", "- ①\n- ②", "-\u00a03 °C\n-\u00a04 °C", "* \u200b1961\n* \u200b1970"),
    ],
    "paths": [
        *(r"'C:\_x'", r"‚C:\_x‘", r"‘C:\_x’", r"»C:\_x«", r"›C:\_x‹", r"(siehe 'D:\*.txt')"),
        *(r"\\?\C:\_x", r"\\.\pipe\_x", r"'\\server\x\_y'"),
    ],
    "rows": [
        "Team | P\nFCB | 3\n- | -\nBVB | 1",
        "a | b\nc | d\n--- | ---",
    ],
    "addresses": [
        *("URLはhttps://で始まる", "https://__", "www.__ https://\u200c", "@例え.jp", "a@は"),
    ],
    "unseen": ["x\u2060**y**", "a \u200b* b", "\u200b-\u200ba\n\u200b-\u200bb"],
    "blanks": ["no-break end\u00a0", "  blanks  around  ", "a\u00a0\u00a0b"],
}

# Lines that stand in none of the lists above, nor in the texts that this renderer was made from.
INVENTED = [
    "FT 2-1 (Kane 12', 45+2' pen; Saka 90+3')",
    "Bayern – Dortmund 4:4 n. E. 6:5",
    "6-4 6-7(3) 7-6(10-8) ret.",
    "147/6 (18.3 ov), need 22 off 10",
    "1-0 *live*ticker",
    "£4.50/pint (+10p), £1.2m–£1.4m*",
    "€ 3,- statt 4,- (UVP*)",
    "#BTW25 #Wahl #1 #_x_",
    "@news_live_ @__ana__ @a*b*",
    r"C:\Temp\*.log",
    r"D:\daten\[neu]\_alt\~a.txt",
    r"\\news01\eingang\_heute\*.jpg",
    r"siehe (E:\a\*b*\c)",
    "17:45:03 Uhr (MEZ+1)",
    "23.59 Uhr | 00.01 Uhr",
    "if (a < b && c > d) { return a*b*c; }",
    "x = [1, 2, 3][0]; y = z[[1]]",
    "SELECT * FROM votes WHERE id > 3; -- * all",
    "東京で震度5強（速報）",
    "【速報】首相、辞意を表明*",
    "「本当に？」と記者は尋ねた。",
    "عاجل: رئيس الوزراء يستقيل (رويترز)",
    "1- عاجل\n2- مهم",
    "٣. المركز الثالث\n٤. الرابع",
    "מבזק: 3 פצועים בתל־אביב",
    "(https://example.com/live)",
    "[https://example.com/a]",
    "Mehr: https://example.com/?q=a*b*c&x=1_2_3.",
    "https://de.wikipedia.org/wiki/Bahn_(Begriff)",
    "https://example.com/~ana/__a__/*",
    "——— EILMELDUNG ———",
    "=== 21:04 ===",
    "~~~~~ Regen ~~~~~",
    "*** BREAKING *** PM resigns ***",
    "** UPDATE ** 14:05",
    "__________",
    "-- \nAna Ruiz, Ressort Politik",
    "[…] und dann „[sic!]“",
    "… wie er sagte … [..]",
    "• eins\n• zwei",
    "– eins\n– zwei",
    "· a\n◦ b\n‣ c",
    "→ weiter\n⇒ also",
    "☑ erledigt ☐ offen",
    "+1 für Berlin\n+2 für Kiel",
    "* 1961 in Bonn\n* 1970 in Kiel",
    "*1961 in Bonn, †2026",
    "- 3,5 %\n- 4,0 %",
    "1.) erst\n2.) dann",
    "(1) erst\n(2) dann",
    "0. Null\n1. Eins",
    "1. Halbzeit\n3. Viertel",
    "#1 | #2 | #3",
    "###\n##",
    ">_< und >.<",
    "`Anführung´ und ``Zitat''",
    "rock ’n’ roll, ’90s, 5′ 11″",
    "AT&T &amp; R&D &lt;b&gt; &#8364;",
    "{% if x %} {{ y }} ${z} %20",
    "H₂O, m², 10⁻³, ½, 50/50, 24/7",
    "🇩🇪 2:1 🇫🇷 ⚽⚽🟥 👩‍👩‍👧 :* 8-)",
    "No* means no*.",
    "f*ck, sh*t, b***h",
    "2*(3+4)*5 = 70",
    "wget -r ~/x ~ ~~ y",
    "v1.2.3-rc.4+build_5_x",
    "Nr.\t7\tKiel",
    r"\begin{it} \LaTeX \n a \ b",
    "(╯°□°)╯︵ ┻━┻",
    "^1 siehe Fußnote [1], [2](3)",
    "IBAN DE12 3456 **** **12",
    "Passwort: ********",
    "Note: 1-/2+ (***)",
    "Q: Ja?\nA: Nein!\nQ: Doch?",
    "a,b;c\n1,2;3",
    "Tel. (030) 12-34-56 / +49 30 12",
]

SHOWN = [
    (r"\*no mark\*", "*no mark*"),
    ("1\\. no list\n2\\. no list", "1. no list\n2. no list"),
    (r"\\ and \` and \[x\](y)", r"\ and ` and [x](y)"),
    ("[text](file:///etc/passwd)", "text"),
    ("[text](blob:https://x.example/1)", "text"),
    ("[text](//host.example)", "text"),
    ("[text](#x)", "text"),
    ("[text](images/photo.jpg) [b](../c)", "text b"),
    (r"\*\\server\*", r"*\server*"),
    (r"\\a is at \\b\.", r"\a is at \b."),
    ("[text](javascript:x) [b](data:x)", "text b"),
    ("[a [b](https://x.example) c](https://y.example)", "a b c"),
    ("[a](javascript:x) *b*", "a b"),
    ("- one\n- two", "one\ntwo"),
    ("* one\n\n* two", "one\ntwo"),
    ("1. one\n2. two\n\n3. three", "one\ntwo\nthree"),
    ("1. one\n2. two\n5. five", "one\ntwo\n5. five"),
    ("1) one\n2) two", "one\ntwo"),
    ("Now:\n- one\n- two\nEnd", "Now:\none\ntwo\nEnd"),
    ("> words\n> 5 of them\nend", "words\n5 of them\nend"),
    ("## Words\ntext", "Words\ntext"),
    ("------ UPDATE ------\n\n- one\n- two", "------ UPDATE ------\none\ntwo"),
    ("a\n\n> - one\n> - two", "a\none\ntwo"),
    ("[call](tel:112) [mail](mailto:a@b.example)", "call mail"),
    ("[f](ftp://x.example/a) [w](whatsapp://send?text=x) [a](about:blank)", "f w a"),
    ("[c](../a.html) [d](?q=1) [j](mms://x.example)", "c d j"),
    ("(www.bbc.com) [e](www.bbc.com) [g](bbc.com)", "(www.bbc.com) e g"),
    ('[h](<https://x.example>) [i](/x "t")', 'h [i](/x "t")'),
    ("![alt](https://x.example/a.png)", "!alt"),
    ("##\u00a0Titel", "Titel"),
    ("###　見出し", "見出し"),
    ("-\u00a0a\n-\u00a0b", "a\nb"),
    ("-　a\n-　b", "a\nb"),
    ("1.\u00a0a\n2.\u2009b", "a\nb"),
    (">\u00a0Zitat\n>\u00a0\n>\u00a0Ende", "Zitat\nEnde"),
    ("> 一方、首相は", "一方、首相は"),
    ("- 三浦\n- 一部", "三浦\n一部"),
    ("> €5m raised", "€5m raised"),
    ("> $5", "$5"),
    ("\ufeff## Titel", "Titel"),
    ("\u200b- a\n\u200e- b", "a\nb"),
    ("\u200b> a\n\u200b> b", "a\nb"),
    ("\u200b1. a\n2. b", "a\nb"),
    (r"Ana's:\*x\*", "Ana's:*x*"),
    ("\\#\\# \\#1\\- \\_\n\n\\\\a", "## #1- _\n\\a"),
    ("Tabelle:\na | b\n- | -\n1 | 2", "Tabelle:\na\nb\n1\n2"),
]

MARKED = [
    ("**Wichtig:**Text", "<strong>Wichtig:</strong>Text"),
    ("これは**重要。**です", "これは<strong>重要。</strong>です"),
    ("이것은**중요**입니다", "이것은<strong>중요</strong>입니다"),
    ("**“Quoted.”**he", "<strong>“Quoted.”</strong>he"),
    ("*„Ja!“*sagte er", "<em>„Ja!“</em>sagte er"),
    ("🎉**Tor**🎉", "🎉<strong>Tor</strong>🎉"),
    ("(*kursiv*)", "(<em>kursiv</em>)"),
    ("~~Müller~~, Meier", "<s>Müller</s>, Meier"),
    ("`*x*`", "<code>*x*</code>"),
    ("**Sternchen***", "<strong>Sternchen</strong>*"),
    ("**Eil:**Text", "<strong>Eil:</strong>Text"),
    ("これは**大事！**です", "これは<strong>大事！</strong>です"),
    ("**a.**b **c!**d", "<strong>a.</strong>b <strong>c!</strong>d"),
    ("*Ja,*sie", "<em>Ja,</em>sie"),
    ("한국은**승리(2:1)**했다", "한국은<strong>승리(2:1)</strong>했다"),
    ("**not *nested** right*", "<strong>not *nested</strong> right*"),
    ("x\u00a0", "x&nbsp;"),
    (r"**C:\x\*.txt**", r"<strong>C:\x\*.txt</strong>"),
    (r"*C:\_x* ~~D:\_y~~", r"<em>C:\_x</em> <s>D:\_y</s>"),
    ("\u200e**x**\ufeff", "\u200e<strong>x</strong>\ufeff"),
    ("a \u2060*\u200bx\u200b*", "a \u2060<em>\u200bx\u200b</em>"),
    ("ก\u200b**ข**\u200bค", "ก\u200b<strong>ข</strong>\u200bค"),
    ("❤\ufe0f**x**", "❤\ufe0f<strong>x</strong>"),
    ("**[a](/b)**", '<strong><a href="/b">a</a></strong>'),
]

LINKED = [
    ("www.bbc.co.uk", "https://www.bbc.co.uk", "www.bbc.co.uk"),
    ("See www.x.example/a.", "https://www.x.example/a", "www.x.example/a"),
    ("desk@news.example,", "mailto:desk@news.example", "desk@news.example"),
    ("(https://x.example/a_(b))", "https://x.example/a_(b)", "https://x.example/a_(b)"),
    ("**https://x.example/a_b**", "https://x.example/a_b", "https://x.example/a_b"),
    (r"https://x.example/a\_b", "https://x.example/a_b", "https://x.example/a_b"),
    ("見て https://x.exampleを", "https://x.example", "https://x.example"),
    (
        "“https://x.example/?a=1&b=2”",
        "https://x.example/?a=1&amp;b=2",
        "https://x.example/?a=1&b=2",
    ),
    ("[t](tel:+49 30 123)", "tel:+4930123", "t"),
    ("[t](mailto:a@b.example)", "mailto:a@b.example", "t"),
    ("[t](a@b.example)", "mailto:a@b.example", "t"),
    ("[t](www.bbc.com)", "https://www.bbc.com", "t"),
    ("[t](bbc.com/news)", "https://bbc.com/news", "t"),
    ('[t](https://x.example/a"b)', "https://x.example/a%22b", "t"),
    ("[t]( https://x.example/a b )", "https://x.example/a%20b", "t"),
    # letters with marks of their own, as in decomposed text and in Hindi
    ("https://mu\u0308ller.de/x", "https://xn--mller-kva.de/x", "https://mu\u0308ller.de/x"),
    ("www.mu\u0308ller.de", "https://www.xn--mller-kva.de", "www.mu\u0308ller.de"),
    ("info@mu\u0308ller.de", "mailto:info@xn--mller-kva.de", "info@mu\u0308ller.de"),
    ("[t](mu\u0308ller.de)", "https://xn--mller-kva.de", "t"),
    ("https://उदाहरण.भारत", "https://xn--p1b6ci4b4b3a.xn--h2brj9c", "https://उदाहरण.भारत"),
    ("a@उदाहरण.भारत", "mailto:a@xn--p1b6ci4b4b3a.xn--h2brj9c", "a@उदाहरण.भारत"),
    ("https://bun\u00addestag.de", "https://bundestag.de", "https://bun\u00addestag.de"),
    # beside CJK
    ("連絡先はa@b.jpまで", "mailto:a@b.jp", "a@b.jp"),
    ("サイトはwww.a.jpです", "https://www.a.jp", "www.a.jp"),
    ("https://x.kr입니다.자세히", "https://x.kr", "https://x.kr"),
    ("https://例え.jp/パス", "https://xn--r8jz45g.jp/%E3%83%91%E3%82%B9", "https://例え.jp/パス"),
    ("http://한국.kr에서", "http://xn--3e0b707e.kr", "http://한국.kr"),
    ("www.例え.jpです", "https://www.xn--r8jz45g.jp", "www.例え.jp"),
    ("a@例え.jpまで", "mailto:a@xn--r8jz45g.jp", "a@例え.jp"),
    ("[t](記者@例え.jp)", "mailto:%E8%A8%98%E8%80%85@xn--r8jz45g.jp", "t"),
    # characters that nobody sees, and blanks beside an address
    *(
        (f"{around}https://x.example/a{around} b", "https://x.example/a", "https://x.example/a")
        for around in ("\u200b", "\ufeff", "\u200e", "\u202a", "\u2060", "\u00ad")
    ),
    ("a@b.example\u200b", "mailto:a@b.example", "a@b.example"),
    ("https://x.example/a.\u200f", "https://x.example/a", "https://x.example/a"),
    (
        "https://x.example/ق\u200cر",
        "https://x.example/%D9%82%E2%80%8C%D8%B1",
        "https://x.example/ق\u200cر",
    ),
    ("[t](\u200b\u00a0https://x.example/a\u00a0\u200b)", "https://x.example/a", "t"),
    ("[t](https://x.example/a\u200b)", "https://x.example/a", "t"),
    ("[t](tel:\u202a+49\u00a030 1\u202c)", "tel:+49301", "t"),
    ("[t](mailto:\u200ea@b.example)", "mailto:a@b.example", "t"),
    # punctuation of any script, and emoji
    *(
        (f"https://x.example/a{end}", "https://x.example/a", "https://x.example/a")
        for end in (
            "؟",
            "،",
            "؛",
            "।",
            "–",
            "—",
            "‘",
            "’",
            "›",
            "…",
            "·",
            "👈",
            "❤\ufe0f",
            "→",
            "✅!",
        )
    ),
    ("👉https://x.example👈hier", "https://x.example", "https://x.example"),
    ("https://x.example/a–b.", "https://x.example/a%E2%80%93b", "https://x.example/a–b"),
    *(
        (f"https://x.example/{end}", f"https://x.example/{end}", f"https://x.example/{end}")
        for end in ("a/", "a-", "a%20", "a=", "#", "(a)")
    ),
    # brackets, and a host that ends in a full stop
    ("[t](https://x.example/<q>)", "https://x.example/%3Cq%3E", "t"),
    ("[t](https://x.example/a(b(c)d))", "https://x.example/a(b(c)d)", "t"),
    ("https://x.example./a", "https://x.example./a", "https://x.example./a"),
    # only names of hosts are composed
    (
        "https://x.example/Mu\u0308.pdf",
        "https://x.example/Mu%CC%88.pdf",
        "https://x.example/Mu\u0308.pdf",
    ),
    ("https://x.example/?max=9€", "https://x.example/?max=9%E2%82%AC", "https://x.example/?max=9€"),
]


@pytest.mark.parametrize("text", [*AS_TYPED, *OWN, *chain(*KINDS.values()), *INVENTED])
def test_text_without_marks_shows_as_typed(text: str) -> None:
    assert visible(text) == as_typed(text)


def test_invented_lines_are_60_and_stand_in_no_other_list() -> None:
    others = {
        line for text in [*AS_TYPED, *OWN, *chain(*KINDS.values())] for line in text.split("\n")
    }
    new = [text for text in INVENTED if others.isdisjoint(text.split("\n"))]
    assert len(set(new)) >= 60


@pytest.mark.parametrize(("text", "shown"), SHOWN)
def test_text_shows_without_its_marks(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(("text", "made"), MARKED)
def test_marks_become_tags_beside_punctuation_and_cjk(text: str, made: str) -> None:
    assert tags(text) == made


@pytest.mark.parametrize(("text", "href", "words"), LINKED)
def test_address_becomes_a_link(text: str, href: str, words: str) -> None:
    found = re.search(r'<a href="([^"]*)"[^>]*>(.*?)</a>', to_html(text))
    assert found
    assert (found[1], html.unescape(found[2])) == (href, words)


def test_unseen_character_makes_no_other_host_of_a_path() -> None:
    assert "<a" not in to_html("[t](/\u200b/other.example)")


def compare(seed: int, count: int) -> None:
    """Compare what generated lines show with what the list of marks says."""
    lines = list(typed.lines(seed, count))
    wrong = [line for line in lines if typed.folded(visible(line)) != typed.shown(line)]
    assert [(line, visible(line), typed.shown(line)) for line in wrong[:3]] == []
    marked = [line for line in lines if re.search(r"[*~`\[\\]|^(##|>) ", line)]
    assert len(marked) > count / 2
    assert sum("<" in tags(line) for line in marked) > count / 4


def test_generated_lines_show_what_the_list_of_marks_says() -> None:
    compare(seed=2026, count=1_000)


@pytest.mark.real
def test_ten_thousand_generated_lines_show_what_the_list_says() -> None:
    compare(seed=16, count=10_000)


PIECES = [
    *(
        "*",
        "**",
        "***",
        "~~",
        "`",
        "``",
        "[",
        "]",
        "(",
        ")",
        "|",
        "-",
        ">",
        "#",
        "\\",
        "\\\\",
        "<",
        "&",
        "_",
    ),
    *(
        "\n",
        "\n\n",
        " ",
        "  ",
        "\t",
        "- ",
        "> ",
        "1. ",
        "2. ",
        "## ",
        "| --- | --- |",
        "Tor",
        "7",
        "é",
        "は",
        "!",
    ),
    *("https://x.example/a", "www.x.example", "a@b.example", "https://a@b", ":", "/", "."),
]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_no_letter_or_figure_of_a_text_is_lost(text: str) -> None:
    assume("](" not in text)
    shown = plain(to_html(text))
    assert re.findall(r"\w", shown) == re.findall(r"\w", text)


# A path or a shrug looks the same whether typed or escaped, and is taken as typed, unless the text
# has other punctuation.
ALONE = re.compile(r"(?<!\S)\\[^\W_]|¯_")


def is_alone(text: str) -> bool:
    others = typed.PUNCTUATION.intersection(ALONE.sub("", text)) - {"\\"}
    return bool(ALONE.search(text)) and not others


@given(
    st.text(
        st.characters(
            codec="utf-8", exclude_categories=("C", "Zl", "Zp"), include_characters="\n\u200b\u2060"
        )
    )
)
def test_escaped_text_shows_as_text(text: str) -> None:
    assume(not is_alone(text))
    assert visible(typed.escaped(text)) == as_typed(text)


def test_escaped_lines_show_as_text() -> None:
    texts = [
        *AS_TYPED,
        *OWN,
        *chain(*KINDS.values()),
        *INVENTED,
        *(text for text, _ in [*SHOWN, *MARKED]),
        *typed.lines(3, 300),
    ]
    lines = [line for text in texts for line in text.splitlines()]
    wrong = [line for line in lines if visible(typed.escaped(line)) != typed.folded(line)]
    assert [line for line in wrong if not is_alone(line)] == []
