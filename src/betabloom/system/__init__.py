"""What touches the machine: files, locks, cores, signals, the console."""
