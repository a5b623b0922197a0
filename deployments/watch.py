"""`python -m deployments.watch` makes or renews the automation that ends runs whose heartbeat stopped.

Safe to call again. `--prune DAYS` also deletes runs that ended longer ago.
"""

from __future__ import annotations

import argparse

from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY

from flows.prefect_server.housekeeping import AUTOMATION, SILENCE, delete_old_runs, end_dead_runs, prefect_server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deployments.watch", description=__doc__.splitlines()[0])
    parser.add_argument("--prune", type=int, metavar="DAYS", help="forget runs that ended longer ago")
    options = parser.parse_args()
    with prefect_server() as client:
        end_dead_runs(client)
        print(f"automation {AUTOMATION!r}: a run without a sign of life for {SILENCE.seconds} s is marked Crashed")
        if options.prune is not None:
            removed = delete_old_runs(client, options.prune)
            print("forgotten: " + (", ".join(f"{number} {kind}" for kind, number in removed.items()) or "nothing"))
    frequency = PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value()
    if not frequency or frequency * 4 > SILENCE.seconds:
        print("warning: set PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30 for the worker, or living runs are taken for dead")


if __name__ == "__main__":
    main()
