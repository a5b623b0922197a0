import time

import pytest

from tasks.render.meta_refresh import refresh_target

URL = "https://a.example/old/page"


@pytest.mark.parametrize(
    ("page", "target"),
    [
        (b'<meta http-equiv="refresh" content="0; url=/new">', "https://a.example/new"),
        (
            b"<META CONTENT='0;URL=\"https://b.example/?a=1&amp;b=2\"' HTTP-EQUIV=Refresh>moved",
            "https://b.example/?a=1&b=2",
        ),
        (b'<meta http-equiv=refresh content="5, new#part">', "https://a.example/old/new"),
        (b'<meta http-equiv=refresh content=";url=new">', "https://a.example/old/new"),
        (b"<meta content=0;url=/new http-equiv=refresh>", "https://a.example/new"),
        (b"<base href='/other/'><meta http-equiv=refresh content='0; new'>", "https://a.example/other/new"),
        (b"<base target=_top><base href=//b.example><meta http-equiv=refresh content='0; /x'>", "https://b.example/x"),
        (b'<meta http-equiv=refresh content="300; url=/new">', None),
        (b'<meta http-equiv=refresh content="30">', None),
        (b'<meta http-equiv=refresh content="0; url=file:///etc/passwd">', None),
        (b'<meta http-equiv=refresh content="0; url=javascript:alert(1)">', None),
        (b'<meta http-equiv=refresh content="0; url=http://[">', None),
        (b'<noscript><meta http-equiv=refresh content="0; url=/gate"></noscript>', None),
        (b'<meta http-equiv=refresh content="0; url=/new"><p>' + b"a text of its own " * 30, None),
        (b'<meta name=refresh content="0; url=/new">', None),
        (b"", None),
        (b'<meta http-equiv=refresh content="0; url=/new"</head>', "https://a.example/new"),
        (b'<meta http-equiv=refresh content="0; url=/a?b>c">', "https://a.example/a?b>c"),
        (b'<meta data-http-equiv=refresh content="0; url=/new">', None),
        (b'<meta http-equiv=refresh data-content="0; url=/data" content="0; url=/new">', "https://a.example/new"),
        (b'<meta http-equiv=refresh content="0; url=/new"', None),  # the tag does not end
        (b'<!-- <meta http-equiv=refresh content="0; url=/new"> -->', None),
        (b'<!-- <base href=/other/> --><meta http-equiv=refresh content="0; new">', "https://a.example/old/new"),
        (b"<script>x = '<meta http-equiv=refresh content=\"0; url=/new\">'</script >", None),
        ('<meta http-equiv=refresh content="٥; url=/new">'.encode(), None),
    ],
)
def test_a_page_that_only_sends_on_is_followed(page: bytes, target: str | None) -> None:
    assert refresh_target(page, URL) == target


@pytest.mark.parametrize(
    "piece", [b"<meta ", b"<noscript", b'<meta http-equiv=refresh content="', b"<meta content='0", b"<base "]
)
def test_looking_takes_linear_time(piece: bytes) -> None:
    started = time.perf_counter()
    refresh_target(b"<meta http-equiv=refresh " + piece * (200_000 // len(piece)), URL)
    assert time.perf_counter() - started < 1.0
