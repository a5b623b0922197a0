from tasks.web.character_encoding import codec_of, decode_declared

SIZES = "https://a.example/размер-ткани"


def test_labels_that_browsers_do_not_know_mean_nothing() -> None:
    labels = ("utf-7", "hz-gb-2312", "iso-2022-kr", "cp037", "", "punycode", None)
    assert [codec_of(label) for label in labels] == [None] * 7


def test_a_mark_wins_over_utf_8_over_what_is_declared_over_a_guess() -> None:
    assert decode_declared(SIZES.encode("utf-16"), ["cp1251"]) == SIZES
    assert decode_declared(SIZES.encode(), ["koi8_r", "cp1251"]) == SIZES
    assert decode_declared(SIZES.encode("cp1251"), ["cp1251", "koi8_r"]) == SIZES
    assert decode_declared(SIZES.encode("cp1251"), ["utf-8"]) == SIZES
