"""Real documents for the benchmarks: the text of HTML files on this machine, such as Debian's documentation packages.

python -m benchmarks.documents --html /usr/share/doc --count 15000 --output documents.jsonl
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from tasks.contracts.settings import ExtractSettings
from tasks.extract.stage import extract_file
from tasks.extract.worker_pool import Extractor

SIZES = range(3_000, 150_000)  # bytes of HTML: no stubs, no books in one file
PER_PACKAGE = 2500


def find_pages(folders: list[Path]) -> list[Path]:
    """In an arbitrary order, always the same; at most so many of each package (a folder below the one given)."""
    generator = random.Random(1)
    pages: list[Path] = []
    for folder in folders:
        for package in sorted(path for path in folder.iterdir() if path.is_dir()):
            found = sorted(p for p in package.rglob("*.htm*") if p.is_file() and p.stat().st_size in SIZES)
            pages += generator.sample(found, min(len(found), PER_PACKAGE))
    generator.shuffle(pages)
    return pages


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.documents")
    parser.add_argument("--html", type=Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=15_000)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    written = 0
    with Extractor(ExtractSettings()) as extractor, arguments.output.open("w", encoding="utf-8") as output:
        for page in find_pages(arguments.html):
            document = extract_file(page, extractor).document
            if document is None:
                continue
            package = page.relative_to(next(folder for folder in arguments.html if folder in page.parents)).parts[0]
            line = {"url": f"https://{package}.example{page}", "text": document.text}
            output.write(json.dumps(line, ensure_ascii=False) + "\n")
            written += 1
            if written == arguments.count:
                break
    print(f"{written} documents in {arguments.output}")


if __name__ == "__main__":
    main()
