import pytest

from tasks.extract.encoding import HEAD_BYTES, PRESCAN_BYTES, decode, prescan

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
        ("<meta charset=koi8-r", None),
        ('<meta charset=koi8-r">', None),
        ('<p title="x> <meta charset=koi8-r> <p>"</p>', None),
        ('<p class=it\'s><meta charset="koi8-r">', "koi8-r"),
    ],
)
def test_prescan(head: str, codec: str | None) -> None:
    assert prescan(head.encode()) == codec


PADDING = "<!-- " + "all rights reserved " * 60 + "-->"
KOI8 = '<meta charset="koi8-r">'


@pytest.mark.parametrize(
    ("page", "codec"),
    [
        (PADDING + KOI8, "koi8-r"),
        ("<head><script>" + "1 < 2;" * 300 + "</script><style>p > a {}</style>" + KOI8, "koi8-r"),
        ("<head><script>'<meta charset=big5>';" + " " * PRESCAN_BYTES + "</script>" + KOI8, "big5hkscs"),
        ("<head>" + PADDING + "<script>'<meta charset=big5>'</script>" + KOI8, "koi8-r"),
        ("<head>" + PADDING + "<!-- <script> --><title><meta charset=big5></title>" + KOI8, "koi8-r"),
        ("<head>" + PADDING + "</head><body><p>text</p>" + KOI8, None),
        ("<p>text</p>" + PADDING + KOI8, None),
        ('<?xml version="1.0" encoding="big5"?>' + PADDING + KOI8, "koi8-r"),
        (" " * (PRESCAN_BYTES - len(KOI8)) + "<p>" + KOI8, None),
        (" " * HEAD_BYTES + KOI8, None),
    ],
    ids=[
        *("comment", "script and style", "prescan does not know scripts", "in a script", "in a title", "in the body"),
        *("after the head", "before an XML declaration", "cut by the prescan", "too late"),
    ],
)
def test_a_late_declaration_counts_within_the_head(page: str, codec: str | None) -> None:
    assert prescan(page.encode()) == codec


CHINESE = "灯塔管理员每天傍晚爬上一百零九级台阶，修剪灯芯，给转动透镜的机械上发条。"
RUSSIAN = "Смотритель каждый вечер поднимался по ста девяти ступеням и подрезал фитиль."
GERMAN = "Der Wärter stieg jeden Abend über hundertneun Stufen und kürzte den Docht, sagt man in Köln."
FRENCH = "L’été dernier, le gardien réglait la mèche et notait l’heure dans un registre."
THAI = "ผู้ดูแลประภาคารปีนบันไดหนึ่งร้อยเก้าขั้นทุกเย็น"
JAPANESE = "灯台守は毎晩百九段の階段を上り、芯を切り、時刻を書いた。"


@pytest.mark.parametrize("length", [1, 300])
@pytest.mark.parametrize("charset", ["utf-8", None, "iso-8859-1", "windows-1251", "gb2312"])
@pytest.mark.parametrize("text", [CHINESE, RUSSIAN, THAI, GERMAN * 2, FRENCH * 2])
def test_broken_utf_8_is_utf_8(text: str, charset: str | None, length: int) -> None:
    """Texts were cut in the middle of a character, and joined again: on a short page that is a large share."""
    body = text.encode()
    last = next(place for place in range(len(body) - 1, 0, -1) if body[place] >= 0x80)
    damaged = (body[:last] + b" " + body) * length
    assert decode(damaged, charset) == damaged.decode("utf-8", "replace")
    assert text in decode(damaged, charset)


@pytest.mark.parametrize("label", ["utf-8", "utf-16", None])
@pytest.mark.parametrize(
    ("text", "written_in"),
    [
        *((RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"), (GERMAN, "cp1252"), (FRENCH, "cp1252"), (CHINESE, "gb18030")),
        *(
            (THAI, "cp874"),
            (JAPANESE, "cp932"),
            (JAPANESE, "euc_jp"),
            ("Zażółć gęślą jaźń, mówił stary człowiek", "cp1250"),
        ),
    ],
)
def test_text_of_another_encoding_is_not_read_as_what_it_is_not(text: str, written_in: str, label: str | None) -> None:
    """Behind a long script, which tells nothing of the encoding."""
    page = f"<script>{'count += 1;' * 3000}</script><p>{text}</p>"
    assert text in decode(page.encode(written_in), label)


@pytest.mark.parametrize("label", ["iso-8859-1", "windows-1250", "windows-1251", "utf-16"])
def test_one_letter_in_utf_8_is_enough_against_a_wrong_label(label: str) -> None:
    assert decode("The café is open.".encode(), label) == "The café is open."


def test_a_pair_that_only_looks_like_utf_8_is_read_as_declared() -> None:
    assert decode("开".encode("gbk") + b" 2026", "gbk") == "开 2026"
    assert decode("ยง 2026".encode("cp874"), "tis-620") == "ยง 2026"


def test_a_few_stray_bytes_in_english_stay_damage() -> None:
    assert decode(b"The caf\xe9 is open." + b" More words." * 20, "utf-8").startswith("The caf\ufffd is")


def test_replacement_characters_that_a_page_shows_are_its_own() -> None:
    assert decode("Boxes: \ufffd\ufffd\ufffd".encode(), None) == "Boxes: \ufffd\ufffd\ufffd"


def test_the_euro_of_gbk_is_one_byte() -> None:
    assert decode("港口的船 ".encode("gbk") + b"\x80 5", "gb2312") == "港口的船 € 5"


@pytest.mark.parametrize(
    "piece",
    [
        b"<",
        b"<a '",
        b'<a "',
        b"<!--",
        b"<meta ",
        b"<meta charset=",
        b"<a b=c ",
        b"<?xml ",
        b"<!",
        b'<a ="',
        b"<script",
        b"=",
    ],
)
def test_hostile_heads_are_read_at_once(piece: bytes) -> None:
    prescan(piece * 1000)
    prescan(b"<meta a" + piece * 100_000)
    assert isinstance(decode(piece * 100_000, "utf-8"), str)
