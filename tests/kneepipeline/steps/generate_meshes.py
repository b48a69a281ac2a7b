"""Stand-in for the step `generate_meshes`."""

from .standin import main

if __name__ == "__main__":
    main("generate_meshes", "subregions.out", "generate_meshes.out")
