from __future__ import annotations

import random
import time

import ftfy
import pytest

from tasks.clean.mojibake import fix_mojibake
from tasks.clean.normalize import FTFY, normalize

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
    assert normalize(f"It’s near the {broken} – you’ll see.") == f"It’s near the {word} – you’ll see.\n"


@pytest.mark.parametrize(
    ("broken", "fixed"),
    [
        ("Le gardien monte Ã  la lampe, mÃªme la nuit.", "Le gardien monte à la lampe, même la nuit."),
        ("DÃ¡ luz Ã s embarcaÃ§Ãµes.", "Dá luz às embarcações."),
        ("Å viesa ir bÄ\x81ka, un jÅ«ra ir mierÄ«ga.", "Šviesa ir bāka, un jūra ir mierīga."),
    ],
)
def test_ftfy_sees_the_whole_line(broken: str, fixed: str) -> None:
    """A part of the line that we fixed before took from it what it needs to see the rest."""
    assert normalize(broken) == fixed + "\n"


@pytest.mark.parametrize(
    "line", ["LAMPĂ™, the shop for lamps", "The lamps of FYŘÅ™", "├┤x┼┐y┼┐z┼┐", "Ole DrÃ¥ber – Hav"]
)
def test_what_ftfy_leaves_for_good_reasons_stays(line: str) -> None:
    assert ftfy.fix_text(line, FTFY) == line
    assert normalize(line) == line + "\n"


@pytest.mark.parametrize("seed", range(5))
def test_where_ftfy_finds_the_truth_we_keep_it(seed: int) -> None:
    """Words of sound lines, some of them broken, by any encoding, and spaces for what browsers strip."""
    generator = random.Random(seed)
    found = 0
    for _ in range(400):
        words = generator.choice(TEXTS).split()
        codec = generator.choice(CODECS)
        lost = [w.encode().decode(codec) if generator.random() < 0.5 else w for w in words]
        line, truth = " ".join(lost).replace("\xa0", generator.choice("\xa0 ")), " ".join(words)
        if ftfy.fix_text(line, FTFY) == truth:
            found += 1
            assert normalize(line) == truth + "\n"
    assert found > 100


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
