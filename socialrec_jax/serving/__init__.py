"""Tasks for a shop: ids in, tables out. One file a task."""
