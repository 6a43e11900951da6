"""The connection manager: mode gate, leases, classification, execution and close."""
