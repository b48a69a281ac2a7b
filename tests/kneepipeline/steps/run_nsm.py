"""Stand-in for the step `run_nsm`."""

from .standin import main

if __name__ == "__main__":
    main("run_nsm", "generate_meshes.out", "run_nsm.out")
