"""What the suites time, one file each."""
