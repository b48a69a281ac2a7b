"""Stand-in for the step `segment`."""

from .standin import main

if __name__ == "__main__":
    main("segment", None, "segment.out")
