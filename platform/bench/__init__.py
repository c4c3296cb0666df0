"""What `job=bench` measures, each against a yardstick in the same run: loader, step, launch."""
