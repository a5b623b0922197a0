"""`python -m tasks.demo_site`: serve the demo site until Ctrl-C or SIGTERM."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from tasks.demo_site.server import DEFAULT_PORT, DemoSite, PortTakenError


def _night(text: str) -> int:
    if (night := int(text)) < 1:
        raise argparse.ArgumentTypeError("a night is 1 or more")
    return night


def main() -> int:
    """Returns the exit status: 0 when a signal stopped it, 1 when the port is taken."""
    parser = argparse.ArgumentParser(prog="python -m tasks.demo_site", description=__doc__)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="loopback port, 0 for a free one (%(default)s)")
    parser.add_argument("--night", type=_night, help="show what is out on night 1, 2 or 3 (default: everything)")
    parser.add_argument("--log", type=Path, help="append a JSON line for each request to this file")
    options = parser.parse_args()
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    try:
        with DemoSite(options.port, options.log, options.night) as site:
            print(f"serving {len(site.articles)} articles on {site.url}/", flush=True)
            stop.wait()
    except PortTakenError as error:
        print(error.strerror, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
