"""The database: tasks, events and what is owed to whom."""
