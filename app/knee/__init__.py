"""The knee MRI site."""
