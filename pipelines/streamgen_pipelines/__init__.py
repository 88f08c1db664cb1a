"""Ready-made pipelines: short YAML files to run and to copy."""
