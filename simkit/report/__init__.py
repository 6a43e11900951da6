"""What people and CI read: terminal output now; one module a format."""
