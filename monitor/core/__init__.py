"""The rules: what a measurement means. No await, no I/O, no clock; time is an argument."""
