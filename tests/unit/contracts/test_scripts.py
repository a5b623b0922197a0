from __future__ import annotations

import pytest

from tasks.contracts.scripts import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The lamp of 1852,\nand its keeper", ["The", "lamp", "of", "1852,", "and", "its", "keeper"]),
        ("灯塔 A1 です。", ["灯", "塔", "A1", "で", "す", "。"]),
        ("ｶﾀ 々 𮯰", ["ｶ", "ﾀ", "々", "𮯰"]),
        ("葛\U000e0100飾", ["葛\U000e0100", "飾"]),
        ("ขึ้น 3 ขั้น", ["ขึ้", "น", "3", "ขั้", "น"]),
        ("ຂຶ້ນ", ["ຂຶ້", "ນ"]),
        ("ភាសា", ["ភា", "សា"]),
        ("ភា\u200bសា", ["ភា\u200b", "សា"]),
        ("မီးပြ", ["မီး", "ပြ"]),
        ("བོད་ཡིག", ["བོ", "ད་", "ཡི", "ག"]),
        ("ꦗꦮ", ["ꦗ", "ꦮ"]),
        ("ᨾᩮᩬᩥᨦ", ["ᨾᩮᩬᩥ", "ᨦ"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("등대 지기", ["등대", "지기"]),
        ("", []),
    ],
    ids=[
        *("english", "chinese", "japanese", "variant", "thai", "lao", "khmer", "khmer spaces", "burmese", "tibetan"),
        *("javanese", "tai tham", "hindi", "korean", "nothing"),
    ],
)
def test_words_are_found_in_every_script(text: str, expected: list[str]) -> None:
    assert words(text) == expected
