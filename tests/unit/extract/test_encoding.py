import codecs

import pytest

from tasks.extract.encoding import CODEC_OF, PRESCAN_BYTES, codec_of, decode, prescan

TEXT = "Ärger über Öl"


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        (TEXT.encode(), "utf-8"),
        (TEXT.encode("latin-1"), "iso-8859-1"),
        (b"\xff\xfe" + TEXT.encode("utf-16-le"), "latin-1"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "utf-8"),
        (b"\xef\xbb\xbf" + TEXT.encode(), "latin-1"),
        (TEXT.encode("utf-16-le"), "utf-16"),
        (TEXT.encode(), None),
        (TEXT.encode(), "no-such-charset"),
        (TEXT.encode(), " UTF-8\n"),
    ],
    ids=["utf-8", "latin-1", "utf-16 mark", "big-endian mark", "utf-8 mark", "utf-16", "nothing", "unknown", "spaced"],
)
def test_decoding(body: bytes, charset: str | None) -> None:
    assert decode(body, charset) == TEXT


def test_the_header_wins_over_the_page_and_the_page_over_a_guess() -> None:
    russian = '<meta charset="windows-1251"><p>Лодки лежат в гавани</p>'.encode("windows-1251")
    assert "Лодки" in decode(russian, None)
    assert "Лодки" in decode('<meta charset="windows-1251"><p>Лодки</p>'.encode(), "utf-8")


def test_a_header_that_is_plainly_wrong_is_not_believed() -> None:
    german = "Das Öl für die Lampe ging über Nacht aus, und der Wärter ärgerte sich über die späte Stunde. " * 5
    assert decode(german.encode("cp1252"), "utf-8") == german
    assert decode(german.encode("cp1252"), None) == german


def test_one_damaged_byte_does_not_change_the_encoding() -> None:
    assert decode("Öl ".encode() * 1000 + b"\xff", "utf-8").endswith("Öl \ufffd")


def test_plain_text_does_not_say_its_encoding_itself() -> None:
    body = '<meta charset="windows-1251"> Öl und Lampen'.encode()
    assert decode(body, None, is_html=False).endswith("Öl und Lampen")


@pytest.mark.parametrize(
    ("label", "text", "written_in"),
    [
        ("latin1", "“quoted” – 5 €", "cp1252"),
        ("ISO-8859-1", "“quoted”", "cp1252"),
        ("us-ascii", "naïve", "cp1252"),
        ("shift_jis", "①髙橋", "cp932"),
        ("x-sjis", "港の船", "cp932"),
        ("gb2312", "镕基€", "gb18030"),
        ("gbk", "港口的船", "gb18030"),
        ("big5", "港口的船", "big5hkscs"),
        ("euc-kr", "똠방각하", "cp949"),
        ("ks_c_5601-1987", "항구", "cp949"),
        ("iso-8859-9", "İstanbul’da", "cp1254"),
        ("tis-620", "เรือ", "cp874"),
        ("koi8-r", "Лодки", "koi8-r"),
        ("windows-1251", "Лодки", "cp1251"),
        ("euc-jp", "港の船", "euc_jp"),
        ("iso-2022-jp", "港の船", "iso2022_jp"),
        ("l2", "łódź", "iso8859-2"),
    ],
)
def test_labels_mean_what_they_mean_to_browsers(label: str, text: str, written_in: str) -> None:
    assert decode(text.encode(written_in), label) == text


def test_the_holes_of_a_windows_code_page_are_control_characters() -> None:
    assert decode(b"a\x81b" * 10, "windows-1252") == "a\x81b" * 10


def test_labels_that_browsers_do_not_know_mean_nothing() -> None:
    assert [codec_of(label) for label in ("utf-7", "hz-gb-2312", "iso-2022-kr", "cp037", "", "punycode", None)] == [
        None
    ] * 7


def test_python_reads_every_encoding() -> None:
    assert all(codecs.lookup(codec) for codec in set(CODEC_OF.values()))
    assert len(CODEC_OF) > 200 and all(label == label.lower() for label in CODEC_OF)


@pytest.mark.parametrize(
    ("head", "codec"),
    [
        ('<meta charset="koi8-r">', "koi8-r"),
        ("<META CHARSET=koi8-r>", "koi8-r"),
        ("<meta charset='koi8-r'/>", "koi8-r"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">', "koi8-r"),
        ('<meta content="text/html; charset=&quot;koi8-r" http-equiv=content-type>', None),
        ('<meta content="text/html; charset=koi8-r">', None),
        ('<meta name="x" content="charset=koi8-r">', None),
        ('<!-- <meta charset="koi8-r"> --><meta charset="cp1251">', "cp1251"),
        ('<!--><meta charset="koi8-r">', "koi8-r"),
        ('<a title="<meta charset=koi8-r>"><meta charset="cp1251">', "cp1251"),
        ('<? <meta charset="koi8-r"> ?><meta charset="cp1251">', "cp1251"),
        ('<meta charset="nonsense"><meta charset="koi8-r">', "koi8-r"),
        ('<meta charset="utf-16">', "utf-8"),
        ('<?xml version="1.0" encoding="koi8-r"?><html>', "koi8-r"),
        ('<?xml version="1.0" encoding="koi8-r"?><meta charset="cp1251">', "cp1251"),
        ('<metadata charset="koi8-r">', None),
        ("", None),
        ("<", None),
        ("<meta", None),
    ],
)
def test_prescan(head: str, codec: str | None) -> None:
    assert prescan(head.encode()) == codec


def test_the_prescan_ends_where_that_of_browsers_does() -> None:
    tag = b'<meta charset="koi8-r">'
    assert prescan(b" " * (PRESCAN_BYTES - len(tag)) + tag) == "koi8-r"
    assert prescan(b" " * PRESCAN_BYTES + tag) is None


@pytest.mark.parametrize(
    "piece", [b"<", b"<a '", b'<a "', b"<!--", b"<meta ", b"<meta charset=", b"<a b=c ", b"<?xml "]
)
def test_hostile_heads_are_read_at_once(piece: bytes) -> None:
    prescan(piece * 1000)
    assert isinstance(decode(piece * 100_000, "utf-8"), str)
