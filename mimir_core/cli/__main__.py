"""`python -m mimir_core.cli`: the same as `mimir`."""

from mimir_core.cli import main

if __name__ == "__main__":
    main()
