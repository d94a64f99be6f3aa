"""`python -m conformance` is the command `intack`."""

from conformance.commands.main import main

if __name__ == "__main__":
    main()
