"""What a shop asks for: ids in, tables out. One file a task."""
