"""`python -m streamgen.cli`: the command without its script, as our own processes start it."""

from streamgen.cli import main

if __name__ == "__main__":
    main()
