"""`python -m deployments.demo_site` serves the demo site alone; its code is in `tasks.demo_site`."""

import sys

from tasks.demo_site.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
