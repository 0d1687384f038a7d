"""Run the command line with `python -m skdidicm`."""

from skdidicm.cli import main

if __name__ == "__main__":
    main()
