"""From a choice in a scenario to the callable that the engine gets."""
