from __future__ import annotations

import time

import pytest

from tasks.clean.mojibake import fix_mojibake
from tasks.clean.normalize import normalize

TEXTS = (
    "The café on the corner serves crème brûlée until nine.",
    "“It’s a long way,” she said — and it was…",
    "Über den Wolken muss die Freiheit wohl größer sein, sagt man in Köln.",
    "L’été dernier, nous avons traversé la rivière, tout près du château.",
    "El niño pequeño soñaba con montañas; ¿quién no soñó alguna vez?",
    "Zażółć gęślą jaźń potrafił tylko jeden człowiek.",
    "Река несёт камни, а на берегу стоят старые дома.",
    "Το ποτάμι κυλά αργά κάτω από τη γέφυρα.",
    "河水慢慢地流过古老的桥，孩子们在岸边玩耍。",
)
CODECS = ("latin-1", "sloppy-windows-1252", "sloppy-windows-1251", "sloppy-windows-1250", "mac-roman", "cp437", "cp850")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("text", TEXTS)
def test_utf_8_that_was_read_as_something_else_is_turned_back(text: str, codec: str) -> None:
    once = text.encode().decode(codec)
    assert normalize(once) == text + "\n"
    if codec in ("latin-1", "sloppy-windows-1252"):
        assert normalize(once.encode().decode(codec)) == text + "\n"


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("word", ["café", "Köln", "mañana", "naïve", "Grüße", "château"])
def test_one_word_within_a_sound_line_is_enough(word: str, codec: str) -> None:
    broken = word.encode().decode(codec)
    assert fix_mojibake(f"It’s near the {broken} – you’ll see.") == f"It’s near the {word} – you’ll see."


@pytest.mark.parametrize(
    "text",
    [
        *TEXTS,
        "NÃO, SÃO PAULO e MARANHÃO",
        "—Él dijo que sí. —¿Qué?",
        "«Ça», dit-il ; «été» et «à»…",
        "2 / √π, ∂Ω and x²y³ ± 25°C; 5µm",
        "СІ, а також 25 °С",
        "\\fIсписок\\fR and \\fIтак\\fR",
        "Ünïcödé ÀÉÎÕÜ Å Ångström Łódź İstanbul",
        "❯ ls — 📞 ☎ ✓ █▓▒░ ├── main.py │ └── x",
        "αβγ ≤ δε → ∞",
        "™ © ® § ¶ † ‡ … ‰ € £ ¥",
        "שלום עולם, مرحبا بالعالم, สวัสดี, नमस्ते",
    ],
)
def test_sound_text_stays(text: str) -> None:
    assert fix_mojibake(text) == text


@pytest.mark.parametrize("piece", ["Ã©", "Ã", "Г©", "√§", "ÃƒÂ©", "é", "—É", "я", "яр ", "├"])
def test_hostile_lines_take_no_time(piece: str) -> None:
    start = time.process_time()
    fix_mojibake(piece * 20_000)
    # Not a speed test: a pattern that backtracks would take minutes.
    assert time.process_time() - start < 10
