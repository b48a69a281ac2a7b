"""The host's graphics cards: `farrier-gpus`, the check before a unit starts, and the one reader of the driver."""
