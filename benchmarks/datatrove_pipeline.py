"""The peer of `benchmarks.against_datatrove`, run by a Python that has datatrove (no part of this project).

    PYTHON benchmarks/datatrove_pipeline.py DOCUMENTS TOKENIZER FOLDER WORKERS

The same rules as ours with the same thresholds, as far as datatrove has them: ftfy, e-mail and IP addresses, Gopher's
quality rules, repeated lines, lorem ipsum; MinHash of 40 x 6 over word 3-grams; tokens out. It names no language and
finds no boilerplate, phone numbers or true similarity, so it does less.
"""

from __future__ import annotations

import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig


def main(documents: Path, tokenizer: str, folder: Path, workers: int) -> None:
    minhash = MinhashConfig(
        n_grams=3, num_buckets=40, hashes_per_bucket=6, hash_config=HashConfig(hash_fc="xxhash", precision=64)
    )
    quality = [
        FTFYFormatter(),
        PIIFormatter(),
        GopherQualityFilter(
            min_doc_words=50,
            max_doc_words=100_000,
            min_avg_word_length=1,
            max_avg_word_length=12,
            max_symbol_word_ratio=0.2,
            max_bullet_lines_ratio=None,
            max_ellipsis_lines_ratio=0.3,
            max_non_alpha_words_ratio=0.5,
            min_stop_words=None,
        ),
        GopherRepetitionFilter(
            dup_line_frac=None,
            dup_para_frac=None,
            dup_line_char_frac=0.5,
            dup_para_char_frac=None,
            top_n_grams=(),
            dup_n_grams=(),
        ),
        C4QualityFilter(
            remove_citations=False,
            filter_no_terminal_punct=False,
            min_num_sentences=-1,
            min_words_per_line=-1,
            max_word_length=-1,
            filter_javascript=False,
            filter_curly_bracket=False,
            filter_policy=False,
        ),
    ]

    def run(pipeline: list[object], tasks: int) -> None:
        LocalPipelineExecutor(
            pipeline=pipeline, tasks=tasks, workers=workers, skip_completed=False, logging_dir=str(folder / "logs")
        ).run()

    clean, signatures, buckets, remove = (str(folder / name) for name in ("clean", "signatures", "buckets", "remove"))
    run([JsonlReader(str(documents)), *quality, JsonlWriter(clean)], workers)
    run([JsonlReader(clean), MinhashDedupSignature(signatures, config=minhash)], workers)
    run([MinhashDedupBuckets(signatures, buckets, config=minhash)], minhash.num_buckets)
    run([MinhashDedupCluster(buckets, remove, config=minhash)], 1)
    run(
        [
            JsonlReader(clean),
            MinhashDedupFilter(remove),
            DocumentTokenizer(
                str(folder / "tokens"),
                tokenizer,
                local_working_dir=str(folder / "work"),
                eos_token="<|endoftext|>",
                shuffle_documents=False,
            ),
        ],
        workers,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
