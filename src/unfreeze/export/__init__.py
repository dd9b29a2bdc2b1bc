"""What is handed over: a model folder, checked by loading it again."""
