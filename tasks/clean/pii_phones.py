"""Where telephone numbers stand in a text: by how they are written, or by the word before them.

International numbers (ITU-T E.164), and the national forms of some forty countries: those of North America, those with
a leading zero or a bracketed area code, Russian and Chinese ones. Any other number only behind a word such as "phone".
What decides is the shape: how many digits, in which groups, with what between them. Prices, dates, ISBNs, card numbers
and tables have other shapes, or a word of their own before them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

Span = tuple[int, int]

# A run of digits and what may stand between them; everything else is looked for within one.
RUN = re.compile(r"[+(0-9][0-9 ()./-]{5,60}[0-9]")
LONGEST_RUN = 62
FIRST_DIGITS = re.compile(r"(?<![0-9])[0-9]")
FEWEST, MOST = 6, 15  # digits; fewer than eight only behind a word such as "phone"
CONTEXT = 40  # characters before a number
EXTENSION = 40  # and behind it
LOOK_AHEAD = 4

_GAP = r"\)?(?:[./-]| {1,2}| [-/.] |/ )?\(?"
_START = r"(?<![A-Za-z0-9_+])(?<![0-9][.,:/-])"
_ALONE = r"(?<![0-9] )"  # no number of a table
_EXTENSION = r"(?:[ ,;]{0,2}(?:\b(?:ext|extn|extension|durchwahl|poste|ramal|anexo|доб)\b|x|#)[ .:]{0,2}[0-9]{1,6})?"
HAS_EXTENSION = re.compile(r"[ ,;]{0,2}(?:ext|x|#|durchwahl|poste|ramal|anexo|доб)", re.IGNORECASE)
_END = rf"{_EXTENSION}(?![A-Za-z0-9_]|[.,:/-][0-9])"
_END_ALONE = rf"{_END}(?! [0-9]{{2}})"

CALLING_CODE = re.compile(
    r"1|7|20|27|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|(?:2[1-69]|3[578]|42|5[09]|6[789]|8[05789]|9[69])[0-9]|97[0-7]"
)
SMALL_COUNTRY = re.compile(r"2(?:39|4[07]|9[0789])|376|50[08]|6[6-9][0-9]")  # with numbers of four to six digits
INTERNATIONAL = re.compile(
    rf"{_START}(?P<prefix>\+ ?|{_ALONE}(?:00[ -]?|011[ -]))(?P<number>\(?[1-9](?:{_GAP}[0-9]){{6,16}}(?<! [0-9])){_END}"
)
NORTH_AMERICAN = re.compile(
    rf"{_START}(?<!/)(?:1[ .-])?(?:\([1-9][0-9]{{2}}\)[ .-]{{0,2}}[0-9]{{3}}(?: - |[ .-])|[1-9][0-9]{{2}}"
    rf"(?:(?P<gap>\.| - )[0-9]{{3}}(?P=gap)|[/-][0-9]{{3}}[ -]))[0-9]{{4}}{_END}"
)
NORTH_AMERICAN_SPACED = re.compile(rf"{_START}{_ALONE}(?:[18] )?[2-9][0-9]{{2}} [0-9]{{3}}[ -][0-9]{{4}}{_END_ALONE}")
TRUNK_ZERO = re.compile(
    rf"{_START}(?<!/){_ALONE}(?P<number>\(?0[0-9]{{1,5}}(?:{_GAP}[0-9]{{1,8}}){{1,5}}(?<! [0-9])){_END_ALONE}"
)
RUSSIAN = re.compile(
    rf"{_START}{_ALONE}8[ -]?\(?[0-9]{{3,5}}\)?[ -]?[0-9]{{1,3}}(?P<gap>[ -])[0-9]{{2}}(?P=gap)[0-9]{{2}}{_END_ALONE}"
)
AREA_IN_BRACKETS = re.compile(
    rf"{_START}{_ALONE}\([1-9][0-9]{{1,3}}\) ?(?:(?P<from>[0-9]{{3,5}})[ -](?P<to>[0-9]{{3,4}})(?:[ -][0-9]{{2,4}})?"
    rf"|[0-9]{{5,9}}){_END_ALONE}"
)
BRAZILIAN = re.compile(rf"{_START}{_ALONE}[1-9][0-9] 9?[0-9]{{4}}-[0-9]{{4}}{_END_ALONE}")
CHINESE_MOBILE = re.compile(rf"{_START}{_ALONE}1[3-9][0-9](?P<gap>[ -]?)[0-9]{{4}}(?P=gap)[0-9]{{4}}{_END_ALONE}")
CHINESE = re.compile("[\u3001-\u30ff\u4e00-\u9fff]")
LABELLED = re.compile(rf"\+?\(?(?P<number>[0-9](?:{_GAP}[0-9]){{5,14}}){_END}")

_LABELS = (
    "phone|telephone|fon|telefon|fono|telefono|telefone|teléfono|téléphone|telefoon|tel|tél|tlf|ph|fax|telefax|mobile|"
    "mobil|móvil|mob|cell|celular|cellulare|cel|gsm|handy|portable|call|dial|sms|whatsapp|hotline|helpline|callto|"
    "text us|reach us|contact us|telefonnummer|phoneno|тел|телефон|факс|моб|[tpmf](?=:)"
)
_SIGNS = r"电话|電話|手机|手機|传真|傳真|전화|☎\ufe0f?|☏|✆|\U0001f4de|\U0001f4f1|wa\.me/"
LABEL_WORDS = frozenset(label.split()[0] for label in _LABELS.split("|")) | set("tpmf")
LABEL_SIGNS = re.compile("[\u4e00-\u9fff\uac00-\ud7a3\u260e\u260f\u2706\U0001f4de\U0001f4f1/]")
WORD = re.compile(r"[^\W\d_]+")
LABEL = re.compile(
    rf"(?:(?<![^\W\d_])(?:{_LABELS})|{_SIGNS})\.?(?: ?\([a-z]{{1,12}}\))?(?: ?/ ?fax)?"
    r"(?: (?:us|me|him|her|them|now|today|free|direct|line|office|home|work|phone))?"
    r"(?: ?(?:no|nr|num|number|nummer|#)\b\.?)?(?: (?:at|on|is|under|unter|au|al))?[ :=*_]{0,4}$",
    re.IGNORECASE,
)
_ALWAYS_OTHER = r"isbn(?:-1[03])?|issn|ean|upc|gtin|sku|doi|arxiv|pmid|oclc|lccn|p/n|s/n|iban|vat|pp"
# "part" alone stands before many a number; "part no." only before its own.
_OTHER_WITH_NUMBER = (
    "part|serial|order|invoice|case|docket|patent|account|acct|model|item|id|ref|reference|ticket|version|card|"
    "catalogue?|lot|batch|pages?|article"
)
OTHER_NUMBER = re.compile(
    rf"(?<![a-z])(?:(?:{_ALWAYS_OTHER})\.?(?: ?(?:no|nr|number|#)\b\.?)?"
    rf"|(?:{_OTHER_WITH_NUMBER})\.?(?: ?(?:no\b|nr\b|number\b|#)\.?| ?:))[ :#=]{{0,3}}$",
    re.IGNORECASE,
)
YEARS = re.compile(r"(?:1[5-9]|20)[0-9]{2}[-/](?:1[5-9]|20)?[0-9]{2}(?![0-9])")
DAY = re.compile(
    r"(?:(?:19|20)[0-9]{2}(?P<a>[-./ ]?)(?:0[1-9]|1[0-2])(?P=a)(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0?[1-9]|[12][0-9]|3[01])(?P<b>[-./ ])(?:0?[1-9]|[12][0-9]|3[01])(?P=b)(?:19|20)[0-9]{2})(?![0-9])"
)
# A large round number, an IP address, a decimal number, two of them.
NOT_CALLED = re.compile(
    r"[1-9] ?000 ?000$|^[0-9]{1,3}(?:\.[0-9]{1,3}){3}$|^[0-9]+\.[0-9]{1,2}$|[0-9]\.[0-9]+ [0-9]+\.[0-9]"
)


def find_phone_numbers(text: str) -> Iterator[Span]:
    """Yields where they begin and end; spans may overlap. Expects plain spaces and hyphens (`pii.PLAIN`)."""
    for run in RUN.finditer(text):
        number = sum(map(str.isdigit, run[0]))
        if number < FEWEST:
            continue
        start = run.start()
        before = text[max(0, start - CONTEXT) : start]
        labelled = _is_labelled(before)
        shaped = list(_shaped(text, run)) if number > FEWEST else []
        if labelled or (shaped and not OTHER_NUMBER.search(before)):
            yield from shaped
        at_start = any(first <= start + 1 for first, _ in shaped)
        if labelled and not at_start and (match := LABELLED.match(text, start)) and _may_be_called(match["number"]):
            yield _within_brackets(match)


def _is_labelled(before: str) -> bool:
    words = WORD.findall(before.lower())[-5:]
    return bool((LABEL_WORDS.intersection(words) or LABEL_SIGNS.search(before)) and LABEL.search(before))


def _shaped(text: str, run: re.Match[str]) -> Iterator[Span]:
    start, end = run.span()
    cut = end - start >= LONGEST_RUN
    until = end + (EXTENSION if cut or HAS_EXTENSION.match(text, end) else LOOK_AHEAD)
    has = set(FIRST_DIGITS.findall(run[0])) | SIGNS.intersection(run[0])
    for pattern, needs, is_number in SHAPES:
        if not needs.intersection(has):
            continue
        for match in pattern.finditer(text, max(0, start - 1), until):
            if match.start() < end and is_number(match):
                yield _within_brackets(match)


def _within_brackets(match: re.Match[str]) -> Span:
    """Includes the bracket that opens its first part, and leaves out one that the text before it opened."""
    start, end = match.span()
    closed = match[0].count(")") - match[0].count("(")
    if closed < 0 and match[0].startswith("("):
        start += 1
    elif closed > 0 and match.string[start - 1 : start] == "(":
        start -= 1
    return start, end


def _is_international(match: re.Match[str]) -> bool:
    number, prefix = match["number"], match["prefix"]
    groups = re.findall("[0-9]+", number)
    digits = "".join(groups)
    code = CALLING_CODE.match(digits)
    if (
        code is None
        or digits.endswith("000000")  # +49 1 000 000
        or (prefix == "+ " and len(groups) == 1)  # 5 + 49301234567
    ):
        return False
    trunk_zero = re.match(r"[0-9 ]{1,4}\(0\)", number) is not None  # +44 (0)20 7946 0958
    national = len(digits) - code.end() - trunk_zero
    if len(code[0]) == 1:  # +1 202 555 0143, +7 495 123 45 67
        return national == 10
    small = SMALL_COUNTRY.match(digits) is not None
    fewest = 4 if small else 6 if len(code[0]) == 3 else 7
    is_decimal = len(groups) == 2 and number.count(".") == 1  # +44.1234567
    if is_decimal or not fewest <= national <= MOST - code.end():
        return False
    if len(groups) > 1 and re.fullmatch(r"[0-9]{1,3}(?: [0-9]{3})+", number):
        # +34 612 345 678, +377 123 456; else a large number: +12 345 678
        return groups[0] == code[0] and (national == 9 or (small and national == 6))
    in_pairs = max(map(len, groups)) == 2 and prefix == "00 "  # 00 49 30 12 34, of a dump in hexadecimal
    return prefix.startswith("+") or (len(groups) > 1 and groups[0].startswith(code[0]) and not in_pairs)


def _has_trunk_zero(match: re.Match[str]) -> bool:
    number = match["number"]
    groups = re.findall("[0-9]+", number)
    digits, sizes = "".join(groups), [len(group) for group in groups]
    in_brackets = ")" in number
    short = sizes == [2, 3, 3] or re.fullmatch(r"0[0-9]-[0-9]{2} [0-9]{2} [0-9]{2}", number)  # 08 123 456, 08-12 34 56
    long = in_brackets or "/" in number  # (030) 1234567890
    if not (8 if short else 9) <= len(digits) <= (13 if long else 12):
        return False
    if DAY.match(number) or set(digits) <= {"0", "1"}:  # 01.02.2024, 0110 1001 0110
        return False
    if len(groups) == 1:
        return len(digits) in (10, 11) and not (
            digits[1] == "0"  # 0012345678
            or digits == "0123456789"
            or _is_isbn(digits)  # 0306406152
        )
    if len(groups) == 2:
        return 5 <= sizes[1] <= 9 and not (
            "." in number  # 0123.456789
            or (sizes[0] == 6 and sizes[1] != 5)  # 012345 6789012
            or (sizes == [5, 5] and not in_brackets)  # 01234 56789, two postal codes
        )
    return not (
        sizes == [3, 2, 4]  # 012-34-5678, a social security number
        or sizes[0] == 6  # 012345-67-89, a part number
        or sizes[-1] < 2  # 012-3456789-0
        or ("." in number and (" " in number or sizes == [3, 3, 3, 3]))  # 012.345 678, 012.345.678.901
    )


def _is_isbn(digits: str) -> bool:
    weighted = (int(digit) * weight for digit, weight in zip(digits, range(10, 0, -1), strict=False))
    return len(digits) == 10 and sum(weighted) % 11 == 0


def _is_area(match: re.Match[str]) -> bool:
    """Not the pages behind a volume or a year."""
    digits = sum(map(str.isdigit, match[0]))
    pages = match["from"] is not None and 0 < int(match["to"]) - int(match["from"]) < 100
    return 9 <= digits <= 12 and not re.match(r"\((?:1[5-9]|20)[0-9]{2}\)", match[0]) and not pages


def _is_chinese(match: re.Match[str]) -> bool:
    """One without gaps only among Chinese signs."""
    start, end = match.span()
    return bool(match["gap"]) or CHINESE.search(match.string, max(0, start - 12), end + 12) is not None


def _may_be_called(number: str) -> bool:
    return not (YEARS.match(number) or DAY.match(number) or NOT_CALLED.search(number))


SIGNS = frozenset("+-./( )")
# Each form, a first digit or a sign that it cannot be without, and what else must be true of it; `bool`: nothing else.
SHAPES: tuple[tuple[re.Pattern[str], frozenset[str], Callable[[re.Match[str]], bool]], ...] = (
    (INTERNATIONAL, frozenset("+0"), _is_international),
    (NORTH_AMERICAN, frozenset("-./("), bool),
    (NORTH_AMERICAN_SPACED, frozenset(" "), bool),
    (TRUNK_ZERO, frozenset("0"), _has_trunk_zero),
    (RUSSIAN, frozenset("8"), bool),
    (AREA_IN_BRACKETS, frozenset("("), _is_area),
    (BRAZILIAN, frozenset("-"), bool),
    (CHINESE_MOBILE, frozenset("1"), _is_chinese),
)
