"""MLflow's model registry on an index and a store, read-only; MLflow loads it by its entry points."""
