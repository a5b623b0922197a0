"""The night: grow the dataset, then train the model on it.

search -> render -> extract -> | raw | -> clean -> dedup -> tokenize -> | train.bin | -> train-chunk -> publish
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.grow import clean_new, collect_pages, tokenize_new, validate_new
from flows.train import finish_cut_chunk, train_and_publish
from tasks.layout import find_data_directory
from tasks.night import open_night
from tasks.prefect_tasks import publish_report, tell
from tasks.report import write_report
from tasks.settings import load_settings


@flow(name="grow-and-train", persist_result=False, validate_parameters=True)
def grow_and_train(
    profile: str = "nightly",
    data_dir: str | None = None,
    overrides: dict[str, Any] | None = None,
    collection: bool = True,
    validation: bool = True,
    cleaning: bool = True,
    preparation: bool = True,
    training: bool = True,
) -> dict[str, Any]:
    """One night. Every step goes on from where the last run stopped, however that ended.

    Args:
        profile: a name in `deployments/`, or the path of a TOML file.
        data_dir: the data directory; None takes MINIATURE_MEMORY_DATA, else `data/`.
        overrides: settings that win over the profile's, by dotted name, such as {"train.steps": 50}.
        collection: search, render and extract pages, and store their text.
        validation: read back what is new in `raw/`.
        cleaning: clean what is new and compare it with all that is kept.
        preparation: turn what is newly kept into tokens.
        training: train one chunk and publish the model.

    Returns:
        The run's record, as in `reports/<run>/report.json`.
    """
    settings = load_settings(profile, overrides)
    with open_night(settings, find_data_directory(data_dir), "grow-and-train", tell) as night:
        with write_report(night, publish_report):
            if training:
                finish_cut_chunk(night)
            if collection:
                collect_pages(night)
            if validation:
                validate_new(night)
            if cleaning:
                clean_new(night)
            if preparation:
                tokenize_new(night)
            if training:
                train_and_publish(night)
        return night.record.as_dict()
