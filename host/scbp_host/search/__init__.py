"""What is measured and trained next."""
