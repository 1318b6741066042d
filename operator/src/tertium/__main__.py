"""`python -m tertium`: the same program as the `tertium` command."""

import sys

from tertium.cli import main

if __name__ == "__main__":
    sys.exit(main())
