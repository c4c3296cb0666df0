"""What a network is made of: its stages with their costs as a table, and a picture. No Ray, MLflow or Hydra."""
