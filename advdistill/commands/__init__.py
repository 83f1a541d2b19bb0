"""What the commands do, a module each, imported when it is called. Each returns an exit code."""
