"""Stand-in for the step `subregions`."""

from .standin import main

if __name__ == "__main__":
    main("subregions", "label_remap.out", "subregions.out")
