"""What was trained, for use elsewhere: programs of torch.export, weights as safetensors, MLflow's model folders."""
