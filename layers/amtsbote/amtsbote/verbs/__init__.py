"""The six verbs: dispatch, poll, fetch, acknowledge, deliver, track. They know no portal."""
