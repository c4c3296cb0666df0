-- MLflow's accounts live apart from its runs. POSTGRES_DB made the other database.
CREATE DATABASE mlflow_auth;
