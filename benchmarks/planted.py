"""Personal data and its look-alikes in the forms that they have in real pages, made by a seeded generator.

A family is one way of writing one thing. `N` in a template is a digit from 2 to 9, `Z` one from 1 to 9, `X` any.
Every other family is for tuning, the others are held out (`HELD_OUT`); docs/log.md says when those were looked at.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from datetime import datetime, timedelta

Make = Callable[[random.Random], str]
OPEN, CLOSE = "\ue000", "\ue001"  # around what must not be left, where a value has something around it


def _core(text: str) -> str:
    return f"{OPEN}{text}{CLOSE}"


def _plain(text: str) -> str:
    return text.replace(OPEN, "").replace(CLOSE, "")


# -- telephone numbers -----------------------------------------------------------------------------------

INTERNATIONAL = {
    "us": ["+1 NXX NXX XXXX", "+1-NXX-NXX-XXXX", "+1 (NXX) NXX-XXXX", "+1NXXNXXXXXX", "+1.NXX.NXX.XXXX"],
    "us 555": ["+1 (555) XXX-XXXX", "+1-555-XXX-XXXX", "+1 555 01XX XXX"],
    "us exit": ["011 44 20 7XXX XXXX", "011 49 30 NXXXXXX", "011-33-1-4X-XX-XX-XX"],
    "gb": ["+44 20 7XXX XXXX", "+44 (0)20 7XXX XXXX", "+44 7NXX XXXXXX", "+447NXXXXXXXX", "+44 161 NXX XXXX"],
    "gb other": ["+44-1632-960XXX", "+44 1632 960XXX", "(+44) 20 7XXX XXXX", "0044 20 7XXX XXXX"],
    "de": ["+49 30 NXXXXXXX", "+49 (0)30 NXXXXXX", "+49 (0) 89 NXX XX XX", "+49 1NX NXXXXXXX", "+49-40-NXX XXX-XX"],
    "de other": ["+49/30/NXXXXXXX", "+49 (30) NXX-XXXX", "0049 30 NXXXXXX", "+49 30 / NX XX XX XX", "+49(0)221-NXXXXX"],
    "fr": ["+33 Z XX XX XX XX", "+33 (0)Z XX XX XX XX", "+33ZXXXXXXXX", "+33.Z.XX.XX.XX.XX", "0033 Z XX XX XX XX"],
    "it": ["+39 06 NXXX XXXX", "+39 02 NXXXXXXX", "+39 3NX NXX XXXX", "+39 3NX NXXXXXX"],
    "es": ["+34 9NX XX XX XX", "+34 6NX NXX XXX", "+34 91 NXX XX XX", "+34-6NX-NXX-XXX"],
    "nl": ["+31 20 NXX XXXX", "+31 6 NXXX XXXX", "+31 (0)20 NXX XX XX", "+31-6-NXXXXXXX"],
    "be": ["+32 2 NXX XX XX", "+32 4NX XX XX XX", "+32 (0)2 NXX XX XX"],
    "ch": ["+41 44 NXX XX XX", "+41 (0)44 NXX XX XX", "+41 79 NXX XX XX"],
    "at": ["+43 1 NXXXXXX", "+43 664 NXXXXXX", "+43 (0)1 NXX XX XX"],
    "pl": ["+48 22 NXX XX XX", "+48 NXX NXX XXX", "+48NXXNXXXXX"],
    "se": ["+46 8 NXX XXX XX", "+46 70 NXX XX XX", "+46 (0)8 NXX XX XX", "+46-70-NXX XX XX"],
    "no": ["+47 NX XX XX XX", "+47 4XX XX XXX", "+47NXXXXXXX"],
    "dk": ["+45 NX XX XX XX", "+45 NXXX XXXX"],
    "fi": ["+358 9 NXXX XXX", "+358 40 NXX XXXX", "+358 (0)50 NXX XXXX"],
    "pt": ["+351 21 NXX XXXX", "+351 9NX NXX XXX"],
    "ie": ["+353 1 NXX XXXX", "+353 87 NXX XXXX", "+353 (0)1 NXX XXXX"],
    "cz": ["+420 NXX NXX XXX", "+420NXXXXXXXX"],
    "hu": ["+36 1 NXX XXXX", "+36 30 NXX XXXX"],
    "ro": ["+40 21 NXX XXXX", "+40 7NX NXX XXX"],
    "gr": ["+30 21 0NXX XXXX", "+30 69NX NXX XXX"],
    "tr": ["+90 212 NXX XX XX", "+90 (532) NXX XX XX"],
    "ru": ["+7 (495) NXX-XX-XX", "+7 9NX NXX-XX-XX", "+7 812 NXX XX XX", "+7(9NX)NXX-XX-XX"],
    "ua": ["+380 44 NXX XX XX", "+380 (67) NXX-XX-XX"],
    "il": ["+972 3 NXX XXXX", "+972-50-NXX-XXXX", "+972 (0)54 NXX XXXX"],
    "ae": ["+971 4 NXX XXXX", "+971 50 NXX XXXX"],
    "in": ["+91 98XXX XXXXX", "+91-9NXXXXXXXX", "+91 22 NXXX XXXX", "+91 (80) NXXX XXXX"],
    "cn": ["+86 10 NXXX XXXX", "+86 138 XXXX XXXX", "+86-21-NXXXXXXX", "+86 (0)10 NXXXXXXX"],
    "jp": ["+81 3-NXXX-XXXX", "+81-90-NXXX-XXXX", "+81 (0)3 NXXX XXXX"],
    "kr": ["+82 2 NXX XXXX", "+82-10-NXXX-XXXX"],
    "hk sg": ["+852 NXXX XXXX", "+65 6XXX XXXX", "+65-9XXX-XXXX"],
    "au": ["+61 2 NXXX XXXX", "+61 4NX XXX XXX", "+61 (0)4NX XXX XXX"],
    "nz": ["+64 9 NXX XXXX", "+64 21 NXX XXX"],
    "za": ["+27 11 NXX XXXX", "+27 82 NXX XXXX"],
    "br": ["+55 11 9NXXX-XXXX", "+55 (11) NXXX-XXXX", "+55 21 NXXX XXXX"],
    "ar mx": ["+54 9 11 NXXX-XXXX", "+54 11 NXXX XXXX", "+52 55 NXXX XXXX", "+52 1 33 NXXX XXXX"],
    "cl co": ["+56 9 NXXX XXXX", "+56 2 2NXX XXXX", "+57 3NX NXX XXXX", "+57 (1) NXX XXXX"],
    "ng ke eg": ["+234 80N NXX XXXX", "+254 7NX NXXXXX", "+20 2 NXXX XXXX", "+20 10 NXXX XXXX"],
    "unusual spaces": [
        "+49\u00a030\u00a0NXXXXXXX",
        "+33\u00a0Z\u00a0XX\u00a0XX\u00a0XX\u00a0XX",
        "+44\u200920\u20097XXX\u2009XXXX",
    ],
    "unusual hyphens": [
        "+1\u2011NXX\u2011NXX\u2011XXXX",
        "+49 30 NXXX–XXXX",
        "+1 NXX\u2010NXX\u2010XXXX",
        "+33\u202fZ\u202fXX\u202fXX\u202fXX\u202fXX",
    ],
    "full width": [
        "＋８１ ３ １２３４ ５６７８",
        "０３－１２３４－５６７８",
        "＋８６ １３８ １２３４ ５６７８",
        "（０３）１２３４－５６７８",
    ],
    "extension": [
        "+1 NXX-NXX-XXXX ext. XXX",
        "+1 (NXX) NXX-XXXX x XXXX",
        "+44 20 7XXX XXXX ext XX",
        "+1-NXX-NXX-XXXX #XX",
    ],
    "uri": [
        "tel:{+1-NXX-NXX-XXXX}",
        "tel:{+4930NXXXXXX}",
        "tel:{NXXNXXXXXX}",
        "sms:{+1NXXNXXXXXX}",
        "callto:{+44207XXXXXXX}",
    ],
}
NATIONAL = {
    "us": ["(NXX) NXX-XXXX", "NXX-NXX-XXXX", "NXX.NXX.XXXX", "1-NXX-NXX-XXXX"],
    "us 555": ["(555) XXX-XXXX", "555-XXX-XXXX", "(ZXX) XXX-XXXX", "ZXX-XXX-XXXX"],
    "us spaced": ["NXX NXX XXXX", "(NXX) NXX XXXX", "1 (NXX) NXX-XXXX", "1 NXX NXX XXXX"],
    "us tight": ["(NXX)NXX-XXXX", "NXX/NXX-XXXX", "NXX - NXX - XXXX", "1.NXX.NXX.XXXX"],
    "us extension": [
        "(NXX) NXX-XXXX ext. XXX",
        "NXX-NXX-XXXX x XXX",
        "NXX.NXX.XXXX ext XX",
        "(NXX) NXX-XXXX, extension XX",
    ],
    "us free": ["1-800-NXX-XXXX", "(888) NXX-XXXX", "1 (877) NXX-XXXX", "800.NXX.XXXX"],
    "gb": ["020 7XXX XXXX", "07NXX XXXXXX", "07NXX XXX XXX", "01632 960XXX"],
    "gb other": ["(020) 7XXX XXXX", "0161 NXX XXXX", "(01632) 960XXX", "0800 NXX XXXX", "020-7XXX-XXXX"],
    "de": ["030 NXXXXXXX", "0171 NXXXXXX", "030/NXXXXXX", "(030) NXX XX XX"],
    "de other": ["0171/NXXXXXX", "040 / NXX XX-XX", "089-NXXXXXX", "0221 NXX XX XX", "06221/NX-XXXX"],
    "fr": ["0Z XX XX XX XX", "0Z.XX.XX.XX.XX", "0Z-XX-XX-XX-XX"],
    "it": ["06 NXXX XXXX", "02 NXXXXXXX", "06-NXXXXXXX", "051 NXX XXXX"],
    "nl be": ["020 NXX XXXX", "06-NXXXXXXX", "06 NXXX XXXX", "0470 XX XX XX", "02 NXX XX XX"],
    "ch at": ["044 NXX XX XX", "079 NXX XX XX", "0664 NXXXXXX", "01 NXXXXXX"],
    "se fi": ["08-NXX XXX XX", "070-NXX XX XX", "040 NXX XXXX", "09 NXXX XXX"],
    "tr ro": ["0212 NXX XX XX", "0532 NXX XX XX", "021 NXX XXXX", "07NX NXX XXX"],
    "ru": ["8 (495) NXX-XX-XX", "8-800-NXX-XX-XX", "8 (9NX) NXX-XX-XX", "8 9NX NXX-XX-XX"],
    "il": ["03-NXX-XXXX", "050-NXX-XXXX", "054-NXXXXXX"],
    "in": ["098XXX XXXXX", "022-NXXXXXXX", "022 NXXX XXXX"],
    "cn": ["010-NXXXXXXX", "138-XXXX-XXXX", "0755-NXXXXXXX", "138 XXXX XXXX"],
    "jp": ["03-NXXX-XXXX", "090-NXXX-XXXX", "06-NXXX-XXXX", "(03) NXXX-XXXX", "0120-NXX-XXX"],
    "kr tw": ["02-NXX-XXXX", "010-NXXX-XXXX", "02-NXXX-XXXX", "031-NXX-XXXX"],
    "au": ["(02) NXXX XXXX", "04NX XXX XXX", "02 NXXX XXXX", "(08) NXXX-XXXX"],
    "nz za": ["09 NXX XXXX", "021 NXX XXXX", "011 NXX XXXX", "082 NXX XXXX"],
    "br ar mx": ["(11) 9NXXX-XXXX", "(21) NXXX-XXXX", "(011) NXXX-XXXX", "(55) NXXX-XXXX"],
    "ng ke": ["080N NXX XXXX", "07NX NXXXXX", "07NX NXX XXX"],
}
LABELS = (
    "Phone: {}",
    "phone {}",
    "Tel. {}",
    "Tel: {}",
    "Telephone: {}",
    "Fax: {}",
    "Mobile: {}",
    "Call {}",
    "call us at {}",
    "Telefon: {}",
    "Tél. : {}",
    "Handy: {}",
    "Teléfono: {}",
    "Тел.: {}",
    "电话：{}",
    "電話: {}",
    "WhatsApp: {}",
    "Cell: {}",
    "Tel.: {}",
    "T: {}",
    "Ph: {}",
    "Phone number: {}",
    "Telefono {}",
    "☎ {}",
    "Mob. {}",
    "Hotline: {}",
)
LABELLED = {
    "short": ["NXX-XXXX", "NXX XXXX", "NXX XX XX", "NXX-XX-XX"],
    "ten digits": ["NXXNXXXXXX", "9NXXXXXXXX"],
    "trunk": ["0NXXXXXXXX", "0NXXNXXXXXX", "0NX-NXXXXX"],
    "es": ["9NX XX XX XX", "6NX NXX XXX", "91 NXX XX XX", "6NXXXXXXX"],
    "it pl": ["3NX NXX XXXX", "3NX NXXXXXX", "NXX NXX XXX", "22 NXX XX XX"],
    "nordic": ["NX XX XX XX", "NXXX XXXX", "9XX XX XXX"],
    "asia": ["138XXXXXXXX", "NXXX XXXX", "98XXX XXXXX", "9NXXX-XXXXX"],
    "latin america": ["55 NXXX XXXX", "11 9NXXX-XXXX", "9 NXXX XXXX", "3NX NXX XXXX"],
}
# -- e-mail and internet addresses -----------------------------------------------------------------------

NAMES = (
    "jane",
    "john",
    "maria",
    "ahmed",
    "li",
    "olga",
    "info",
    "sales",
    "support",
    "kontakt",
    "j",
    "webmaster",
    "contact",
)
FAMILY_NAMES = (
    "doe",
    "smith",
    "garcia",
    "khan",
    "wang",
    "ivanova",
    "muller",
    "rossi",
    "tanaka",
    "silva",
    "o",
    "nguyen",
)
HOSTS = (
    "example",
    "mail-server",
    "uni-heidelberg",
    "acme",
    "my-company",
    "gmail",
    "web",
    "corp1",
    "x",
    "foo-bar-baz",
    "3com",
)
TLDS = (
    "com",
    "org",
    "net",
    "de",
    "co.uk",
    "fr",
    "edu",
    "io",
    "ac.jp",
    "com.br",
    "info",
    "museum",
    "photography",
    "technology",
    "dev",
    "app",
    "berlin",
    "example",
    "test",
    "gov.in",
    "xn--p1ai",
    "international",
    "store",
    "cat",
)


def _local(r: random.Random) -> str:
    number = r.choice(("", "", r.randint(1, 99)))
    return f"{r.choice(NAMES)}{r.choice(('.', '_', '-', ''))}{r.choice(FAMILY_NAMES)}{number}"


def _host(r: random.Random) -> str:
    return f"{r.choice(('', '', 'mail.', 'dept.sub.'))}{r.choice(HOSTS)}.{r.choice(TLDS)}"


def _email(r: random.Random) -> str:
    return _core(f"{_local(r)}@{_host(r)}")


def _spelt(form: str) -> Make:
    def make(r: random.Random) -> str:
        at, dot = form.split("|")
        return _core(_local(r).replace(".", "_") + at + f"{r.choice(HOSTS[:6])}.{r.choice(TLDS[:7])}".replace(".", dot))

    return make


UNICODE_HOSTS = (
    "bücher.example",
    "müller.de",
    "пример.рф",
    "例子.公司",
    "señor.es",
    "åsa.se",
    "παράδειγμα.gr",
    "straße.de",
)
EMAILS: dict[str, Make] = {
    "plain": _email,
    "upper case": lambda r: _email(r).upper(),
    "plus tag": lambda r: f"{_local(r)}+{r.choice(('news', 'tag-2', 'x.y'))}@{_host(r)}",
    "one letter": lambda r: (
        f"{r.choice(string.ascii_lowercase)}@{r.choice(string.ascii_lowercase)}.{r.choice(TLDS[:7])}"
    ),
    "digits": lambda r: f"{r.randint(1000, 10**9)}@{r.choice(('qq.com', '163.com', 'mail.ru'))}",
    "apostrophe": lambda r: f"{r.choice(('o', 'd'))}'{r.choice(FAMILY_NAMES[1:])}@{_host(r)}",
    "angle brackets": lambda r: f"<{_email(r)}>",
    "quoted": lambda r: f'"{_email(r)}"',
    "single quoted": lambda r: f"'{_email(r)}'",
    "round brackets": lambda r: f"({_email(r)})",
    "markdown": lambda r: f"**{_email(r)}**",
    "code": lambda r: f"`{_email(r)}`",
    "mailto": lambda r: f"mailto:{_email(r)}",
    "mailto subject": lambda r: f"mailto:{_email(r)}?subject=hello",
    "label": lambda r: f"{r.choice(('E-mail:', 'Email: ', 'e-mail: ', 'Mail:', 'Contact: ', 'E-Mail: '))}{_email(r)}",
    "stop": lambda r: f"{_email(r)}.",
    "colon": lambda r: f"{_email(r)}: see there",
    "list": lambda r: f"{_email(r)};",
    "header": lambda r: f"From: Jane Doe <{_email(r)}>",
    "query": lambda r: f"https://x.example/unsubscribe?email={_email(r)}&id=1",
    "escaped query": lambda r: f"https://x.example/?mail={OPEN}{_local(r)}%40{_host(r)}{CLOSE}",
    "entity": lambda r: _email(r).replace("@", "&#64;"),
    "unicode host": lambda r: f"{_local(r)}@{r.choice(UNICODE_HOSTS)}",
    "unicode name": lambda r: f"{r.choice(('jürgen', 'josé.garcía', 'почта', 'søren_k'))}@{_host(r)}",
    "after chinese": lambda r: f"邮箱：{_email(r)}。",
    "within chinese": lambda r: f"请联系{_email(r)}谢谢",
    "full width at": lambda r: _email(r).replace("@", "＠"),
    "[at] dot": _spelt(" [at] |."),
    "(at) (dot)": _spelt(" (at) | (dot) "),
    "[at] [dot]": _spelt("[at]|[dot]"),
    "{at}{dot}": _spelt("{at}|{dot}"),
    "AT DOT": _spelt(" AT | DOT "),
    "at dot": _spelt(" at | dot "),
    "<at> <dot>": _spelt(" <at> | <dot> "),
    "(at) dot": _spelt("(at)|."),
    "[AT] DOT": _spelt(" [AT] | [DOT] "),
    "@ [dot]": _spelt("@| [dot] "),
    "[@]": _spelt(" [@] |."),
    "(a)": _spelt("(a)|."),
    "_at_": _spelt("_at_|_dot_"),
    "-at-": _spelt("-at-|-dot-"),
    "(ät) punkt": _spelt(" (ät) |(punkt)"),
    "spaced at": lambda r: f"{r.choice(NAMES)}.{r.choice(FAMILY_NAMES)} @ {_host(r)}",
}


def _octet(r: random.Random) -> int:
    return r.randint(0, 255)


def _ipv4(r: random.Random) -> str:
    return _core(
        r.choice(
            (
                f"192.168.{_octet(r)}.{_octet(r)}",
                f"10.{_octet(r)}.{_octet(r)}.{_octet(r)}",
                f"172.{r.randint(16, 31)}.{_octet(r)}.{_octet(r)}",
                f"{r.randint(11, 223)}.{_octet(r)}.{_octet(r)}.{_octet(r)}",
                f"203.0.113.{_octet(r)}",
                f"{r.randint(1, 223)}.{_octet(r)}.{_octet(r)}.{_octet(r)}",
            )
        )
    )


def _hex(r: random.Random, digits: int) -> str:
    return f"{r.randrange(1, 16**digits):x}"


def _ipv6(r: random.Random) -> str:
    start = r.choice(("2001:db8", "2a02:8108", "2600:1f18", "fd12:3456", "2404:6800"))
    full = f"{start}:" + ":".join(f"{r.randrange(16**4):04x}" for _ in range(6))
    short = (
        f"{start}::{_hex(r, r.randint(1, 4))}"
        if r.random() < 0.5
        else f"{start}:{_hex(r, 4)}::{_hex(r, 3)}:{_hex(r, 4)}"
    )
    return _core(r.choice((full, short)))


IPS: dict[str, Make] = {
    "v4": _ipv4,
    "v4 port": lambda r: f"{_ipv4(r)}:{r.choice((80, 443, 8080, 51234))}",
    "v4 cidr": lambda r: f"{_ipv4(r)}/{r.randint(8, 32)}",
    "v4 url": lambda r: f"http://{_ipv4(r)}/index.html",
    "v4 url port": lambda r: f"https://{_ipv4(r)}:8443/a?b=c",
    "v4 log": lambda r: f'{_ipv4(r)} - - [10/Oct/2023:13:55:36 +0000] "GET / HTTP/1.1" 200 2326',
    "v4 brackets": lambda r: f"[{_ipv4(r)}]",
    "v4 quotes": lambda r: f'"{_ipv4(r)}"',
    "v4 stop": lambda r: f"{_ipv4(r)}.",
    "v4 range": lambda r: _core(f"10.0.{_octet(r)}.{r.randint(10, 99)}") + "-" + _core(f"10.0.7.{_octet(r)}"),
    "v4 equals": lambda r: f"src={_ipv4(r)},dst={_ipv4(r)}",
    "v4 user": lambda r: f"ssh root@{_ipv4(r)}",
    "v4 label": lambda r: (
        f"{r.choice(('IP', 'IP address:', 'server', 'host', 'from', 'Gateway:', 'DNS'))} "
        + _core(r.choice(("8.8.8.8", "1.1.1.1", "9.9.9.9", "1.2.3.4")))
    ),
    "v4 chinese": lambda r: f"地址是{_ipv4(r)}。",
    "v4 loopback": lambda r: (
        _core(r.choice(("127.0.0.1", "127.0.1.1", "0.0.0.0", "255.255.255.255"))) + r.choice(("", ":5000"))
    ),
    "v6": _ipv6,
    "v6 upper": lambda r: _ipv6(r).upper(),
    "v6 port": lambda r: f"[{_ipv6(r)}]:{r.choice((80, 8443))}",
    "v6 url": lambda r: f"http://[{_ipv6(r)}]/x",
    "v6 cidr": lambda r: f"{_ipv6(r)}/{r.choice((48, 56, 64, 128))}",
    "v6 link local": lambda r: f"fe80::{_hex(r, 4)}:{r.randrange(16**4):04x}:{_hex(r, 4)}:{_hex(r, 4)}",
    "v6 zone": lambda r: f"fe80::{_hex(r, 3)}%{r.choice(('eth0', 'en1', 'wlan0'))}",
    "v6 mapped": lambda r: _core("::ffff:" + _plain(_ipv4(r))),
    "v6 prefix": lambda r: _core(f"2001:db8:{_hex(r, 4)}::") + "/48",
    "v6 two groups": lambda r: r.choice(("fe80::1", "2001:db8::1", "fd00::a1", "ff02::1", "2606:4700::1111")),
    "v6 loopback url": lambda r: f"http://[{_core('::1')}]:{r.randint(1024, 9999)}/",
    "v6 stop": lambda r: f"{_ipv6(r)}.",
}

# -- look-alikes -----------------------------------------------------------------------------------------


def _digits(template: str) -> Make:
    def make(r: random.Random) -> str:
        values = {
            "N": lambda: str(r.randint(2, 9)),
            "Z": lambda: str(r.randint(1, 9)),
            "X": lambda: str(r.randint(0, 9)),
        }
        made = "".join(values[sign]() if sign in values else sign for sign in template)
        return made.replace("{", OPEN).replace("}", CLOSE)  # what is outside of braces is no part of the number itself

    return make


def _one_of(*templates: str) -> Make:
    return lambda r: _digits(r.choice(templates))(r)


def _date(form: str) -> Make:
    return lambda r: (datetime(1950, 1, 1) + timedelta(seconds=r.randrange(76 * 365 * 86400))).strftime(
        r.choice(form.split("|"))
    )


def _version(*ends: str) -> Make:
    return lambda r: r.choice(ends).format(*(r.choice((r.randint(0, 9), r.randint(0, 40))) for _ in range(5)))


def _isbn(r: random.Random, separator: str, prefix: bool) -> str:
    group, publisher = str(r.randint(0, 9)), r.randint(2, 6)
    rest = "".join(str(r.randint(0, 9)) for _ in range(8))
    body = [group, rest[:publisher], rest[publisher:]]
    digits = [int(c) for c in "".join(body)]
    if prefix:
        whole = [9, 7, 8, *digits]
        body = ["978", *body, str(-sum(d * (1, 3)[i % 2] for i, d in enumerate(whole)) % 10)]
    else:
        check = -sum(d * (10 - i) for i, d in enumerate(digits)) % 11
        body.append("X" if check == 10 else str(check))
    return separator.join(body)


def _hash(*lengths: int) -> Make:
    return lambda r: f"{r.getrandbits(4 * (n := r.choice(lengths))):0{n}x}"


def _uuid(r: random.Random) -> str:
    whole = f"{r.getrandbits(128):032x}"
    return "-".join((whole[:8], whole[8:12], whole[12:16], whole[16:20], whole[20:]))


def _mac(separator: str, groups: int = 6) -> Make:
    return lambda r: separator.join(f"{_octet(r):02x}" for _ in range(groups))


def _price(r: random.Random) -> str:
    return r.choice(
        (
            f"${r.randint(1, 999)},{r.randint(0, 999):03},{r.randint(0, 999):03}.{r.randint(0, 99):02}",
            f"{r.randint(1, 99)}.{r.randint(0, 999):03},{r.randint(0, 99):02} €",
            f"{r.randint(1, 99)} {r.randint(0, 999):03} {r.randint(0, 999):03},{r.randint(0, 99):02} EUR",
            f"CHF {r.randint(1, 99)}'{r.randint(0, 999):03}.{r.randint(0, 99):02}",
            f"₹{r.randint(1, 99)},{r.randint(0, 99):02},{r.randint(0, 999):03}",
            f"USD {r.randint(10**6, 10**9)}",
            f"£{r.randint(1, 9)}.{r.randint(0, 99):02}m-£{r.randint(10, 99)}.{r.randint(0, 99):02}m",
            f"{r.randint(100, 999)} {r.randint(0, 999):03} {r.randint(0, 999):03} {r.randint(0, 999):03} руб.",
            f"from ${r.randint(100, 999)} to ${r.randint(1000, 9999)}",
        )
    )


def _table(form: str, most: int) -> Make:
    return lambda r: " ".join(form.format(r.random() * 10 ** r.randint(0, 3)) for _ in range(r.randint(3, most)))


LOOKALIKES: dict[str, Make] = {
    "version of 2": _version("version {}.{}", "v{}.{}", "Python {}.{}"),
    "version of 3": _version("{}.{}.{}", "v{}.{}.{}", "release {}.{}.{}-rc1", "{}.{}.{}-beta.{}"),
    "version of 4": _version(
        "version {}.{}.{}.{}", "v{}.{}.{}.{}", "Firefox {}.{}.{}.{}", "build {}.{}.{}.{}", "release {}.{}.{}.{}"
    ),
    "version of 5": _version("{}.{}.{}.{}.{}", "v{}.{}.{}.{}.{}"),
    "version in a name": _version(
        "libfoo-{}.{}.{}.{}.tar.gz", "foo_{}.{}.{}.{}_amd64.deb", "bar-{}.{}.{}.jar", "lib.so.{}.{}.{}.{}"
    ),
    "version in a user agent": lambda r: (
        f"Chrome/{r.randint(80, 130)}.0.{r.randint(0, 200)}.{r.randint(0, 200)} Safari/537.36"
    ),
    "small dotted quad": lambda r: ".".join(str(r.randint(0, 9)) for _ in range(4)),
    "requirement": _version("numpy=={}.{}.{}.{}", "foo>={}.{}.{}", "torch~={}.{}.{}.{}", "react@^{}.{}.{}"),
    "windows version": lambda r: (
        r.choice(("Windows ", "OS build ", "Version ", "")) + f"10.0.{r.randint(10000, 29999)}.{r.randint(1, 9999)}"
    ),
    "section": _version(
        "Section {}.{}.{}.{}", "see section {}.{}.{}.{} below", "§ {}.{}.{}.{}", "Figure {}.{}.{}", "Table {}-{}"
    ),
    "oid": lambda r: "1.3.6.1.4.1." + ".".join(str(r.randint(1, 40000)) for _ in range(r.randint(2, 5))),
    "isbn 13": lambda r: r.choice(("ISBN {}", "ISBN: {}", "ISBN-13 {}", "{}")).format(
        _isbn(r, r.choice("- "), prefix=True)
    ),
    "isbn 13 tight": lambda r: r.choice(("ISBN {}", "{}", "ISBN-13: {}")).format(_isbn(r, "", prefix=True)),
    "isbn 10": lambda r: r.choice(("ISBN {}", "{}", "ISBN-10: {}")).format(_isbn(r, "-", prefix=False)),
    "isbn 10 other": lambda r: r.choice(("ISBN {}", "ISBN: {}")).format(_isbn(r, r.choice((" ", "")), prefix=False)),
    "issn": _one_of("ISSN 0XXX-XXXX", "ISSN: 1XXX-XXXX", "0XXX-XXXX", "2XXX-XXX4"),
    "doi": lambda r: r.choice(
        (
            f"10.{r.randint(1000, 9999)}/{r.randint(100, 999)}.{r.randint(1000, 9999)}",
            f"doi:10.1038/s{r.randint(41000, 42000)}-0{r.randint(10, 24)}-0{r.randint(1000, 9999)}-{r.randint(1, 9)}",
            f"https://doi.org/10.1145/{r.randint(10**6, 10**7)}.{r.randint(10**6, 10**7)}",
        )
    ),
    "arxiv": _one_of("arXiv:2XXZ.XXXXX", "arXiv:1XXZ.XXXXXv2", "2XXZ.XXXXX", "hep-th/97XXXXX"),
    "date iso": _date("%Y-%m-%d|%Y/%m/%d|%Y.%m.%d|%Y%m%d|%Y %m %d"),
    "date day first": _date("%d/%m/%Y|%d.%m.%Y|%d-%m-%Y|%d.%m.%y|%d %m %Y"),
    "date month first": _date("%m/%d/%Y|%m-%d-%Y|%m/%d/%y|%B %d, %Y|%b %d %Y"),
    "date and time": _date(
        "%Y-%m-%d %H:%M:%S|%Y-%m-%dT%H:%M:%SZ|%Y-%m-%dT%H:%M:%S+01:00|%d.%m.%Y %H:%M|%Y%m%dT%H%M%S|%Y%m%d_%H%M%S"
        "|%m/%d/%Y %I:%M %p"
    ),
    "date range": lambda r: (
        f"{r.randint(1, 28):02}.{r.randint(1, 12):02}.-"
        f"{r.randint(1, 28):02}.{r.randint(1, 12):02}.{r.randint(1990, 2030)}"
    ),
    "http date": _date("%a, %d %b %Y %H:%M:%S GMT|%a %b %d %H:%M:%S %Y +0100|[%d/%b/%Y:%H:%M:%S -0700]"),
    "timestamp": lambda r: r.choice(
        (
            str(r.randint(10**9, 2 * 10**9)),
            f"{r.randint(10**9, 2 * 10**9)}.{r.randint(0, 999999):06}",
            str(r.randint(10**12, 2 * 10**12)),
        )
    ),
    "time": lambda r: r.choice(
        (
            f"{r.randint(0, 23)}:{r.randint(0, 59):02}:{r.randint(0, 59):02}",
            f"{r.randint(0, 23):02}:{r.randint(0, 59):02}-{r.randint(0, 23):02}:{r.randint(0, 59):02}",
            f"00:{r.randint(0, 59):02}:{r.randint(0, 59):02}:{r.randint(0, 24):02}",
            f"{r.randint(0, 59):02}:{r.randint(0, 59):02}.{r.randint(0, 999):03}",
        )
    ),
    "opening hours": lambda r: f"{r.randint(7, 9):02}.{r.choice('03')}0-{r.randint(16, 20)}.{r.choice('03')}0",
    "military time": _one_of("0Z00-1Z30", "0Z00 - 1Z00 hours", "1Z15-1N45"),
    "time zone": _one_of("+0Z00", "GMT+0Z:00", "UTC-0Z:30", "-0Z00"),
    "price": _price,
    "year range": lambda r: f"{(a := r.randint(1500, 2020))}{r.choice(('-', '–', '/'))}{a + r.randint(1, 99)}",
    "years": lambda r: ", ".join(str(r.randint(1800, 2030)) for _ in range(4)) + " " + str(r.randint(1900, 2030)),
    "page range": lambda r: (
        f"{r.choice(('pp. ', '', 'pages '))}{(a := r.randint(1, 3000))}{r.choice(('-', '–'))}{a + r.randint(1, 50)}"
    ),
    "citation": lambda r: (
        f"Nature ({r.randint(1960, 2024)}) {r.randint(100, 600)}, {(a := r.randint(100, 900))}-{a + 7}"
    ),
    "citation 2": lambda r: f"{r.randint(10, 300)}({r.randint(1, 12)}):{(a := r.randint(1000, 9000))}-{a + 12}",
    "number grouped": lambda r: r.choice(
        (
            f"{r.randint(1, 999)},{r.randint(0, 999):03},{r.randint(0, 999):03}",
            f"{r.randint(1, 99)} {r.randint(0, 999):03} {r.randint(0, 999):03}",
            f"{r.randint(1, 999)}.{r.randint(0, 999):03}.{r.randint(0, 999):03}",
            f"{r.randint(1, 9)}'{r.randint(0, 999):03}'{r.randint(0, 999):03}",
        )
    ),
    "number signed": lambda r: r.choice(
        (
            f"+{r.randint(1, 99)},{r.randint(0, 999):03},{r.randint(0, 999):03}",
            f"+{r.randint(1, 9)} {r.randint(0, 999):03} {r.randint(0, 999):03}",
            f"+{r.random() * 10**7:.1f}",
            f"-{r.randint(10**5, 10**8)}",
            f"+{r.randint(10, 10**6)}",
        )
    ),
    "population": lambda r: (
        r.choice(("population", "inhabitants:", "Einwohner"))
        + f" {r.randint(1, 40)} {r.randint(0, 999):03} {r.randint(0, 999):03}"
    ),
    "decimals": _table("{:.2f}", 7),
    "more decimals": _table("{:.6f}", 5),
    "integers": lambda r: " ".join(str(r.randint(0, 10 ** r.randint(1, 5))) for _ in range(r.randint(4, 9))),
    "padded integers": lambda r: " ".join(f"{r.randint(0, 99):02}" for _ in range(r.randint(6, 12))),
    "hex dump": lambda r: " ".join(f"{_octet(r):02x}" for _ in range(16)),
    "binary": lambda r: " ".join(f"{r.randint(0, 15):04b}" for _ in range(r.randint(2, 6))),
    "scientific": lambda r: f"{r.random() * 10:.{r.randint(2, 8)}f}e{r.choice('+-')}{r.randint(0, 99):02}",
    "md5": _hash(32),
    "sha": _hash(40, 64, 128),
    "short hash": _hash(7, 8, 12),
    "uuid": _uuid,
    "mac": _mac(":"),
    "mac hyphens": _mac("-"),
    "eui 64": _mac(":", 8),
    "fingerprint": _mac(":", 16),
    "coordinates": lambda r: r.choice(
        (
            f"{r.uniform(-90, 90):.4f}, {r.uniform(-180, 180):.4f}",
            f"{r.uniform(0, 90):+.5f} {r.uniform(-180, 180):+.5f}",
            f"{r.uniform(0, 90):.6f} {r.uniform(0, 180):.6f}",
        )
    ),
    "degrees": lambda r: (
        f"{r.randint(0, 89)}°{r.randint(0, 59):02}′{r.randint(0, 59):02}″N "
        f"{r.randint(0, 179)}°{r.randint(0, 59):02}′{r.randint(0, 59):02}.{r.randint(0, 99)}″E"
    ),
    "map link": lambda r: f"https://maps.example/@{r.uniform(-90, 90):.7f},{r.uniform(-180, 180):.7f},15z",
    "part number": _one_of(
        "AB-NXX-XXXX", "P/N ZXX-XXXXX-XX", "NXXX-XXXX-XX", "XXX-XXXX-XX-X", "Part no. ZXX-XXX-XXXX", "SKU ZXXXXXXXX"
    ),
    "order number": _one_of(
        "order ZXX-XXXXXXX-XXXXXXX",
        "Order #ZXXXXXXXXX",
        "invoice 20XX-00XXXX",
        "Ref. ZXXXXXXX/XX",
        "ticket ZXXXXXXX",
        "Case no. 0Z-XXXX",
    ),
    "card": _one_of("4XXX XXXX XXXX XXXX", "5XXX-XXXX-XXXX-XXXX", "37XX XXXXXX XXXXX"),
    "social security": _one_of("ZXX-XX-XXXX", "0ZX-XX-XXXX"),
    "postal code": _one_of("ZXXXX-XXXX", "0ZXXX ZXXXX", "D-ZXXXX", "0ZXXX"),
    "bar code": _one_of("400XXXXXXXXXX", "EAN 978XXXXXXXXXX", "5 90XXXX XXXXXX", "UPC 0XXXXXXXXXXX"),
    "iban": _one_of("DE89 3704 0044 0532 013X XX", "GB29 NWBK 6016 1331 9268 XX", "FR14 2004 1010 0505 0001 3M02 6XX"),
    "patent": _one_of("US Patent N,XXX,XXX", "EP 1 XXX XXX B1", "US 20XX/0XXXXXX A1"),
    "score": _one_of("6-4 6-3 7-5", "Z-X Z-X Z-X", "21-1X, 1X-21, 21-1X"),
    "chess": lambda r: "1. e4 e5 2. Nf3 Nc6 3. Bb5 a6 4. Ba4 Nf6 5. O-O Be7 6. Re1 b5 7. Bb3 d6",
    "dimensions": _one_of("1920x1080", "ZXX x ZXX x ZXX mm", "Z,XXX m × Z,XXX m", "ZX/ZX R1Z"),
    "bible": _one_of("John Z:1X-2X", "Psalm 1ZX:Z-1X", "Gen. Z:ZX; Z:ZX"),
    "rfc": _one_of(
        "RFC NXXX, NXXX and NXXX", "ISO 9001:2015", "IEEE 802.11ac-2013", "ISO/IEC 10646-1:2000", "CVE-20ZX-ZXXXX"
    ),
    "lottery": lambda r: " - ".join(str(r.randint(10, 49)) for _ in range(6)),
    "handle": lambda r: f"@{r.choice(NAMES)}_{r.choice(FAMILY_NAMES)}{r.randint(0, 99)}",
    "fediverse": lambda r: f"@{r.choice(NAMES)}@mastodon.{r.choice(('social', 'example'))}",
    "decorator": lambda r: r.choice(
        (
            "@app.route('/')",
            "@pytest.mark.parametrize",
            "@dataclass(frozen=True)",
            "@functools.lru_cache(maxsize=128)",
            "@click.option",
            "@staticmethod",
        )
    ),
    "matrix product": lambda r: r.choice(
        (
            "a@b",
            "x = A @ B.T",
            "q@k.transpose(-2, -1)",
            "W@x + b",
            "self.w@self.x.reshape(-1)",
            "(A@B)@C.sum(axis=0)",
            "y=a@b.T",
            "h@h.conj().T",
        )
    ),
    "git url": lambda r: (
        f"git@{r.choice(('github.com', 'gitlab.com', 'git.example.org'))}:{r.choice(NAMES)}/{r.choice(HOSTS)}.git"
    ),
    "scp path": lambda r: (
        f"{r.choice(('root', 'deploy'))}@{r.choice(('web1', 'db-2', 'build.example.org'))}:/var/www/{r.choice(NAMES)}"
    ),
    "user host": lambda r: f"{r.choice(NAMES)}@{r.choice(('localhost', 'raspberrypi', 'web1'))}:~$",
    "package version": _version(
        "pkg@{}.{}.{}", "@scope/pkg@{}.{}.{}", "npm install left-pad@{}.{}.{}", "actions/checkout@v{}"
    ),
    "image name": lambda r: (
        f"{r.choice(('icon', 'logo', 'bg-hero'))}@{r.choice('23')}x.{r.choice(('png', 'jpg', 'webp'))}"
    ),
    "systemd": lambda r: f"{r.choice(('getty@tty1.service', 'user@1000.service', 'openvpn@client.service'))}",
    "database url": lambda r: f"postgres://{r.choice(NAMES)}:secret@db.example.org:5432/app",
    "price each": lambda r: f"{r.randint(2, 9)} @ {r.randint(1, 99)}.{r.randint(10, 99)}",
    "code names": lambda r: r.choice(
        (
            "std::vector<int>",
            "a::b::c",
            "std::chrono::seconds",
            "Foo::Bar::BAZ",
            "dead::beef::cafe",
            "use std::io::{self, Read};",
            "Digest::SHA256",
            "u8::MAX",
        )
    ),
    "slice": lambda r: r.choice(("x[::2]", "a[1::3]", "s[::-1]", "m[:, ::2]", "x[10:20:30]", "b[::1]", "range[1:2:3]")),
    "ratio": lambda r: ":".join(str(r.randint(1, 9)) for _ in range(r.randint(3, 8))),
    "time code": lambda r: f"{r.randint(0, 9):02}:{r.randint(0, 59):02}:{r.randint(0, 59):02}:{r.randint(0, 24):02}",
    "yaml": lambda r: r.choice(
        ("key: value: 12:30:45", "image: nginx:1.25.3-alpine", "ports: 8080:80", "sha256:1a2b3c")
    ),
    "at home": lambda r: r.choice(
        (
            "look (at) this",
            "seti@home",
            "meet at the dot com party",
            "we met at example.com",
            "available at python.org",
            "dinner at eight (at last)",
            "stay[at]home",
        )
    ),
    "phone words": lambda r: r.choice(
        (
            "call 3 times",
            "phone 2 people",
            "call me in 2019",
            "the mobile 2023-2024 report",
            "fax from 1987",
            "tel aviv 1948",
            "call f(1000000)",
            "cell 12 of 24",
        )
    ),
    "special token": lambda r: "<|endoftext|>",
    "math": lambda r: f"{r.randint(100, 999)} - {r.randint(100, 999)} = {r.randint(1000, 9999)}",
    "arithmetic": lambda r: f"x+{r.randint(10**9, 10**10)} and y-{r.randint(10**6, 10**9)}",
}


def _phones() -> dict[str, tuple[str, Make]]:
    families: dict[str, tuple[str, Make]] = {}
    for name, templates in INTERNATIONAL.items():
        families[f"international, {name}"] = ("[phone]", _one_of(*templates))
    for name, templates in NATIONAL.items():
        families[f"national, {name}"] = ("[phone]", _one_of(*templates))
    for name, templates in LABELLED.items():
        families[f"labelled, {name}"] = ("[phone]", _labelled(_one_of(*templates)))
    every = [one for templates in (*INTERNATIONAL.values(), *NATIONAL.values()) for one in templates]
    families["labelled, all"] = ("[phone]", _labelled(_one_of(*every)))
    return families


def _labelled(make: Make) -> Make:
    return lambda r: r.choice(LABELS).replace("{}", _marked(make(r)))


def _marked(value: str) -> str:
    return value if OPEN in value else _core(value)


PLANTED: dict[str, tuple[str, Make]] = {
    **_phones(),
    **{f"email, {name}": ("[email]", make) for name, make in EMAILS.items()},
    **{f"ip, {name}": ("[ip]", make) for name, make in IPS.items()},
}
HELD_OUT = frozenset([*list(PLANTED)[1::2], *list(LOOKALIKES)[1::2]])
