"""What was trained, for use elsewhere: programs of torch.export, weights as safetensors, MLflow's model folders."""


class ExportError(RuntimeError):
    """A network cannot be exported, or its program does not give the network's logits."""
