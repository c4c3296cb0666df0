"""The parts of a training step, in its order, as metrics are called by them: within_step/PART_ms."""

WAIT, COPY, FORWARD, BACKWARD = "wait", "copy", "forward", "backward"
EXCHANGE, OPTIMISER, REST = "exchange", "optimiser", "rest"
LOGGING, CHECKPOINT = "logging", "checkpoint"  # in some steps only, each of which is measured; spread over all
PARTS = (WAIT, COPY, FORWARD, BACKWARD, EXCHANGE, OPTIMISER, REST, LOGGING, CHECKPOINT)
DECODE = "decode"  # beside the training
