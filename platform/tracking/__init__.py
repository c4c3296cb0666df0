"""MLflow runs through a journal on disk, which a thread delivers. Only mlflow_store.py imports MLflow."""
