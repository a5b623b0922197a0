"""What cleaning finds of what is planted, and what it touches of what only looks like it.

    python -m benchmarks.cleaning --output benchmarks/results/cleaning.json

Values of many families (`benchmarks/planted.py`) stand in sentences of Python's language reference. One is found if the
placeholder is there and nothing of it is left; `exact` asks that all around it is left as it was, too. A look-alike is
touched if anything changed. Half of the families are held out: `--list` prints what went wrong in the others alone, to
make patterns for; with `--all` in all. Mojibake is fixed if the text is what it was, and undamaged texts must stay.
"""

from __future__ import annotations

import argparse
import random
import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from benchmarks.mojibake import KINDS, SENTENCES, mangled
from benchmarks.planted import CLOSE, HELD_OUT, LOOKALIKES, OPEN, PLANTED
from benchmarks.result import circumstances, write_result
from tasks.clean.normalize import normalize
from tasks.clean.pii import replace_personal_data

Json = dict[str, Any]
CORE = re.compile(f"{OPEN}([^{CLOSE}]*){CLOSE}")


@cache
def sentences() -> tuple[str, ...]:
    """Of the language reference; without what could itself be taken for a planted value."""
    found = (" ".join(one.split()) for name in sorted(topics) for one in re.split(r"(?<=[.:])\s+", topics[name]))
    return tuple(one for one in found if 40 < len(one) < 300 and not re.search(r"\d\d|@|::|[<>&]", one))


def placed(value: str, r: random.Random) -> tuple[str, str]:
    """What stands before and after a value: it is put between two words, at the beginning or at the end."""
    words = r.choice(sentences()).split(" ")
    at = r.randint(0, len(words))
    before, after = " ".join(words[:at]), " ".join(words[at:])
    return f"{before} " if before else "", f" {after}" if after else ""


def cleaned(text: str) -> str:
    return replace_personal_data(normalize(text)).rstrip("\n")


def judge_planted(value: str, placeholder: str, r: random.Random) -> tuple[bool, bool, str]:
    """Whether it was found, whether exactly it was replaced, and what came out in its place."""
    cores = CORE.findall(value) or [value]
    plain = value.replace(OPEN, "").replace(CLOSE, "")
    before, after = placed(plain, r)
    out = cleaned(before + plain + after)
    kept = out.startswith(before) and out.endswith(after)
    region = out[len(before) : len(out) - len(after)] if kept else out
    left = region.replace(placeholder, "")
    around = CORE.sub("", value) if OPEN in value else ""
    pieces = {piece for core in cores for piece in re.findall(r"\w{2,}", core) if piece not in around}
    digits = sum(c.isdigit() for c in left) - sum(c.isdigit() for c in around)
    gone = not any(piece in left for piece in pieces if len(piece) > 3) and (placeholder != "[phone]" or digits <= 0)
    expected = normalize(CORE.sub(placeholder, value) if OPEN in value else placeholder).rstrip("\n")
    good = kept and placeholder in region and gone
    return good, kept and region == expected, region if good else out


def measure_planted(number: int, seed: int, wrong: Callable[[str], None]) -> dict[str, Json]:
    figures = {}
    for family, (placeholder, make) in PLANTED.items():
        r = random.Random(f"{seed} {family}")
        found = exact = 0
        for _ in range(number):
            value = make(r)
            good, exactly, region = judge_planted(value, placeholder, r)
            found, exact = found + good, exact + exactly
            if not good:
                wrong(f"{family:35} {value.replace(OPEN, '').replace(CLOSE, '')!r} -> {region!r}")
        figures[family] = {"found": round(found / number, 4), "exact": round(exact / number, 4)}
    return figures


def measure_lookalikes(number: int, seed: int, wrong: Callable[[str], None]) -> dict[str, Json]:
    figures = {}
    for family, make in LOOKALIKES.items():
        r = random.Random(f"{seed} {family}")
        touched = 0
        for _ in range(number):
            value = make(r)
            text = value.join(placed(value, r))
            out = cleaned(text)
            if out != normalize(text).rstrip("\n"):
                touched += 1
                wrong(f"LIKE {family:30} {value!r} -> {out!r}")
        figures[family] = {"touched": round(touched / number, 4)}
    return figures


def undamaged(text: str) -> str:
    """As cleaning leaves it: a no-break space is a space."""
    return unicodedata.normalize("NFC", text).replace("\u00a0", " ")


