"""Stand-in for the step `label_remap`."""

from .standin import main

if __name__ == "__main__":
    main("label_remap", "segment.out", "label_remap.out")
