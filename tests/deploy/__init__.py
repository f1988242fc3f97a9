"""The deployment over Flower, with real processes; `make test-deploy` runs it."""
