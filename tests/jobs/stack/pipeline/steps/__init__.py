"""Steps that do next to nothing, by the contract of scientific ones."""
