from __future__ import annotations

import random
import unicodedata

import ftfy
import pytest

from tasks.clean import quality_filters
from tasks.clean.normalize import FTFY, for_ftfy, normalize
from tasks.clean.quality_filters import apply_quality_filters
from tasks.clean.text import Text
from tasks.contracts.records import Dropped
from tasks.contracts.settings import CleanSettings, Settings
from tasks.derive.rules_digest import rules_digest
from tests.support.corpora import prose

ENGLISH = "The river carries the stones, and on its bank stand the old houses of the small town. " * 10


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("itâ€™s a cafÃ©", "it\u2019s a café"),
        ("cafe\u0301", "café"),
        ("zero\u200bwidth\ufeff and soft\u00adhyphen", "zerowidth and softhyphen"),
        ("bell\x07 and escape\x1b[31m", "bell and escape"),
        ("no-break\u00a0space, thin\u2009space", "no-break space, thin space"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("a  \n\n\n\n\nb\t\n", "a\n\nb"),
        ("\n\n    indented code stays\n", "    indented code stays"),
        ("a &amp; b", "a & b"),
        ("“curly quotes” stay", "“curly quotes” stay"),
        ("，全角逗号", "，全角逗号"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("", ""),
    ],
)
def test_text_is_mended(raw: str, cleaned: str) -> None:
    assert normalize(raw) == cleaned + "\n"


@pytest.mark.parametrize(
    "kept",
    [
        *("\U0001fa77", "\U0001fae8", "\U00011350", "\U0002ebf0", "\U00031350", "\U0001fbff"),  # newer than Unicode 14
        *("\u0600\u0661", "\u06dd\u0661", "\u08e2", "\u070f\u0712", "\U000110bd\U00011083", "\U00013430"),
        *(
            "\u1820\u180e\u1820",
            "\u1820\u180b",
            "\u845b\U000e0100",
            "\u2764\ufe0f",
            "\u0915\u094d\u200d",
            "\u0646\u200c",
        ),
        *("\U0001f469\u200d\U0001f52c", "\U0001f3f4\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f"),
        *("\u0e04\u200b\u0e19", "\u1797\u17b6\u200b\u179f\u17b6", "\ufffd"),
    ],
)
def test_characters_that_scripts_and_emoji_need_stay(kept: str) -> None:
    assert normalize(f"a lamp {kept} and a horn") == f"a lamp {kept} and a horn\n"


@pytest.mark.parametrize(
    "junk",
    [
        *("\x00", "\x07", "\x7f", "\x81", "\ufffe", "\U0001ffff", "\ufdd0", "\ue000", "\U000f0001", "\u00ad", "\u200b"),
        *("\u200e", "\u202e", "\u2066", "\u2060", "\ufeff", "\U000e0001", "\U000e0067\U000e0062"),
    ],
)
def test_characters_that_say_nothing_go(junk: str) -> None:
    assert normalize(f"a la{junk}mp") == "a lamp\n"


LETTERS = [chr(code) for code in (*range(0x9, 0x250), *range(0x2000, 0x2070), *range(0xFB00, 0xFB07), 0xFEFF, 0xFFFD)]


@pytest.mark.parametrize("encoding", ["cp1252", "cp1251", "latin-1", "mac-roman", "cp437", "utf-8"])
def test_what_is_not_given_to_ftfy_is_what_it_would_not_change(encoding: str) -> None:
    generator = random.Random(encoding)
    spared = 0
    for _ in range(2000):
        line = "word " + "".join(generator.choices(LETTERS, k=generator.randint(1, 3))) + " caf\u00e9 \u2019s"
        line = line.encode().decode(encoding, "replace") if generator.random() < 0.5 else line
        if not for_ftfy(line):
            spared += 1
            assert ftfy.fix_text(line, FTFY) == unicodedata.normalize("NFC", line), ascii(line)
    assert spared > 300


