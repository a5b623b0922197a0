"""Sentences of ours in many languages, and the ways in which bytes are read wrongly."""

from __future__ import annotations

import html.entities

import ftfy.bad_codecs  # noqa: F401  # registers sloppy-windows-1252: what browsers make of the five bytes that cp1252 lacks

SENTENCES = (
    "The café on the corner serves crème brûlée until nine.",
    "“It’s a long way,” she said — and it was…",
    "The ticket costs €25 – £20 for students – and is valid all day.",
    "Naïve readers don’t mind a cliché; critics do.",
    "The sculptor ‘signed’ every piece with a small © and the year.",
    "Der Fluss trägt die Steine, und am Ufer stehen die alten Häuser der kleinen Stadt.",
    "Über den Wolken muss die Freiheit wohl größer sein, sagt man in Köln.",
    "Die Straße führt über die Brücke „zum goldenen Löwen“ und weiter.",
    "L’été dernier, nous avons traversé la rivière à pied, tout près du château.",
    "Garçon, l’addition s’il vous plaît\u00a0! Où est la clé de la boîte\u00a0?",
    "El niño pequeño soñaba con montañas; ¿quién no soñó alguna vez?",
    "Mañana vendrá el camión con los últimos muebles de la habitación.",
    "A lição de hoje não é difícil, mas exige atenção e um coração tranquilo.",
    "Perché la città è più bella di sera? Nessuno lo sa con certezza.",
    "Så gick vi längs ån till den gröna dalen där fåren betar.",
    "Børnene løber ned til åen, og færgen sejler over fjorden.",
    "Zażółć gęślą jaźń potrafił tylko jeden człowiek w miasteczku.",
    "Příliš žluťoučký kůň stojí na louce za řekou.",
    "Árvíztűrő tükörfúrógép van a szomszéd kértész műhelyében.",
    "Vara trecută am văzut pentru prima oară marea și bărcile ei.",
    "İstanbul’da güzel bir gün; çocuklar sokağın köşesinde oynuyor.",
    "Река несёт камни, а на берегу стоят старые дома маленького города.",
    "Съешь ещё этих мягких булок, сказала хозяйка гостям.",
    "Річка тече повільно, і в її воді відбивається небо.",
    "Το ποτάμι κυλά αργά κάτω από τη γέφυρα.",
    "河水慢慢地流过古老的桥，孩子们在岸边玩耍。",
    "川はゆっくりと流れ、子供たちは岸辺で遊んでいる。",
    "강물은 천천히 흐르고 아이들은 강가에서 놀고 있다.",
    "הנהר זורם לאט, והילדים משחקים על הגדה.",
    "Temperatures of 25\u00a0°C and ±2\u00a0µm were measured, a change of ½.",
    "SÃO PAULO e MARANHÃO são nomes em letras maiúsculas.",
    "The Ångström (Å) is a tenth of a nanometre; Åland lies further north.",
)

KINDS = (
    "latin-1",
    "cp1252",
    "sloppy-1252",
    "cp1251",
    "mac-roman",
    "cp437",
    "cp1250",
    "iso-8859-2",
    "cp850",
    "double latin-1",
    "double 1252",
    "entities",
    "numeric entities",
    "double entities",
)
_CODECS = {"sloppy-1252": "sloppy-windows-1252"}


def mangled(text: str, kind: str) -> str | None:
    """None where the kind does not exist for this text."""
    if "entities" in kind:
        return _entities(text, kind)
    codec = _CODECS.get(kind, kind)
    try:
        if kind.startswith("double"):
            codec = "latin-1" if kind == "double latin-1" else "sloppy-windows-1252"
            return text.encode().decode(codec).encode().decode(codec)
        return text.encode().decode(codec)
    except UnicodeDecodeError:
        return None


def _entities(text: str, kind: str) -> str | None:
    names = {value: name for name, value in html.entities.html5.items() if name.endswith(";") and len(value) == 1}
    if kind == "numeric entities":
        out = "".join(c if c.isascii() else f"&#{ord(c)};" for c in text)
    else:
        out = "".join(c if c.isascii() else f"&{names.get(c, f'#{ord(c)};')}" for c in text)
    return out.replace("&", "&amp;") if kind == "double entities" else out
