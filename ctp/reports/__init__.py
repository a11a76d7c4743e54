"""Reports that people read in the morning."""
