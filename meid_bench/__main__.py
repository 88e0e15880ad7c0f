"""`python -m meid_bench`: the command line, also under torchrun."""

from meid_bench.cli.main import main

if __name__ == "__main__":
    main()
