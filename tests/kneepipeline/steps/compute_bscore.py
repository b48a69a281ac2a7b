"""Stand-in for the step `compute_bscore`."""

from .standin import main

if __name__ == "__main__":
    main("compute_bscore", None, "compute_bscore.out")
