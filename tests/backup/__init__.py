"""Archives, restore, export, configuration history, keys."""