def measure_mojibake(wrong: Callable[[str], None]) -> Json:
    mended: dict[str, list[int]] = {kind: [0, 0] for kind in KINDS}
    for text in SENTENCES:
        for kind in KINDS:
            if (broken := mangled(text, kind)) is None:
                continue
            out = normalize(broken).rstrip("\n")
            good = out == undamaged(text)
            mended[kind][0] += good
            mended[kind][1] += 1
            if not good:
                wrong(f"MOJI {kind:20} {text[:60]!r}\n   broken {broken[:80]!r}\n   out    {out[:80]!r}")
    touched = [text for text in SENTENCES if normalize(text).rstrip("\n") != undamaged(text)]
    for text in touched:
        wrong(f"MOJI touched {text!r} -> {normalize(text)!r}")
    return {
        "mended": {kind: {"mended": good, "of": number} for kind, (good, number) in mended.items()},
        "undamaged_texts": len(SENTENCES),
        "undamaged_touched": len(touched),
    }


def mean(figures: dict[str, Json], name: str, held_out: bool) -> float:
    values: list[float] = [one[name] for family, one in figures.items() if (family in HELD_OUT) == held_out]
    return round(sum(values) / len(values), 4)


def megabytes_a_second(text: str, work: Callable[[str], str]) -> float:
    """The best of five, in CPU seconds."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        work(text)
        best = min(best, time.process_time() - start)
    return round(len(text.encode()) / best / 1e6, 1)


def speed() -> Json:
    """On plain English text, and on one with a date, a number or a name in every paragraph."""
    plain = "\n".join(sentences()) * 3
    r = random.Random(1)
    every = list(LOOKALIKES.values())
    busy = "\n".join(
        r.choice(every)(r).join(placed("", r)) if i % 4 == 0 else one for i, one in enumerate(sentences() * 3)
    )
    return {
        "replace_personal_data_mb_a_second": megabytes_a_second(plain, replace_personal_data),
        "with_a_look_alike_in_every_fourth_line": megabytes_a_second(busy, replace_personal_data),
        "clean_text_mb_a_second": megabytes_a_second(plain, normalize),
    }


def worst(figures: dict[str, Json], name: str, least: bool) -> Iterator[tuple[str, float]]:
    ranked = sorted(figures, key=lambda family: figures[family][name], reverse=not least)
    return ((family, figures[family][name]) for family in ranked[:8])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cleaning", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--number", type=int, default=200, help="values of each family")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="also write the JSON there")
    parser.add_argument("--list", action="store_true", help="print what went wrong, in the families for tuning")
    parser.add_argument("--all", action="store_true", help="with --list: in those held out as well")
    options = parser.parse_args()

    def wrong(line: str) -> None:
        family = line.removeprefix("LIKE ").split("  ")[0].strip()
        if options.list and (options.all or family not in HELD_OUT):
            print(line)

    planted = measure_planted(options.number, options.seed, wrong)
    lookalikes = measure_lookalikes(options.number, options.seed, wrong)
    kinds = {kind: {name: one for name, one in planted.items() if name.startswith(kind)} for kind in ("email", "ip")}
    kinds["phone"] = {name: one for name, one in planted.items() if not name.startswith(("email", "ip"))}
    mojibake = measure_mojibake(wrong)
    result = {
        **circumstances(f"python -m benchmarks.cleaning --number {options.number} --seed {options.seed}", ("ftfy",)),
        "families": {"planted": len(planted), "look_alikes": len(lookalikes), "held_out": len(HELD_OUT)},
        "found": {
            half: {"all": mean(planted, "found", out), **{kind: mean(kinds[kind], "found", out) for kind in kinds}}
            for half, out in (("tuned", False), ("held_out", True))
        },
        "exact": {"tuned": mean(planted, "exact", False), "held_out": mean(planted, "exact", True)},
        "look_alikes_touched": {
            "tuned": mean(lookalikes, "touched", False),
            "held_out": mean(lookalikes, "touched", True),
        },
        "mojibake": mojibake,
        "speed": speed(),
        "least_found": dict(worst(planted, "found", least=True)),
        "most_touched": dict(worst(lookalikes, "touched", least=False)),
        "by_family": {family: one["found"] for family, one in planted.items()},
    }
    write_result(result, options.output)


if __name__ == "__main__":
    main()
