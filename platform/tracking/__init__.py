"""MLflow runs through a journal on disk, which a thread delivers. Only mlflow_*.py import MLflow."""
