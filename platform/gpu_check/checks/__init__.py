"""What a device computes, against the CPU or against itself: one file a subject, each of whose functions is a part."""
