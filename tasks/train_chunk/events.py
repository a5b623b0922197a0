"""What the run's record says and counts of the events of the training process."""

from __future__ import annotations

from model.contracts.report import Event
from tasks.contracts.run_record import RunRecord

MOST_SPIKES_SAID = 3  # the others are only counted
MESSAGES = {
    "damaged": "{name} is damaged ({reason}): it is not used",
    "lineage": "a new lineage starts: {reason}",
    "dropped": "the chunk that was cut is dropped: {reason}",
    "anchor": "the anchor set is drawn (version {version}, {tokens:,} of {val_tokens:,} held-out tokens): {reason}",
}
"""Of the events that need no more than their own values."""


def _bound(event: Event) -> str:
    if event["target_step"] is None:
        return f"from step {event['step']} on for {event['minutes']:g} minutes"
    return f"steps {event['step']} to {event['target_step']}"


def describe(event: Event, record: RunRecord) -> None:
    """Says in the run's record what the child reports."""
    match event["event"]:
        case "start":
            numerics = event["numerics"]
            unread = f" ({event['unread_tokens']:,} of them not read yet)" if event["step"] else ""
            record.say(
                f"training {event['parameters'] / 1e6:.1f}M parameters on {event['train_tokens']:,} tokens{unread}, "
                f"{_bound(event)} "
                f"({numerics['dtype']}, {numerics['threads']} threads, "
                f"{'compiled' if numerics['compiled'] else 'not compiled'})"
            )
            if event["inexact"]:
                record.say(f"this resumption is not bit for bit: {', '.join(event['inexact'])}")
        case "step":
            record.progress("train", event["step"], event["target_step"], f"loss {event['loss']:.3f} nats/token")
        case "compile" if not event["ok"]:
            record.say(f"torch.compile does not work here; training is slower without it: {event['reason']}")
        case "spike":
            record.count("train-chunk", "steps_skipped")
            if record.stages["train-chunk"].counts["steps_skipped"] <= MOST_SPIKES_SAID:
                unit = " nats/token" if event["what"] == "loss" else ""
                record.say(
                    f"step {event['step']} is left out: its {event['what']} of {event['value']:.3g}{unit} is a spike, "
                    f"above {event['limit']:.3g}"
                )
        case "fell_back":
            record.count("train-chunk", "fell_back")
        case "kept":
            other = "it" if event["against"] == "served" else "the best one served so far"
            record.say(
                f"the published model of step {event['step']} stays: on the anchor set the new one costs "
                f"{event['difference']:.4f} bits/byte more than {other}, above the noise of {event['tolerance']:.4f}"
            )
        case "published":
            score = event["bits_per_byte"]
            figure = f"{score:.4f} bits/byte" if score is not None else str(event["note"])
            record.say(f"published {event['path']} ({event['candidate']}, {figure})")
        case kind if kind in MESSAGES:
            record.say(MESSAGES[kind].format(**event))