@pytest.mark.parametrize("seed", range(5))
def test_a_clean_text_stays_as_it_is(seed: int) -> None:
    assert normalize(prose(seed)) == prose(seed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("only a few words", "too_short"),
        ("word " * 200, None),
        ("word " * 100_001, "too_long"),
        ("supercalifragilistic " * 100, "long_words"),
        ("# heading " * 100, "symbols"),
        ("12 34 56 78 " * 50, "not_alphabetic"),
        ("Lorem ipsum dolor sit amet, and so on and on. " * 10, "lorem_ipsum"),
        (
            "A teaser that ends too early to be read in full...\n" + "One more of these teasers, number {}...\n" * 9,
            "ellipsis_lines",
        ),
        ("".join(f"- point {number} of the list\n" for number in range(40)), "bullet_lines"),
        ("the very same line of words again\n" * 30, "repetitive"),
        ("这是一个关于河流和石头的故事。" * 10, None),
        ("ผู้ดูแลประภาคารเดินขึ้นบันได ตัดไส้ตะเกียง ไขลานนาฬิกา " * 3, None),
        ("ຜູ້ເບິ່ງແຍງປະພາຄານຂຶ້ນຂັ້ນໄດ " * 3, None),
        ("អ្នកយាមប៉មភ្លើងឡើងជណ្ដើរមួយរយប្រាំបួនកាំ " * 3, None),
        ("မီးပြတိုက်စောင့်သည်ညနေတိုင်းလှေကားတက်သည် " * 4, None),
        ("སྒྲོན་མེའི་ཁང་པ་སྲུང་མཁན་གྱིས་ཉིན་ལྟར་" * 4, None),
        ("ผู้ดูแลประภาคาร", "too_short"),
    ],
)
def test_each_rule_refuses_by_its_name(text: str, reason: str | None) -> None:
    verdict = apply_quality_filters(text, CleanSettings())
    assert (verdict.reason if isinstance(verdict, Dropped) else None) == reason
    assert isinstance(verdict, str) or verdict.detail


@pytest.mark.parametrize(
    ("setting", "reason"),
    [({"max_short_line_ratio": 0.5}, "short_lines"), ({"min_stopped_line_ratio": 0.5}, "unfinished_lines")],
)
def test_the_rules_of_fineweb_are_there_for_who_wants_them(setting: dict[str, float], reason: str) -> None:
    verse = "".join(f"a line {word} of verse\n" for word in prose(3).split()[:60])
    assert isinstance(apply_quality_filters(verse, CleanSettings()), str)
    verdict = apply_quality_filters(verse, CleanSettings(**setting))  # type: ignore[arg-type]
    assert isinstance(verdict, Dropped) and verdict.reason == reason


def test_ordinary_prose_passes() -> None:
    assert isinstance(apply_quality_filters(prose(1), CleanSettings()), str)


GERMAN = "Der Fluss trägt die Steine, und am Ufer stehen die alten Häuser der kleinen Stadt. " * 10


@pytest.mark.parametrize(
    ("languages", "text", "kept"),
    [(("en",), ENGLISH, True), (("en",), GERMAN, False), (("en", "de"), GERMAN, True), ((), GERMAN, True)],
)
def test_only_the_languages_of_the_profile_are_kept(languages: tuple[str, ...], text: str, kept: bool) -> None:
    verdict = apply_quality_filters(text, CleanSettings(languages=languages, max_repeated_line_ratio=1.0))
    assert isinstance(verdict, str) == kept
    assert verdict in ("en", "de") if isinstance(verdict, str) else verdict.reason == "language"


def test_a_text_without_words_breaks_no_rule_that_counts_a_share() -> None:
    everything = CleanSettings(min_words=0, min_alphabetic_ratio=0.0, min_mean_word_length=0.0)
    assert isinstance(apply_quality_filters("\n", everything), str)


def test_a_rule_from_another_file_changes_the_digest_of_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who adds a rule need not think of the digest: the next night derives everything again."""

    def shouting(text: Text, settings: CleanSettings) -> str | None:
        return "capital letters alone" if text.text.isupper() else None

    before = rules_digest(Settings())
    monkeypatch.setattr(quality_filters, "RULES", (*quality_filters.RULES, shouting))
    assert apply_quality_filters(ENGLISH.upper(), CleanSettings()) == Dropped(
        "clean", "shouting", "capital letters alone"
    )
    assert rules_digest(Settings()) != before
