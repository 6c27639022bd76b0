"""`python -m cohortium` is the `cohortium` command."""

from cohortium.cli import main

if __name__ == "__main__":
    main()
