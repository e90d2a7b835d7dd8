"""`python -m difftune`: the command line, where its script is not in the path."""

from difftune.cli import main

if __name__ == "__main__":
    main()
