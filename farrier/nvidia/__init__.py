"""NVIDIA's driver on a host: pure decisions over what was found there. The role `nvidia` carries them out."""
