"""What MLflow is told: a journal on disk, and the thread that delivers it. Only mlflow_store.py imports MLflow."""
