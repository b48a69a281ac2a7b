"""Stand-in for the step `t2_mapping`."""

from .standin import main

if __name__ == "__main__":
    main("t2_mapping", "segment.out", "t2_mapping.out")
